"""The product as compose.yaml runs it, seen from outside: its API and its Flower."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from tests.compose.docker import Project
from worker.local.engines import LocalEngine

FINAL = {"succeeded", "failed", "cancelled", "expired"}
Document = dict[str, Any]


@dataclass(frozen=True)
class Plane:
    """The stack that was started; ``address`` is where all of its ports are published."""

    project: Project
    engine: LocalEngine
    address: str
    secrets: Path

    @property
    def registry(self) -> str:
        return f"{self.address}:5000"

    def secret(self, name: str) -> str:
        return (self.secrets / name).read_text().strip()

    def call(self, procedure: str, **body: object) -> Any:
        answer = httpx2.post(
            f"http://{self.address}:4747/api/trpc/{procedure}",
            json=body,
            headers={"x-api-key": self.secret("admin.key")},
            timeout=60,
        )
        assert answer.is_success, answer.text
        return answer.json()

    def run(self, kind: str, **body: object) -> Document:
        """Ask for a job and wait for its end."""
        job_id = self.call(kind, **body)["jobId"]
        jobs: list[Document] = []

        def ended() -> bool:
            jobs.append(self.call("job.one", jobId=job_id))
            return jobs[-1]["state"] in FINAL

        wait_for(ended, lambda: jobs[-1])
        return jobs[-1]

    def tasks(self) -> list[Document]:
        """Return what Flower shows to a user who is logged in."""
        user, _, password = self.secret("flower.login").partition(":")
        answer = httpx2.get(f"http://{self.address}:5555/api/tasks", auth=(user, password))
        return list(answer.raise_for_status().json().values())


def wait_for(
    condition: Callable[[], bool], describe: Callable[[], object], seconds: float = 240
) -> None:
    """Return once it holds; fail with what ``describe`` returns when it does not in time."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, describe()
        time.sleep(0.2)
