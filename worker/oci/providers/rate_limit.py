"""The limit of pulls that a registry tells in headers (Docker Hub's manual, "Usage and limits").

``ratelimit-limit: 100;w=21600`` is 100 pulls in 21,600 seconds. The window is always read, because
Docker has changed it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from shared.jobs.durations import show_duration

_VALUE = re.compile(r"(?P<count>[0-9]{1,9})(?:\s*;\s*w=(?P<seconds>[0-9]{1,9}))?")


@dataclass(frozen=True)
class RateLimit:
    """``limit`` pulls in ``window``, of which ``remaining`` are left; ``None`` if unknown."""

    limit: int
    window: timedelta | None = None
    remaining: int | None = None

    @classmethod
    def parse(cls, headers: Mapping[str, str]) -> Self | None:
        """Return the limit in the headers of a response; ``None`` for one without."""
        limit = _VALUE.fullmatch(headers.get("ratelimit-limit", "").strip())
        if limit is None:
            return None
        remaining = _VALUE.fullmatch(headers.get("ratelimit-remaining", "").strip())
        seconds = limit["seconds"] or (remaining["seconds"] if remaining else None)
        return cls(
            int(limit["count"]),
            timedelta(seconds=int(seconds)) if seconds else None,
            int(remaining["count"]) if remaining else None,
        )

    def __str__(self) -> str:
        window = ""
        if self.window:
            window = f" in {show_duration(int(self.window.total_seconds()))}"
        if self.remaining is None:
            return f"the limit is {self.limit} pulls{window}"
        return f"{self.remaining} of {self.limit} pulls{window} are left"
