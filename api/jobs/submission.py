"""Choose a server, submit a job to it, and wait for its end."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypeVar

import psycopg
import structlog
from pydantic import BaseModel, ValidationError

from api.events.waiter import EndedJob
from api.fields.shapes import Accepted, show_moment
from api.jobs.wait_reasons import approve_line
from api.procedure.context import Context
from shared.errors import FailedJobError, NotFoundError, UnmetConditionError
from shared.faults import Fault
from shared.jobs.states import State
from shared.jobs.store.cancel import cancel
from shared.jobs.store.submit import Submission, submit
from shared.untrusted.documents import UNREADABLE

Result = TypeVar("Result", bound=BaseModel)

TEST_DEADLINE = timedelta(seconds=10)
TRANSFER_DEADLINE = timedelta(hours=24)

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

log = structlog.get_logger()


async def choose_server(
    context: Context,
    server_id: str | None,
    *,
    online: bool = True,
    role: str = "deploy",
    among: Sequence[str] = (),
) -> str:
    """Return the id of the given server, or of the oldest online server with this role.

    ``online``: the given server must be able to take a quick job now. ``among`` limits the choice
    to these servers, if there are any.

    Raises:
        NotFoundError: no such server in the organization.
        UnmetConditionError: ``no_server``; with ``online`` also ``server_not_approved``,
            ``server_offline`` or ``server_paused``.
    """
    if server_id is None:
        return await _oldest_live(context, role, among, online=online)
    server = await _find(context, server_id)
    if online and server["paused"]:
        raise UnmetConditionError(
            "server_paused",
            f"the server {server['name']} is paused",
            remedy="Resume it with server.resume, or choose another server.",
        )
    if online and not server["online"]:
        since = f"since {show_moment(server['seen_at'])}" if server["seen_at"] else "yet"
        raise UnmetConditionError(
            "server_offline",
            f"the server {server['name']} has not been online {since}",
            remedy="Start its worker, or choose another server.",
        )
    if online and server["unapproved"]:
        raise UnmetConditionError(
            "server_not_approved",
            f"the server {server['name']} is not approved",
            remedy=f"On a control host: {approve_line(server['name'])}.",
        )
    return server_id


async def find_live_servers(context: Context) -> list[str]:
    """Return the ids of all servers that take a quick job now, the oldest first."""
    values = {"organization_id": context.organization_id}
    async with context.resources.pool.connection() as connection:
        rows = await (await connection.execute(LIVE, values)).fetchall()
    return [row["server_id"] for row in rows]


async def submit_and_wait(context: Context, job: Submission) -> EndedJob | Accepted:
    """Submit a quick job and return its end; with ``respond-async`` return its id at once.

    Raises:
        OverdueError: it had not ended in time; it continues.
    """
    resources = context.resources
    accepted = await submit_job(context, job)
    if context.respond_async:
        return accepted
    try:
        return await resources.waiter.wait(
            resources.pool, accepted.job_id, job.organization_id, resources.patience
        )
    except asyncio.CancelledError:
        if not context.outlives:
            await _cancel_abandoned(context, job)
        raise


async def submit_job(context: Context, job: Submission) -> Accepted:
    """Submit a job; return its id at once, or the id of an existing job for the same work."""
    async with context.resources.pool.connection() as connection:
        job_id = await submit(connection, job, proof=context.caller.proof)
    structlog.contextvars.bind_contextvars(job_id=job_id)
    return Accepted(job_id=job_id)


def require_success(ended: EndedJob) -> dict[str, Any]:
    """Return the result of a job that succeeded.

    Raises:
        FailedJobError: it did not succeed.
    """
    if ended.state is not State.SUCCEEDED:
        raise FailedJobError(fault_of(ended), job_id=ended.job_id)
    return ended.result or {}


def read_result(ended: EndedJob, kind: type[Result]) -> Result:
    """Return the typed result of a job that succeeded.

    Raises:
        FailedJobError: it did not succeed, or the result does not have this type.
    """
    return read_document(ended, require_success(ended), kind)


def read_document(ended: EndedJob, document: object, kind: type[Result]) -> Result:
    """Return a document that a worker reported for the job, typed.

    Raises:
        FailedJobError: it does not have this type.
    """
    try:
        return kind.model_validate(document)
    except ValidationError:
        raise FailedJobError(Fault.model_validate(UNREADABLE), job_id=ended.job_id) from None


def fault_of(ended: EndedJob) -> Fault:
    """Return the error of a job that did not succeed."""
    if ended.error:
        try:
            return Fault.model_validate(ended.error)
        except ValidationError:
            return Fault.model_validate(UNREADABLE)
    return Fault(code=ended.state.value, message=f"the job was {ended.state.value}")


async def _cancel_abandoned(context: Context, job: Submission) -> None:
    """Cancel a job whose caller disconnected."""
    try:
        async with context.resources.pool.connection() as connection:
            await cancel(connection, job.job_id, job.organization_id, "the caller disconnected")
    except psycopg.Error as error:
        log.warning("cancel_failed", job_id=job.job_id, error=type(error).__name__)


async def _find(context: Context, server_id: str) -> dict[str, Any]:
    row = await _fetch(context, FIND, server_id=server_id)
    if row is None:
        raise NotFoundError("Server not found")
    return row


async def _oldest_live(context: Context, role: str, among: Sequence[str], *, online: bool) -> str:
    row = await _fetch(context, OLDEST_LIVE, role=role, online=online, among=list(among))
    if row is None:
        raise UnmetConditionError(
            "no_server",
            f"the organization has no {role} server that is online",
            remedy="Create a server and start a worker on it with the join token.",
        )
    return str(row["server_id"])


async def _fetch(
    context: Context, query: str, **chosen: str | bool | list[str]
) -> dict[str, Any] | None:
    values = {"organization_id": context.organization_id, **chosen}
    async with context.resources.pool.connection() as connection:
        return await (await connection.execute(query, values)).fetchone()
