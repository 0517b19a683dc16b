"""SQLModel sessions for ordinary reads and writes; the hot path uses the psycopg pool."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any, cast

from psycopg import AsyncConnection
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from sqlmodel.ext.asyncio.session import AsyncSession

from shared.database import OPTIONS, TCP_TIMEOUTS
from shared.untrusted.documents import load_document

Sessions = async_sessionmaker[AsyncSession]

CONNECTIONS = 4


@asynccontextmanager
async def open_sessions(url: str) -> AsyncIterator[Sessions]:
    """Open a session factory on at most `CONNECTIONS` connections; close it at the end.

    Rows stay readable after the commit, and no error shows the values of a statement.
    """
    engine = _engine(url)
    try:
        yield async_sessionmaker(engine, class_=AsyncSession, expire_on_commit=False)
    finally:
        await engine.dispose()


@lru_cache(maxsize=4)
def _engine(url: str) -> AsyncEngine:
    """Make the engine of a URL once: it holds the compiled statements, and no open connection."""
    return create_async_engine(
        url.replace("postgresql://", "postgresql+psycopg://", 1),
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=10,
        pool_pre_ping=True,
        hide_parameters=True,
        json_deserializer=load_document,
        connect_args={"options": OPTIONS, **TCP_TIMEOUTS},
    )


async def connection_of(session: AsyncSession) -> AsyncConnection[Any]:
    """Return the connection of a session's transaction, for statements without models."""
    raw = await (await session.connection()).get_raw_connection()
    return cast("AsyncConnection[Any]", raw.driver_connection)


@asynccontextmanager
async def pipeline_of(session: AsyncSession) -> AsyncIterator[AsyncConnection[Any]]:
    """Give the connection in pipeline mode: statements are sent without awaiting each answer.

    The first error is raised at the end of the block.
    """
    connection = await connection_of(session)
    async with connection.pipeline():
        yield connection


def violates(error: IntegrityError, constraint: str) -> bool:
    """Return whether a statement violated this constraint or unique index."""
    diagnosis = getattr(error.orig, "diag", None)
    return getattr(diagnosis, "constraint_name", None) == constraint
