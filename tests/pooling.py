"""Sessions of one database that outlive the application of a test, as PgBouncer keeps them.

In each new session PostgreSQL reads its catalog and plans all functions anew, which takes longer
than the statements of most tests. So a connection that is closed leaves its session, reset, to the
next one of the same role and options. A session that cannot be reset is closed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from psycopg import AsyncConnection
from psycopg.generators import connect
from psycopg.pq import ConnStatus, ExecStatus, PGconn, TransactionStatus
from psycopg.pq import abc as pq

from worker.local.postgres import CLIENTS, OWNER

ROLES = (OWNER, *CLIENTS)
ORIGIN = "origin_of_its_session"

MAX_IDLE = 8
"""The sessions that are kept for the same role and options."""

RESET = (
    b"RESET SESSION AUTHORIZATION; RESET ALL; UNLISTEN *; CLOSE ALL; DEALLOCATE ALL; DISCARD TEMP"
)
"""One request: six take longer than the statements of most tests."""


@contextmanager
def pooling(database: str, port: int) -> Iterator[None]:
    """Keep the sessions of asynchronous connections to a database during the block.

    Not those by way of a proxy, which has another port.
    """
    idle: dict[str, list[pq.PGconn]] = {}
    original_close, ended = AsyncConnection.close, _end(PGconn.connect_start(b""))

    def connect_or_reuse(cls: type[AsyncConnection], conninfo: str = "") -> Any:
        session = _take(idle.get(conninfo, []))
        if session is None:
            session = yield from connect(conninfo)
        connection = cls(session)
        is_direct = (session.db, session.port) == (database.encode(), b"%d" % port)
        if is_direct and session.user.decode() in ROLES:
            vars(connection)[ORIGIN] = conninfo
        return connection

    async def close(connection: AsyncConnection) -> None:
        session = connection.pgconn
        origin = vars(connection).pop(ORIGIN, None)
        kept = idle.setdefault(origin, []) if origin else []
        if origin is None or len(kept) == MAX_IDLE or not _is_reset(session):
            await original_close(connection)
            return
        kept.append(session)
        connection.pgconn = ended

    with (
        patch.object(AsyncConnection, "_connect_gen", classmethod(connect_or_reuse)),
        patch.object(AsyncConnection, "close", close),
    ):
        try:
            yield
        finally:
            for session in (one for kept in idle.values() for one in kept):
                session.finish()


def _take(idle: list[pq.PGconn]) -> pq.PGconn | None:
    """Return a session that is still open; end the others."""
    while idle:
        session = idle.pop()
        if _succeeds(session, b"SELECT 1"):
            return session
        session.finish()
    return None


def _is_reset(session: pq.PGconn) -> bool:
    """Reset a session for its next user, if it can be used again."""
    is_free = (
        session.status == ConnStatus.OK
        and session.transaction_status == TransactionStatus.IDLE
        and not session.pipeline_status
    )
    if not is_free or not _succeeds(session, RESET):
        return False
    while session.notifies():
        pass
    return True


def _succeeds(session: pq.PGconn, statement: bytes) -> bool:
    return session.exec_(statement).status in {ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK}


def _end(session: pq.PGconn) -> pq.PGconn:
    session.finish()
    return session
