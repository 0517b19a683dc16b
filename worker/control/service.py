"""Services of control: each does one duty periodically, independent of the others.

Only this module handles errors of services. While the database is unavailable, the service is
retried every second. Any other error is set aside as the service's own, and the service is retried
after a growing pause. The service itself sets aside single bad rows, with `shared.set_aside`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Self

import psycopg
import structlog

from shared.coroutines import end, wait_for_event
from shared.database import Connection, Pool
from shared.set_aside import SERVICE, caught, is_unavailable, set_aside

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
LONGEST_PAUSE = MINUTE
MAX_DOUBLINGS = 6

SHORTEST_SECONDS = 0.01
"""The shortest time between the starts of two rounds: any database role can send notifications."""

Work = Callable[[Pool], Awaitable[float | None]]
WorkWithConnection = Callable[[Connection], Awaitable[float | None]]

log = structlog.get_logger()


@dataclass(frozen=True)
class Service:
    """One duty of control; logs, metrics and the table ``set_aside`` show its ``name``.

    ``work`` does what is due, and returns the seconds until the next run; ``None`` means
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
        """Make a service whose work uses one connection."""

        async def work_with_connection(pool: Pool) -> float | None:
            async with pool.connection() as connection:
                return await work(connection)

        return cls(name, work_with_connection, interval)


@dataclass
class Statistics:
    """A service's runs, failures and total seconds since control started."""

    runs: int = 0
    failures: int = 0
    seconds: float = 0.0


@dataclass
class KeyedTasks:
    """Work of a service that takes long: one task for each key, and ``limit`` tasks at most."""

    limit: int
    running: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    def start(self, key: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start the work, unless that of this key is running or there is no room."""
        if key not in self.running and len(self.running) < self.limit:
            task = self.running[key] = asyncio.create_task(work())
            task.add_done_callback(lambda _: self.running.pop(key))

    async def close(self) -> None:
        """End all of them."""
        await end(*self.running.values())


@dataclass
class Runner:
    """Run services one after the other; a failure of one does not affect the others.

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
            begun = time.monotonic()
            pause = await self.run_once()
            await asyncio.sleep(begun + SHORTEST_SECONDS - time.monotonic())
            await wait_for_event(self.notification, pause)
            self.notification.clear()

    def stop(self) -> None:
        """End `run` after the running service."""
        self._stopping = True
        self.notification.set()

    async def run_once(self) -> float:
        """Run each service whose pause after a failure is over; return the seconds to wait."""
        return min([await self._run(service) for service in self.services])

    async def _run(self, service: Service) -> float:
        pause = self._due_at.get(service.name, 0.0) - time.monotonic()
        if pause > 0:
            return pause
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
            assert isinstance(error, psycopg.Error)  # noqa: S101 - for mypy
            event = "database_away" if error.sqlstate is None else "database_busy"
            log.warning(event, service=service.name, error=type(error).__name__)
            return SECOND.total_seconds()
        failures = self._failures[service.name] = self._failures.get(service.name, 0) + 1
        doubled: timedelta = SECOND * 2 ** min(failures - 1, MAX_DOUBLINGS)
        pause = min(doubled, LONGEST_PAUSE).total_seconds()
        self._due_at[service.name] = time.monotonic() + pause
        await caught(self._set_aside(service, error))
        return pause

    async def _set_aside(self, service: Service, error: Exception) -> None:
        async with self.pool.connection() as connection:
            await set_aside(connection, service.name, SERVICE, error)
