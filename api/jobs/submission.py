"""Submit a job, wait for its end, and read its result."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import psycopg
import structlog
from pydantic import BaseModel, ValidationError

from api.events.waiter import EndedJob
from api.fields.shapes import Accepted
from api.procedure.audit import insert_audit_event
from api.procedure.context import Context
from shared.errors import FailedJobError
from shared.faults import Fault
from shared.jobs.states import State
from shared.jobs.store.cancel import cancel
from shared.jobs.store.submit import Submission, submit
from shared.models import AuditEvent
from shared.untrusted.documents import UNREADABLE

Result = TypeVar("Result", bound=BaseModel)
MakeEvent = Callable[[str], AuditEvent]

TEST_DEADLINE = timedelta(seconds=10)
TRANSFER_DEADLINE = timedelta(hours=24)

WITHOUT_RESULT = frozenset({State.CANCELLED, State.EXPIRED})

log = structlog.get_logger()


async def submit_and_wait(
    context: Context, job: Submission, audited: MakeEvent | None = None
) -> EndedJob | Accepted:
    """Submit a quick job and return its end; with ``respond-async`` return its id at once.

    ``audited`` makes the audit event of the job with this id; both are stored or neither.

    Raises:
        OverdueError: it had not ended in time; it continues.
    """
    if context.respond_async:
        return await submit_job(context, job, audited)
    try:
        return await _wait_for_end(context, job, audited)
    except asyncio.CancelledError:
        if not context.outlives:
            await _cancel_abandoned(context, job)
        raise


async def _wait_for_end(context: Context, job: Submission, audited: MakeEvent | None) -> EndedJob:
    """Submit a job and wait for its end, or for that of another caller's job for the same work.

    If that one ends without a result, because its caller left or because it waited too long, the
    job is submitted again.
    """
    resources = context.resources
    clock = asyncio.get_running_loop().time
    until = clock() + resources.patience.total_seconds()
    while True:
        accepted = await submit_job(context, job, audited)
        remaining = timedelta(seconds=max(until - clock(), 0))
        ended = await resources.waiter.wait(
            resources.pool, accepted.job_id, job.organization_id, remaining
        )
        if accepted.job_id == job.job_id or ended.state not in WITHOUT_RESULT:
            return ended


async def submit_job(
    context: Context, job: Submission, audited: MakeEvent | None = None
) -> Accepted:
    """Submit a job; return its id at once, or the id of an existing job for the same work."""
    proof, quota = context.caller.proof, context.resources.quotas.queued_jobs
    async with context.resources.pool.connection() as connection:
        if audited is None:
            job_id = await submit(connection, job, proof=proof, quota=quota)
        else:
            async with connection.pipeline(), connection.transaction():
                job_id = await submit(connection, job, proof=proof, quota=quota)
                await insert_audit_event(connection, audited(job_id))
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
    """Cancel the job of a caller who disconnected; one of another caller has another id."""
    try:
        async with context.resources.pool.connection() as connection:
            await cancel(connection, job.job_id, job.organization_id, "the caller disconnected")
    except psycopg.Error as error:
        log.warning("cancel_failed", job_id=job.job_id, error=type(error).__name__)
