"""Versions of rows: what was compared is overwritten only if it is still the same.

A row's version is the transaction that wrote it last, PostgreSQL's ``xmin``. That of an application
includes its servers, which are rows of their own.
"""

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

Noun = Literal["application", "registry", "server", "webhook"]

_SERVERS = """
 || coalesce((SELECT string_agg(concat(' ', s.xmin, ' ', s.server_id), '' ORDER BY s.server_id)
                FROM application_server s WHERE s.application_id = r.application_id), '')
"""
_READ = {
    noun: text(f"SELECT r.xmin::text {more} FROM {noun} r WHERE r.{noun}_id = :object_id")  # noqa: S608 - our words
    for noun, more in (
        ("application", _SERVERS),
        ("registry", ""),
        ("server", ""),
        ("webhook", ""),
    )
}


@dataclass(frozen=True)
class RowVersion:
    """The version of a row; ``text`` is empty if there is no such row."""

    noun: Noun
    object_id: str
    text: str


async def read_version(session: AsyncSession, noun: Noun, object_id: str) -> RowVersion:
    """Return the present version of a row. While the row is locked, it does not change."""
    connection = await session.connection()
    found = (await connection.execute(_READ[noun], {"object_id": object_id})).scalar()
    return RowVersion(noun, object_id, str(found or ""))
