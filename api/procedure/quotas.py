"""Count what an organization has, and refuse what its quota does not allow.

The defaults are settings of the API. Columns of the organization's row replace them; only the owner
of the database may write those.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from typing import Any, Literal

import psycopg
from psycopg import AsyncConnection
from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from api.errors import QuotaUsedError
from api.limits.quotas import Quotas
from api.procedure.context import Context
from api.procedure.sessions import pipeline_of
from shared.errors import QueueFullError

Counted = Literal["applications", "webhooks"]

LOCK = text("SELECT organization_lock(:organization)")
QUOTAS = text(
    "SELECT coalesce(application_quota, :applications) AS applications,"
    " coalesce(queued_job_quota, :queued_jobs) AS queued_jobs,"
    " coalesce(upload_quota_bytes, :upload_bytes) AS upload_bytes,"
    " coalesce(webhook_quota, :webhooks) AS webhooks"
    " FROM organization WHERE organization_id = :organization"
)
COUNTS = {
    "applications": text("SELECT count(*) FROM application WHERE organization_id = :organization"),
    "webhooks": text("SELECT count(*) FROM webhook WHERE organization_id = :organization"),
}
REQUIRE_QUEUE_ROOM = "SELECT queue_require_room(%s, %s)"
QUEUE_FULL = "WQ001"
USED = text(
    "SELECT (SELECT count(*) FROM application WHERE organization_id = :organization)"
    " AS applications,"
    " (SELECT count(*) FROM job WHERE organization_id = :organization"
    " AND state IN ('queued', 'dispatched', 'running')) AS queued_jobs,"
    " (SELECT coalesce(sum(size_bytes), 0)::bigint FROM context"
    " WHERE organization_id = :organization) AS upload_bytes,"
    " (SELECT count(*) FROM webhook WHERE organization_id = :organization) AS webhooks"
)
REMEDIES = {
    "applications": "Remove applications, or ask the operator to raise WHARF_QUOTA_APPLICATIONS.",
    "webhooks": "Remove webhooks, or ask the operator to raise WHARF_QUOTA_WEBHOOKS.",
}


async def read_quotas(session: AsyncSession, context: Context) -> Quotas:
    """Return the quotas of the caller's organization."""
    defaults = context.resources.quotas
    values = {"organization": context.organization_id, **asdict(defaults)}
    del values["streams"]
    connection = await session.connection()
    return replace(defaults, **(await connection.execute(QUOTAS, values)).one()._asdict())


async def lock_quotas(session: AsyncSession, context: Context) -> Quotas:
    """Return the quotas; other requests of the organization wait here until the transaction ends.

    What is counted afterwards includes everything that they stored.
    """
    connection = await session.connection()
    await connection.execute(LOCK, {"organization": context.organization_id})
    return await read_quotas(session, context)


async def read_used(session: AsyncSession, context: Context) -> Quotas:
    """Return what the caller's organization has of each; its open streams at this process."""
    connection = await session.connection()
    found = await connection.execute(USED, {"organization": context.organization_id})
    streams = context.resources.readers.limit.taken_by(context.organization_id)
    return Quotas(streams=streams, **found.one()._asdict())


@asynccontextmanager
async def storing_jobs(
    session: AsyncSession, context: Context
) -> AsyncIterator[AsyncConnection[Any]]:
    """Give the connection, in pipeline mode, to a request that stores jobs.

    If there is room for one job, all of the request are stored.

    Raises:
        QueueFullError: the organization has as many jobs that have not ended as its quota allows.
    """
    values = (context.organization_id, context.resources.quotas.queued_jobs)
    try:
        async with pipeline_of(session) as connection:
            await connection.execute(REQUIRE_QUEUE_ROOM, values)
            yield connection
    except psycopg.Error as error:
        if error.sqlstate != QUEUE_FULL:
            raise
        raise QueueFullError(int(error.diag.message_detail or 0)) from None


async def require_room(session: AsyncSession, context: Context, things: Counted) -> None:
    """Check that the organization may have one more; call it in the transaction that stores it.

    Raises:
        QuotaUsedError: it has as many as its quota allows.
    """
    quotas = await lock_quotas(session, context)
    quota: int = getattr(quotas, things)
    if not quota:
        return
    connection = await session.connection()
    values = {"organization": context.organization_id}
    used = (await connection.execute(COUNTS[things], values)).scalar_one()
    if used >= quota:
        raise QuotaUsedError(
            f"the organization has {used} {things}; its quota is {quota}",
            remedy=REMEDIES[things],
        )
