"""The audit log of changes: append-only, written in the transaction of the change."""

from psycopg.types.json import Jsonb

from api.procedure.context import Context
from shared.database import Connection
from shared.ids import make_id
from shared.models import AuditEvent

INSERT = """
INSERT INTO audit_event (audit_event_id, organization_id, actor_id, action, object_id, data)
VALUES (%(audit_event_id)s, %(organization_id)s, %(actor_id)s, %(action)s, %(object_id)s,
        %(data)s)
"""


def audit_event(
    context: Context, action: str, object_id: str, **data: str | bool | list[str] | None
) -> AuditEvent:
    """Make the row for one change; ``data`` holds names and hosts, never a secret."""
    return AuditEvent(
        audit_event_id=make_id(),
        organization_id=context.organization_id,
        actor_id=context.caller.actor_id,
        action=action,
        object_id=object_id,
        data=dict(data),
    )


async def insert_audit_event(connection: Connection, event: AuditEvent) -> None:
    """Store the row in the connection's transaction, which has the caller's proof already."""
    await connection.execute(INSERT, {**event.model_dump(), "data": Jsonb(event.data)})
