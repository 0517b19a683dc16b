"""Pauses between the attempts of one call."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime


@dataclass(frozen=True)
class Retries:
    """How often a call is tried, and how long the client waits in between.

    The pause doubles from ``first`` up to ``longest``; half of it is random. The ``Retry-After``
    of the API is obeyed, but not beyond ``longest_retry_after``: then the call fails at once.
    """

    attempts: int = 6
    first: timedelta = timedelta(seconds=0.5)
    longest: timedelta = timedelta(seconds=20)
    longest_retry_after: timedelta = timedelta(minutes=2)
    random: Callable[[], float] = random.random

    def pause(self, failures: int, retry_after: timedelta | None = None) -> timedelta | None:
        """Return the pause after so many failures, or `None` if the call is not tried again."""
        if failures >= self.attempts:
            return None
        if retry_after is not None:
            is_short = retry_after <= self.longest_retry_after
            return retry_after + self.first * self.random() if is_short else None
        pause = min(self.first * (1 << (failures - 1)), self.longest)
        return pause * (0.5 + self.random() / 2)


def parse_retry_after(text: str | None, now: datetime | None = None) -> timedelta | None:
    """Parse the value of a ``Retry-After``: seconds, or a date (RFC 9110, section 10.2.3)."""
    if not text:
        return None
    if text.strip().isdecimal():
        return timedelta(seconds=min(int(text), 10**9))
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    aware = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(aware - (now or datetime.now(UTC)), timedelta(0))
