"""Readers of event streams; a stream ends when its API key or session is removed or expires."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import psycopg
import structlog
from psycopg_pool import PoolTimeout, TooManyRequests

from api.limits.concurrency_limit import ConcurrencyLimit
from shared.coroutines import end
from shared.database import Pool

CHECK_EVERY = timedelta(seconds=2)
VALID_KEYS = """
SELECT api_key_id AS key_id, organization_id FROM api_key
 WHERE api_key_id = ANY(%(ids)s) AND (expires_at IS NULL OR expires_at > now())
UNION ALL
SELECT session_id, organization_id FROM user_session s
 WHERE session_id = ANY(%(ids)s) AND session_is_valid(s)
   AND EXISTS (SELECT FROM member m WHERE m.user_id = s.user_id
                AND m.organization_id = s.organization_id)
"""

log = structlog.get_logger()


@dataclass(eq=False)
class Reader:
    """One open stream of an API key or a session (``key_id``); ``news`` wakes it."""

    key_id: str
    organization_id: str = ""
    is_ended: bool = False
    news: asyncio.Event | None = None

    def end(self) -> None:
        self.is_ended = True
        if self.news is not None:
            self.news.set()


@dataclass
class Readers:
    """All readers of this process."""

    limit: ConcurrencyLimit
    _open: set[Reader] = field(default_factory=set)

    @contextmanager
    def enter(self, organization_id: str, key_id: str) -> Iterator[Reader]:
        """Count a reader while its block runs.

        Raises:
            TooManyAtOnceError, BusyError: there are too many readers.
        """
        with self.limit.hold(organization_id, key_id):
            reader = Reader(key_id, organization_id)
            self._open.add(reader)
            try:
                yield reader
            finally:
                self._open.discard(reader)

    async def check(self, pool: Pool) -> None:
        """End the streams of keys and sessions that are over, or changed their organization."""
        key_ids = {reader.key_id for reader in self._open}
        if not key_ids:
            return
        async with pool.connection() as connection:
            rows = await (await connection.execute(VALID_KEYS, {"ids": list(key_ids)})).fetchall()
        valid = {(row["key_id"], row["organization_id"]) for row in rows}
        for reader in list(self._open):
            if reader.key_id in key_ids and (reader.key_id, reader.organization_id) not in valid:
                reader.end()

    @asynccontextmanager
    async def checking(self, pool: Pool, every: timedelta = CHECK_EVERY) -> AsyncIterator[None]:
        """Call `check` periodically while the block runs."""
        task = asyncio.create_task(self._repeat(pool, every))
        try:
            yield
        finally:
            await end(task)

    async def _repeat(self, pool: Pool, every: timedelta) -> None:
        while True:
            await asyncio.sleep(every.total_seconds())
            try:
                await self.check(pool)
            except (psycopg.Error, PoolTimeout, TooManyRequests, OSError) as error:
                log.warning("keys_unchecked", error=type(error).__name__)
