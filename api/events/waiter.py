"""Wait for a job to end: LISTEN notifications, and a query every few seconds."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from shared.coroutines import wait_for_event
from shared.database import Pool
from shared.errors import OverdueError
from shared.jobs.states import State

READ_EVERY = timedelta(seconds=5)
READ = "SELECT state, result, error FROM job WHERE job_id = %s AND organization_id = %s"


@dataclass(frozen=True)
class EndedJob:
    """The end of a job; ``result`` and ``error`` are the stored documents."""

    job_id: str
    state: State
    result: dict[str, Any] | None
    error: dict[str, Any] | None


class Waiter:
    """Pass notifications to the requests that wait for a job; they can be forged or lost."""

    def __init__(self) -> None:
        self._watched: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._limits: set[asyncio.Timeout] = set()
        self._leaving_at: float | None = None

    def leave(self, patience: timedelta) -> None:
        """Limit all waits to ``patience`` from now: this process stops; the jobs continue."""
        self._leaving_at = asyncio.get_running_loop().time() + patience.total_seconds()
        for limit in self._limits:
            self._shorten(limit)

    def on_notification(self, _channel: str, job_id: str) -> None:
        """Wake the requests that watch the job; an empty id means any job may have changed."""
        if job_id:
            events = self._watched.get(job_id, set())
        else:
            events = set().union(*self._watched.values())
        for event in events:
            event.set()

    @contextlib.contextmanager
    def watch(self, job_id: str) -> Iterator[asyncio.Event]:
        """Give an event that each notification of the job sets. Watch first, then read the row."""
        event = asyncio.Event()
        self._watched[job_id].add(event)
        try:
            yield event
        finally:
            self._watched[job_id].discard(event)
            if not self._watched[job_id]:
                del self._watched[job_id]

    async def wait(
        self, pool: Pool, job_id: str, organization_id: str, patience: timedelta
    ) -> EndedJob:
        """Return the job once it has ended.

        Raises:
            OverdueError: it had not ended after ``patience``; it continues.
        """
        try:
            async with asyncio.timeout(patience.total_seconds()) as limit:
                return await self._wait_within(limit, pool, job_id, organization_id)
        except TimeoutError:
            raise OverdueError(
                "the job has not ended yet",
                job_id=job_id,
                remedy="Read its state with job.one.",
            ) from None

    async def _wait_within(
        self, limit: asyncio.Timeout, pool: Pool, job_id: str, organization_id: str
    ) -> EndedJob:
        self._shorten(limit)
        self._limits.add(limit)
        try:
            return await self._wait(pool, job_id, organization_id)
        finally:
            self._limits.discard(limit)

    def _shorten(self, limit: asyncio.Timeout) -> None:
        until = limit.when()
        if self._leaving_at is not None and until is not None and self._leaving_at < until:
            limit.reschedule(self._leaving_at)

    async def _wait(self, pool: Pool, job_id: str, organization_id: str) -> EndedJob:
        with self.watch(job_id) as notification:
            while True:
                notification.clear()
                ended = await _read(pool, job_id, organization_id)
                if ended:
                    return ended
                await wait_for_event(notification, READ_EVERY.total_seconds())


async def _read(pool: Pool, job_id: str, organization_id: str) -> EndedJob | None:
    async with pool.connection() as connection:
        row = await (await connection.execute(READ, (job_id, organization_id))).fetchone()
    if row is None or not State(row["state"]).is_final:
        return None
    return EndedJob(job_id, State(row["state"]), row["result"], row["error"])
