"""Remove files that no row knows: of contexts that are gone, and of uploads that broke off.

Rows go by themselves, with their application or by control's retention, which has no such files.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import psycopg
import structlog
from psycopg_pool import PoolTimeout, TooManyRequests

from api.uploads.store import ContextStore
from shared.coroutines import end
from shared.database import Pool

GRACE = timedelta(minutes=10)
"""An upload that still comes writes more often than that."""

EVERY = timedelta(minutes=1)
KNOWN = "SELECT context_id FROM context WHERE context_id = ANY(%s)"

log = structlog.get_logger()


@asynccontextmanager
async def tidying(store: ContextStore, pool: Pool) -> AsyncIterator[None]:
    """Tidy at once, and each minute while the block runs."""
    task = asyncio.create_task(_repeat(store, pool))
    try:
        yield
    finally:
        await end(task)


async def tidy(store: ContextStore, pool: Pool, grace: timedelta = GRACE) -> int:
    """Remove what is nobody's and has been left alone for so long; gives how many."""
    names = await asyncio.to_thread(store.old_names, grace)
    if not names:
        return 0
    async with pool.connection() as connection:
        rows = await (await connection.execute(KNOWN, (names,))).fetchall()
    lost = set(names) - {row["context_id"] for row in rows}
    for name in lost:
        await asyncio.to_thread(store.remove, name)
    return len(lost)


async def _repeat(store: ContextStore, pool: Pool) -> None:
    while True:
        try:
            if removed := await tidy(store, pool):
                log.info("contexts_removed", files=removed)
        except (psycopg.Error, PoolTimeout, TooManyRequests, OSError) as error:
            log.warning("contexts_stay", error=type(error).__name__)
        await asyncio.sleep(EVERY.total_seconds())
