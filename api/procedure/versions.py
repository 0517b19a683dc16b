"""Versions of rows: what was compared is overwritten only if it is still the same.

A row's version is a hash of its columns. Left out are those that processes write and no form shows:
a heartbeat of a server, or a renewed login of a registry, is no change by a person. The version of
an application includes its servers, which are rows of their own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

Noun = Literal["application", "registry", "server", "webhook"]

WRITTEN_BY_PROCESSES: Mapping[Noun, tuple[str, ...]] = {
    "application": ("last_version",),
    # A new login that a person gives also changes login_revision.
    "registry": ("password", "password_expires_at"),
    "server": (
        "approved_at",
        "clock_ahead_seconds",
        "draining",
        "engine",
        "incarnation",
        "kinds",
        "predecessor",
        "registered_at",
        "role_ready_at",
        "second_worker_at",
        "seen_address",
        "seen_at",
        "wire_version",
        "worker_version",
    ),
    "webhook": (),
}
"""The columns that are no part of a version."""

_SERVERS = """
 || coalesce((SELECT string_agg(s.server_id, ' ' ORDER BY s.server_id)
                FROM application_server s WHERE s.application_id = r.application_id), '')
"""
_READ = {
    noun: text(f"""
SELECT encode(sha256(convert_to((to_jsonb(r) - '{{{",".join(left_out)}}}'::text[])::text
  {_SERVERS if noun == "application" else ""}, 'UTF8')), 'hex')
  FROM {noun} r WHERE r.{noun}_id = :object_id
""")  # noqa: S608 - our words
    for noun, left_out in WRITTEN_BY_PROCESSES.items()
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
