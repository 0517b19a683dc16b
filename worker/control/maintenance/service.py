"""A maintenance service: one duty of control, done again and again, whatever others do.

Its errors are handled here and nowhere else: while the database is away it tries again each
second; any other error is set aside as the service's own, and tried again after a growing pause.
A single row that cannot be handled is set aside by the service itself, with `shared.set_aside`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import psycopg
import structlog

from shared.database import Connection, Pool
from shared.set_aside import SERVICE, caught, is_away, set_aside

SECOND = timedelta(seconds=1)
LONGEST_PAUSE = timedelta(minutes=1)
MOST_DOUBLINGS = 6

Work = Callable[[Connection], Awaitable[float | None]]

log = structlog.get_logger()


@dataclass(frozen=True)
class Service:
    """``work`` does what is due now; it gives the seconds until the next time, or ``None``.

    Those are then the ``interval``. Work that takes longer than ``timeout`` is broken off.
    """

    name: str
    work: Callable[[], Awaitable[float | None]]
    interval: timedelta = SECOND
    timeout: timedelta = timedelta(minutes=1)


@dataclass
class Services:
    """Services that run one after the other, each as if it were alone."""

    pool: Pool
    services: Sequence[Service]
    _failures: dict[str, int] = field(default_factory=dict)
    _due_at: dict[str, float] = field(default_factory=dict)

    async def look(self) -> float:
        """Run each one whose pause after a failure is over; gives the seconds to wait then."""
        return min([await self._run(service) for service in self.services])

    async def _run(self, service: Service) -> float:
        left = self._due_at.get(service.name, 0.0) - time.monotonic()
        if left > 0:
            return left
        found = await caught(_bounded(service))
        if isinstance(found, Exception):
            return await self._failed(service, found)
        self._failures.pop(service.name, None)
        return service.interval.total_seconds() if found is None else found

    async def _failed(self, service: Service, error: Exception) -> float:
        if is_away(error):
            assert isinstance(error, psycopg.Error)  # noqa: S101 - only those are
            event = "database_away" if error.sqlstate is None else "database_busy"
            log.warning(event, service=service.name, error=type(error).__name__)
            return SECOND.total_seconds()
        failures = self._failures[service.name] = self._failures.get(service.name, 0) + 1
        doubled: timedelta = SECOND * 2 ** min(failures - 1, MOST_DOUBLINGS)
        pause = min(doubled, LONGEST_PAUSE).total_seconds()
        self._due_at[service.name] = time.monotonic() + pause
        await caught(self._set_aside(service, error))
        return pause

    async def _set_aside(self, service: Service, error: Exception) -> None:
        async with self.pool.connection() as connection:
            await set_aside(connection, service.name, SERVICE, error)


def with_connection(pool: Pool, work: Work) -> Callable[[], Awaitable[float | None]]:
    """The same work, given a connection of the pool."""

    async def do() -> float | None:
        async with pool.connection() as connection:
            return await work(connection)

    return do


async def _bounded(service: Service) -> float | None:
    async with asyncio.timeout(service.timeout.total_seconds()):
        return await service.work()
