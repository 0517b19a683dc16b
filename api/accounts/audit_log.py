"""``auditLog.all``: what was done, by whom, newest first."""

from typing import Annotated, Any

from pydantic import Field
from sqlalchemy import text

from api.fields.shapes import Document, Id, Input, Moment, Output
from api.procedure.context import Context
from api.procedure.procedure import Procedure

MAX_PAGE = 500
MAX_OFFSET = 10_000

FIND = text("""
SELECT e.audit_event_id, e.at, e.action, e.object_id, e.data, e.actor_id,
       coalesce(k.name, u.name, e.data->>'actor') AS actor
  FROM audit_event e
  LEFT JOIN api_key k ON k.api_key_id = e.actor_id
  LEFT JOIN member m ON m.member_id = e.actor_id LEFT JOIN user_account u USING (user_id)
 WHERE e.organization_id = :organization_id
   AND (cast(:cursor AS text) IS NULL OR e.audit_event_id < :cursor)
   AND (cast(:action AS text) IS NULL OR e.action = :action
        OR starts_with(e.action, :action || '.'))
   AND (cast(:object_id AS text) IS NULL OR e.object_id = :object_id)
   AND (cast(:actor_id AS text) IS NULL OR e.actor_id = :actor_id)
 ORDER BY e.audit_event_id DESC OFFSET :offset LIMIT :limit
""")


class AuditLogQuery(Input):
    """Filters; ``action`` is whole (``registry.create``) or a router's name (``registry``).

    ``cursor`` is the ``nextCursor`` of the page before; ``offset`` leaves out entries after it, as
    clients of Dokploy do.
    """

    action: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    object_id: Id | None = None
    actor_id: Id | None = None
    cursor: Id | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 50
    offset: Annotated[int, Field(ge=0, le=MAX_OFFSET)] = 0


class AuditLogEntry(Output):
    """One action; ``actor`` is the name of the key or the person, if there still is one."""

    audit_event_id: str
    at: Moment
    action: str
    object_id: str | None
    actor_id: str | None
    actor: str | None
    data: Document | None


class AuditLogPage(Output):
    """Entries, the newest first; ``nextCursor`` is null on the last page."""

    entries: list[AuditLogEntry]
    next_cursor: str | None


async def get_all(context: Context, request: AuditLogQuery) -> AuditLogPage:
    """List what was done in the organization, the newest first."""
    values: dict[str, Any] = {
        **request.model_dump(),
        "organization_id": context.organization_id,
        "limit": request.limit + 1,
    }
    async with context.transaction() as session:
        found = await (await session.connection()).execute(FIND, values)
        rows = list(found.mappings())
    shown = [AuditLogEntry.model_validate(dict(row)) for row in rows[: request.limit]]
    more = len(rows) > request.limit
    return AuditLogPage(entries=shown, next_cursor=shown[-1].audit_event_id if more else None)


PROCEDURES = (Procedure("auditLog.all", "query", AuditLogQuery, AuditLogPage, get_all, "admin"),)
