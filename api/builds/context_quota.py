"""Limit the bytes of uploaded contexts that an organization may keep."""

from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from api.errors import QuotaExceededError
from api.procedure.context import Context
from api.procedure.quotas import lock_quotas

MAX_CONTEXTS = 10_000

STORED = text(
    "SELECT count(*) AS contexts, coalesce(sum(size_bytes), 0)::bigint AS size_bytes"
    " FROM context WHERE organization_id = :organization"
)


async def require_quota(session: AsyncSession, context: Context, size_bytes: int) -> None:
    """Check that one more context of this size may be stored.

    Until the transaction ends, all API processes wait with their checks for this organization.

    Raises:
        QuotaExceededError: the organization would store too many bytes or files.
    """
    quota = (await lock_quotas(session, context)).upload_bytes
    values = {"organization": context.organization_id}
    connection = await session.connection()
    stored = (await connection.execute(STORED, values)).one()
    is_over = quota > 0 and stored.size_bytes + size_bytes > quota
    if is_over or stored.contexts >= MAX_CONTEXTS:
        most = f"{quota} bytes and {MAX_CONTEXTS} files" if quota else f"{MAX_CONTEXTS} files"
        raise QuotaExceededError(
            f"the organization keeps {stored.size_bytes} bytes of contexts in "
            f"{stored.contexts} files; {most} are the most",
            remedy="Remove applications that are no longer built, lower WHARF_JOB_RETENTION_DAYS, "
            "or raise WHARF_CONTEXT_QUOTA_BYTES.",
        )
