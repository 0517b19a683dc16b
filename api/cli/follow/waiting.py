"""Reasons why jobs wait, asked for seldom while a command follows them."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from api.cli.client import ask
from api.cli.settings import ClientSettings

FIRST_SECONDS = 2.0
AGAIN_SECONDS = 30.0
"""The time for which a job has to wait before it is asked about, and before it is asked again."""


def find_reason(settings: ClientSettings, job_id: str) -> str:
    """Return why a job waits, and until when if that is known; empty if it does not wait."""
    return describe(ask(settings, "job.one", {"jobId": job_id})["waiting"])


def describe(waiting: Mapping[str, Any] | None) -> str:
    """Return a reason of ``job.one`` as text; empty for none."""
    if waiting is None:
        return ""
    until = f" (until {waiting['until']})" if waiting["until"] else ""
    return f"{waiting['message']}{until}"


@dataclass
class Waits:
    """The jobs that a command has seen waiting; ``find`` returns the reason of one."""

    find: Callable[[str], str]
    clock: Callable[[], float] = time.monotonic
    _due: dict[str, float] = field(default_factory=dict)
    _shown: dict[str, str] = field(default_factory=dict)

    def lines(self, jobs: Mapping[str, str]) -> Iterator[str]:
        """Ask for the reason of one of the waiting jobs, by name; yield it if it is new."""
        now = self.clock()
        for name, job_id in jobs.items():
            if self._due.setdefault(job_id, now + FIRST_SECONDS) > now:
                continue
            self._due[job_id] = now + AGAIN_SECONDS
            reason = self.find(job_id)
            if reason and reason != self._shown.get(job_id):
                self._shown[job_id] = reason
                yield f"{name} waits: {reason}"
            return
