"""Submit a job, wait for its end, and read its result."""

import asyncio
from datetime import timedelta
from typing import Any, TypeVar

import psycopg
import structlog
from pydantic import BaseModel, ValidationError

from api.events.waiter import EndedJob
from api.fields.shapes import Accepted
from api.procedure.context import Context
from shared.errors import FailedJobError
from shared.faults import Fault
from shared.jobs.states import State
from shared.jobs.store.cancel import cancel
from shared.jobs.store.submit import Submission, submit
from shared.untrusted.documents import UNREADABLE

Result = TypeVar("Result", bound=BaseModel)

TEST_DEADLINE = timedelta(seconds=10)
TRANSFER_DEADLINE = timedelta(hours=24)

log = structlog.get_logger()


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
