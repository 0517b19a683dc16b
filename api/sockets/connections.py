"""Count connections, make room for new ones, and close those whose client is too slow.

A connection either works for its client or waits for it: to send the rest of a request, or to
receive an answer. Only waiting connections are closed to make room, the longest inactive first,
and last those whose next request has arrived already. A client that sends its request at once is
therefore served, however many others are silent.
"""

import heapq
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import Protocol

import structlog

RESERVED_FILES = 64
"""Open files for the database, the broker, logs and uploads."""

FEWEST = 16
EVICTED_PART = 16
"""A sixteenth of the connections is closed at once, since finding them scans all."""

log = structlog.get_logger()


class Awaited(Enum):
    """The client's next action, if the connection waits for one."""

    NOTHING = "nothing"
    HEAD = "head"
    BODY = "body"
    REST = "rest"
    READER = "reader"


@dataclass(frozen=True)
class Patience:
    """The time that a client may take.

    ``head``: to send the head of a request, from the end of the previous one. ``rest``: to send the
    rest of a body that is no longer needed. At least ``moved_bytes`` of an answer have to be
    received in each ``window``.
    """

    head: timedelta = timedelta(seconds=10)
    rest: timedelta = timedelta(seconds=10)
    window: timedelta = timedelta(seconds=30)
    moved_bytes: int = 16 * 1024

    def is_over(self, awaited: Awaited, waited_seconds: float, moved_bytes: int) -> bool:
        """Return whether a client that moved so many bytes in that time is disconnected.

        Bodies have their own limit, where they are read.
        """
        match awaited:
            case Awaited.HEAD:
                return waited_seconds >= self.head.total_seconds()
            case Awaited.REST:
                return waited_seconds >= self.rest.total_seconds()
            case Awaited.READER:
                is_slow = moved_bytes < self.moved_bytes
                return is_slow and waited_seconds >= self.window.total_seconds()
            case _:
                return False


class Connected(Protocol):
    """A connection; ``active_at`` is the time of its last activity, in the loop's seconds."""

    address: str
    active_at: float

    def awaited(self) -> Awaited: ...
    def has_request(self) -> bool: ...
    def check(self, patience: Patience, now: float) -> bool: ...
    def abort(self) -> None: ...


@dataclass
class Connections:
    """All connections of this process: at most ``limit``, and ``per_address`` from one address."""

    limit: int
    per_address: int
    patience: Patience = field(default_factory=Patience)
    refused: int = 0
    evicted: int = 0
    overdue: int = 0
    _open: set[Connected] = field(default_factory=set)
    _of_address: Counter[str] = field(default_factory=Counter)
    _reported: tuple[int, int, int] = (0, 0, 0)

    @property
    def count(self) -> int:
        return len(self._open)

    def admit(self, address: str) -> bool:
        """Return whether one more connection is allowed; close others to make room."""
        is_admitted = True
        if self._of_address[address] >= self.per_address:
            same_address = (each for each in self._open if each.address == address)
            is_admitted = self._evict(same_address, self.per_address)
        if is_admitted and self.count >= self.limit:
            is_admitted = self._evict(self._open, self.limit)
        self.refused += not is_admitted
        return is_admitted

    def add(self, connection: Connected) -> None:
        self._open.add(connection)
        self._of_address[connection.address] += 1

    def discard(self, connection: Connected) -> None:
        """Remove the connection. Idempotent."""
        if connection not in self._open:
            return
        self._open.discard(connection)
        self._of_address[connection.address] -= 1
        if not self._of_address[connection.address]:
            del self._of_address[connection.address]

    def check(self, now: float) -> None:
        """Close overdue connections; log how many were closed or refused since the last call."""
        for connection in list(self._open):
            self.overdue += connection.check(self.patience, now)
        counted = (self.refused, self.evicted, self.overdue)
        if counted != self._reported:
            refused, evicted, overdue = self._reported
            self._reported = counted
            log.warning(
                "connections_closed",
                refused=self.refused - refused,
                evicted=self.evicted - evicted,
                overdue=self.overdue - overdue,
                open=self.count,
            )

    def _evict(self, connections: Iterable[Connected], limit: int) -> bool:
        candidates = [each for each in connections if each.awaited() is not Awaited.NOTHING]
        count = max(1, limit // EVICTED_PART)
        victims = heapq.nsmallest(
            count, candidates, key=lambda each: (each.has_request(), each.active_at)
        )
        for victim in victims:
            self.discard(victim)
            victim.abort()
        self.evicted += len(victims)
        return bool(victims)


def bound_connections(requested: int, open_files: int) -> int:
    """Return the number of connections for which so many open files suffice.

    An upload or a download has an open file in addition to its connection.
    """
    return max(FEWEST, min(requested, (open_files - RESERVED_FILES) * 3 // 4))
