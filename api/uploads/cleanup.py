"""Remove files without a row: of deleted contexts, and of uploads that broke off.

Rows are deleted with their application or by control's retention, which has no access to the files.
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
"""A running upload writes more often than this."""

EVERY = timedelta(minutes=1)
KNOWN = "SELECT context_id FROM context WHERE context_id = ANY(%s)"

log = structlog.get_logger()


@asynccontextmanager
async def cleaning_up(store: ContextStore, pool: Pool) -> AsyncIterator[None]:
    """Clean up at once, and every minute while the block runs."""
    task = asyncio.create_task(_repeat(store, pool))
    try:
        yield
    finally:
        await end(task)


async def clean_up(store: ContextStore, pool: Pool, grace: timedelta = GRACE) -> int:
    """Remove files without a row that were not written for ``grace``; return how many."""
    names = await asyncio.to_thread(store.old_names, grace)
    if not names:
        return 0
    async with pool.connection() as connection:
        rows = await (await connection.execute(KNOWN, (names,))).fetchall()
    orphans = set(names) - {row["context_id"] for row in rows}
    for name in orphans:
        await asyncio.to_thread(store.remove, name)
    return len(orphans)


async def _repeat(store: ContextStore, pool: Pool) -> None:
    while True:
        try:
            if removed := await clean_up(store, pool):
                log.info("contexts_removed", files=removed)
        except (psycopg.Error, PoolTimeout, TooManyRequests, OSError) as error:
            log.warning("contexts_stay", error=type(error).__name__)
        await asyncio.sleep(EVERY.total_seconds())
