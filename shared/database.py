"""Connections to PostgreSQL: a pool for statements, and a listener for notifications."""

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
NotificationHandler = Callable[[str, str], None]

POOL_CONNECTIONS = 4
RECONNECT_SECONDS = 0.5
CHECK_SECONDS = 5.0
OPTIONS = "-c lock_timeout=5s -c statement_timeout=30s -c idle_in_transaction_session_timeout=5s"
"""Limits for a frozen process: its lock on control's gate would block all replicas."""

TCP_TIMEOUTS: dict[str, int] = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 2,
}
"""libpq parameters that end a dead connection after about 15 s."""

log = structlog.get_logger()

set_json_loads(load_document)


@asynccontextmanager
async def open_pool(
    url: str, *, size: int = POOL_CONNECTIONS, queue: int = 0, seconds: float = 10
) -> AsyncIterator[Pool]:
    """Open a pool of autocommit connections with dict rows; close it at the end.

    A statement waits at most 5 s for a lock and runs at most 30 s. Waiting for a connection is
    limited to ``seconds`` and to ``queue`` waiting tasks (0: no limit).
    """
    pool = AsyncConnectionPool(
        url,
        connection_class=AsyncConnection[DictRow],
        kwargs={
            "autocommit": True,
            "row_factory": dict_row,
            "options": OPTIONS,
            **TCP_TIMEOUTS,
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
    """Raise `psycopg.OperationalError` if the server has closed the connection.

    The connection is checked only if unread data has arrived, as on a shutdown: a round trip before
    each statement would double the time of short ones.
    """
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        await AsyncConnectionPool.check_connection(connection)


@asynccontextmanager
async def listening(
    url: str,
    channels: tuple[str, ...],
    handle: NotificationHandler,
    *,
    renew_seconds: float = math.inf,
) -> AsyncIterator[None]:
    """Call ``handle(channel, payload)`` for every notification while the block runs; reconnects.

    A notification is untrusted and may be lost: ``handle("", "")`` after each connection means that
    anything may have changed. The block begins once the first connection listens. A connection is
    replaced after ``renew_seconds``.
    """
    ready = asyncio.Event()
    task = asyncio.create_task(_listen(url, channels, handle, ready, renew_seconds))
    try:
        await ready.wait()
        yield
    finally:
        await end(task)


async def _listen(
    url: str,
    channels: tuple[str, ...],
    handle: NotificationHandler,
    ready: asyncio.Event,
    renew_seconds: float,
) -> None:
    bounded = make_conninfo(url, **TCP_TIMEOUTS)
    while True:
        try:
            async with await AsyncConnection.connect(bounded, autocommit=True) as connection:
                for channel in channels:
                    await connection.execute(f'LISTEN "{channel}"')
                ready.set()
                handle("", "")
                await _receive_notifications(connection, handle, time.monotonic() + renew_seconds)
        except (psycopg.Error, OSError) as error:
            log.warning("listener_lost", error=type(error).__name__)
            await asyncio.sleep(RECONNECT_SECONDS)


async def _receive_notifications(
    connection: AsyncConnection, handle: NotificationHandler, until: float
) -> None:
    while (remaining := until - time.monotonic()) > 0:
        async for notification in connection.notifies(timeout=min(CHECK_SECONDS, remaining)):
            handle(notification.channel, notification.payload)
        await connection.execute("SELECT 1")
