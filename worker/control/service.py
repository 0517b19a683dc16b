"""Services of control: each does one duty again and again, whatever the others do.

Errors of a service are handled here and nowhere else. While the database is away, the service is
tried again each second. Any other error is set aside as the service's own, and the service is
tried again after a growing pause. A single row that cannot be handled is set aside by the service
itself, with `shared.set_aside`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Self

import psycopg
import structlog

from shared.coroutines import wait_for_event
from shared.database import Connection, Pool
from shared.set_aside import SERVICE, caught, is_unavailable, set_aside

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
LONGEST_PAUSE = MINUTE
MOST_DOUBLINGS = 6

SHORTEST_SECONDS = 0.01
"""Between two rounds, however many notifications there are: any database role can send them."""

Work = Callable[[Pool], Awaitable[float | None]]
WorkWithConnection = Callable[[Connection], Awaitable[float | None]]

log = structlog.get_logger()


@dataclass(frozen=True)
class Service:
    """One duty of control, by its name in logs, metrics and the table ``set_aside``.

    ``work`` does what is due now, and returns the seconds until the next time; ``None`` stands for
    ``interval``. Work that takes longer than ``timeout`` is cancelled.
    """

    name: str
    work: Work
    interval: timedelta = SECOND
    timeout: timedelta = MINUTE

    @classmethod
    def with_connection(
        cls, name: str, work: WorkWithConnection, interval: timedelta = SECOND
    ) -> Self:
        """Make a service whose work needs one connection, for as long as it takes."""

        async def work_with_connection(pool: Pool) -> float | None:
            async with pool.connection() as connection:
                return await work(connection)

        return cls(name, work_with_connection, interval)


@dataclass
class Statistics:
    """Counts of a service's runs and failures since control started, and its seconds."""

    runs: int = 0
    failures: int = 0
    seconds: float = 0.0


@dataclass
class Runner:
    """Runs services one after the other, each as if it were alone.

    A round begins when the earliest of them is due, and at once when ``notification`` is set.
    """

    pool: Pool
    services: Sequence[Service]
    notification: asyncio.Event = field(default_factory=asyncio.Event)
    statistics: dict[str, Statistics] = field(default_factory=dict)
    _failures: dict[str, int] = field(default_factory=dict)
    _due_at: dict[str, float] = field(default_factory=dict)
    _stopping: bool = False

    async def run(self) -> None:
        """Run the services until `stop` is called."""
        while not self._stopping:
            pause = await self.run_once()
            await asyncio.sleep(SHORTEST_SECONDS)
            await wait_for_event(self.notification, pause)
            self.notification.clear()

    def stop(self) -> None:
        """End `run` after the service that runs now."""
        self._stopping = True
        self.notification.set()

    async def run_once(self) -> float:
        """Run each service whose pause after a failure is over; return the seconds to wait."""
        return min([await self._run(service) for service in self.services])

    async def _run(self, service: Service) -> float:
        left = self._due_at.get(service.name, 0.0) - time.monotonic()
        if left > 0:
            return left
        statistics = self.statistics.setdefault(service.name, Statistics())
        begun = time.monotonic()
        found = await caught(self._bounded(service))
        statistics.runs += 1
        statistics.seconds += time.monotonic() - begun
        if isinstance(found, Exception):
            statistics.failures += 1
            return await self._failed(service, found)
        self._failures.pop(service.name, None)
        return service.interval.total_seconds() if found is None else found

    async def _bounded(self, service: Service) -> float | None:
        async with asyncio.timeout(service.timeout.total_seconds()):
            return await service.work(self.pool)

    async def _failed(self, service: Service, error: Exception) -> float:
        if is_unavailable(error):
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
