"""Slow down guessing: wrong keys and tokens, by the address that sends them.

An address has a budget of failures that refills with time. Once it is spent, unknown keys are
refused without a database query. A key that was valid within the last hour is still looked up:
other callers may share the address. Each process counts for itself.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from api.errors import TooManyFailuresError

MAX_ADDRESSES = 10_000
MAX_GOOD = 10_000
GOOD_SECONDS = 3600.0
MINUTE = 60.0

Name = TypeVar("Name")
Value = TypeVar("Value")


@dataclass
class GuessLimit:
    """At most ``per_minute`` failures of one address; 0 is no limit. ``clock`` is in seconds."""

    per_minute: int
    clock: Callable[[], float] = time.monotonic
    refused: int = 0
    _spent: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)
    _good: OrderedDict[bytes, float] = field(default_factory=OrderedDict)

    def require_room(self, address: str, secret_hash: bytes) -> None:
        """Check that this secret may be looked up for this address.

        Raises:
            TooManyFailuresError: the address failed too often.
        """
        if not self.per_minute or self.is_good(secret_hash):
            return
        over = self._failures(address) + 1 - self.per_minute
        if over > 0:
            self.refused += 1
            raise TooManyFailuresError(math.ceil(over * MINUTE / self.per_minute))

    def take(self, address: str, secret_hash: bytes) -> None:
        """Count a try before it is checked, so that many at once cannot pass; see `give_back`.

        Raises:
            TooManyFailuresError: the address failed too often.
        """
        self.require_room(address, secret_hash)
        self._count(address, 1)

    def give_back(self, address: str) -> None:
        """Count a try no more, as it was no wrong guess."""
        self._count(address, -1)

    def fail(self, address: str, secret_hash: bytes) -> None:
        """Record that the secret was wrong."""
        self.forget(secret_hash)
        self._count(address, 1)

    def forget(self, secret_hash: bytes) -> None:
        """Count the secret as valid no more."""
        self._good.pop(secret_hash, None)

    def _count(self, address: str, change: int) -> None:
        """Change the number of failures; it is bounded, so that nobody is locked out for long."""
        failures = min(max(self._failures(address) + change, 0.0), 2.0 * self.per_minute)
        _put(self._spent, address, (failures, self.clock()), MAX_ADDRESSES)

    def succeed(self, secret_hash: bytes) -> None:
        """Record that the secret was valid."""
        _put(self._good, secret_hash, self.clock(), MAX_GOOD)

    def is_good(self, secret_hash: bytes) -> bool:
        """Return whether the secret was valid within the last hour."""
        since = self._good.get(secret_hash)
        return since is not None and self.clock() - since < GOOD_SECONDS

    def _failures(self, address: str) -> float:
        failures, at = self._spent.get(address, (0.0, 0.0))
        return max(0.0, failures - (self.clock() - at) * self.per_minute / MINUTE)


def _put(entries: OrderedDict[Name, Value], name: Name, value: Value, limit: int) -> None:
    entries[name] = value
    entries.move_to_end(name)
    while len(entries) > limit:
        entries.popitem(last=False)
