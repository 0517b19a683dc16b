"""The audit log of changes: append-only, written in the transaction of the change."""

from api.procedure.context import Context
from shared.ids import make_id
from shared.models import AuditEvent


def audit_event(
    context: Context, action: str, object_id: str, **data: str | bool | list[str] | None
) -> AuditEvent:
    """Make the row for one change; ``data`` holds names and hosts, never a secret."""
    return AuditEvent(
        audit_event_id=make_id(),
        organization_id=context.organization_id,
        api_key_id=context.caller.api_key_id,
        action=action,
        object_id=object_id,
        data=dict(data),
    )
