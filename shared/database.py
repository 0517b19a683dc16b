"""Connections to PostgreSQL: a pool for statements, and a listener for hints."""

import asyncio
import math
import select
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import set_json_loads
from psycopg_pool import AsyncConnectionPool

from shared.coroutines import end
from shared.untrusted.documents import load_document

Connection = AsyncConnection[DictRow]
Pool = AsyncConnectionPool[Connection]
Hear = Callable[[str, str], None]

POOL_CONNECTIONS = 4
RECONNECT_SECONDS = 0.5
CHECK_SECONDS = 5.0
OPTIONS = "-c lock_timeout=5s -c statement_timeout=30s -c idle_in_transaction_session_timeout=5s"
"""A frozen process keeps no lock for longer: control's gate would shut out all its replicas."""

CUT_LINK: dict[str, int] = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 2,
}
"""libpq's words for: a connection over which nothing comes back is over after some 15 s."""

log = structlog.get_logger()

set_json_loads(load_document)


@asynccontextmanager
async def open_pool(
    url: str, *, size: int = POOL_CONNECTIONS, queue: int = 0, seconds: float = 10
) -> AsyncIterator[Pool]:
    """A pool of autocommit connections with dict rows; closed at the end.

    A lock is waited for 5 s, a statement runs 30 s, at the most. A connection is waited for so many
    ``seconds``, and by ``queue`` others at once at the most (0: by any number).
    """
    pool = AsyncConnectionPool(
        url,
        connection_class=AsyncConnection[DictRow],
        kwargs={
            "autocommit": True,
            "row_factory": dict_row,
            "options": OPTIONS,
            **CUT_LINK,
        },
        min_size=1,
        max_size=size,
        open=False,
        check=require_open,
        reconnect_timeout=0,
        timeout=seconds,
        max_waiting=queue,
    )
    await pool.open()
    try:
        yield pool
    finally:
        await pool.close()


async def require_open(connection: Connection) -> None:
    """Raises `psycopg.OperationalError` where the server has hung up.

    It is asked only where it said something unasked, as one that ends does: a round trip before
    each statement would double the price of the short ones.
    """
    watch = select.poll()
    watch.register(connection.fileno(), select.POLLIN)
    if watch.poll(0):
        await AsyncConnectionPool.check_connection(connection)


@asynccontextmanager
async def listening(
    url: str, channels: tuple[str, ...], hear: Hear, *, renew_seconds: float = math.inf
) -> AsyncIterator[None]:
    """Call ``hear(channel, payload)`` for every notification while the block runs; reconnects.

    A notification is untrusted and may be lost: after each connection ``hear("", "")`` says that
    anything may have changed. The block begins once the first connection listens. A connection
    that is ``renew_seconds`` old is replaced by a new one.
    """
    ready = asyncio.Event()
    task = asyncio.create_task(_listen(url, channels, hear, ready, renew_seconds))
    try:
        await ready.wait()
        yield
    finally:
        await end(task)


async def _listen(
    url: str, channels: tuple[str, ...], hear: Hear, ready: asyncio.Event, renew_seconds: float
) -> None:
    bounded = make_conninfo(url, **CUT_LINK)
    while True:
        try:
            async with await AsyncConnection.connect(bounded, autocommit=True) as connection:
                for channel in channels:
                    await connection.execute(f'LISTEN "{channel}"')
                ready.set()
                hear("", "")
                await _receive_notifications(connection, hear, time.monotonic() + renew_seconds)
        except (psycopg.Error, OSError) as error:
            log.warning("listener_lost", error=type(error).__name__)
            await asyncio.sleep(RECONNECT_SECONDS)


async def _receive_notifications(connection: AsyncConnection, hear: Hear, until: float) -> None:
    while (left := until - time.monotonic()) > 0:
        async for notification in connection.notifies(timeout=min(CHECK_SECONDS, left)):
            hear(notification.channel, notification.payload)
        await connection.execute("SELECT 1")
