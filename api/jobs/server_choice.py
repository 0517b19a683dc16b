"""Choose the server for a job."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from psycopg import AsyncConnection
from psycopg.rows import dict_row
from sqlmodel.ext.asyncio.session import AsyncSession

from api.fields.shapes import show_moment
from api.jobs.wait_reasons import approve_line
from api.procedure.context import Context
from api.procedure.sessions import connection_of
from shared.errors import NotFoundError, UnmetConditionError
from shared.models import Application

FIND = """
SELECT server_id, name, seen_at, approved_at IS NULL AS unapproved,
       'quick' = ANY (paused_classes) AS paused,
       server_is_online(server) AND NOT draining AS online
  FROM server
 WHERE organization_id = %(organization_id)s AND server_id = %(server_id)s AND removed_at IS NULL
"""
LIVE = """
SELECT server_id FROM server
 WHERE organization_id = %(organization_id)s AND server_is_available(server, 'quick')
 ORDER BY created_at, server_id
"""
OLDEST_LIVE = """
SELECT server_id FROM server
 WHERE organization_id = %(organization_id)s AND %(role)s = ANY (roles)
   AND (%(among)s::text[] = '{}' OR server_id = ANY (%(among)s))
   AND CASE WHEN %(online)s THEN server_is_available(server, 'quick')
            ELSE server_is_online(server) AND approved_at IS NOT NULL AND NOT draining END
 ORDER BY created_at, server_id LIMIT 1
"""

CANDIDATES = """
SELECT name, seen_at, approved_at IS NULL AS unapproved, 'quick' = ANY (paused_classes) AS paused,
       server_is_online(server) AND NOT draining AS online
  FROM server
 WHERE organization_id = %(organization_id)s AND %(role)s = ANY (roles) AND removed_at IS NULL
   AND (%(among)s::text[] = '{}' OR server_id = ANY (%(among)s))
 ORDER BY created_at, server_id LIMIT 10
"""
SHOWN = 5
"""Servers that a message names at most."""


async def choose_server(
    context: Context, server_id: str | None, *, online: bool = True, among: Sequence[str] = ()
) -> str:
    """Return the id of the given server, or of the oldest online deploy server.

    ``online``: the given server must be able to take a quick job now. ``among`` limits the choice
    to these servers, if there are any.

    Raises:
        NotFoundError: no such server in the organization.
        UnmetConditionError: ``no_server``; with ``online`` also ``server_not_approved``,
            ``server_offline`` or ``server_paused``.
    """
    async with context.resources.pool.connection() as connection:
        if server_id is None:
            return await _oldest_live(connection, context, "deploy", among, online=online)
        server = await _find(connection, context, server_id)
    if online:
        _require_online(server)
    return server_id


async def choose_build_server(
    session: AsyncSession, context: Context, application: Application
) -> str:
    """Return the id of the application's build server, or of the oldest online one.

    A server that an application uses cannot be removed, so it needs no check.

    Raises:
        UnmetConditionError: ``no_server``.
    """
    if application.build_server_id is not None:
        return application.build_server_id
    return await _oldest_live(await connection_of(session), context, "build", (), online=False)


async def find_live_servers(context: Context) -> list[str]:
    """Return the ids of all servers that take a quick job now, the oldest first."""
    values = {"organization_id": context.organization_id}
    async with context.resources.pool.connection() as connection:
        rows = await (await connection.execute(LIVE, values)).fetchall()
    return [row["server_id"] for row in rows]


def _require_online(server: dict[str, Any]) -> None:
    """Raise `UnmetConditionError` unless the server takes a quick job now."""
    if server["paused"]:
        raise UnmetConditionError(
            "server_paused",
            f"the server {server['name']} is paused",
            remedy="Resume it with server.resume, or choose another server.",
        )
    if not server["online"]:
        since = f"since {show_moment(server['seen_at'])}" if server["seen_at"] else "yet"
        raise UnmetConditionError(
            "server_offline",
            f"the server {server['name']} has not been online {since}",
            remedy="Start its worker, or choose another server.",
        )
    if server["unapproved"]:
        raise UnmetConditionError(
            "server_not_approved",
            f"the server {server['name']} is not approved",
            remedy=f"Where wharf control runs: {approve_line(server['name'])}.",
        )


async def _find(
    connection: AsyncConnection[Any], context: Context, server_id: str
) -> dict[str, Any]:
    values = {"organization_id": context.organization_id, "server_id": server_id}
    row = await _fetch(connection, FIND, values)
    if row is None:
        raise NotFoundError("Server not found")
    return row


async def _oldest_live(
    connection: AsyncConnection[Any],
    context: Context,
    role: Literal["build", "deploy"],
    among: Sequence[str],
    *,
    online: bool,
) -> str:
    values = {
        "organization_id": context.organization_id,
        "role": role,
        "among": list(among),
        "online": online,
    }
    row = await _fetch(connection, OLDEST_LIVE, values)
    if row is None:
        candidates = await _fetch_all(connection, CANDIDATES, values)
        found, remedy = _why_none(role, candidates)
        raise UnmetConditionError("no_server", found, remedy=remedy)
    return str(row["server_id"])


def _why_none(role: str, candidates: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Return why none of the servers of a role can be chosen, and what to do about it."""
    if not candidates:
        found = f"the organization has no {role} server"
        return found, "Create a server and start a worker on it with the join token."
    reasons = "; ".join(f"{server['name']} {_state(server)}" for server in candidates[:SHOWN])
    more = "; …" if len(candidates) > SHOWN else ""
    if any(server["paused"] for server in candidates):
        remedy = "Resume a server with server.resume."
    elif any(server["unapproved"] and server["online"] for server in candidates):
        remedy = "Approve a server with wharf server approve, where wharf control runs."
    else:
        remedy = "Start the worker of a server."
    return f"no {role} server can take it now: {reasons}{more}", remedy


def _state(server: Mapping[str, Any]) -> str:
    if server["seen_at"] is None:
        return "has never joined"
    if not server["online"]:
        return "is offline"
    return "is not approved" if server["unapproved"] else "is paused"


async def _fetch_all(
    connection: AsyncConnection[Any], query: str, values: Mapping[str, object]
) -> list[dict[str, Any]]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query, values)
        return await cursor.fetchall()


async def _fetch(
    connection: AsyncConnection[Any], query: str, values: Mapping[str, object]
) -> dict[str, Any] | None:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query, values)
        return await cursor.fetchone()
