"""Jobs: list them, show one, cancel one."""

from collections.abc import Collection, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field
from sqlalchemy.orm import aliased
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession
from sqlmodel.sql.expression import SelectOfScalar

from api.errors import AlreadyEndedError
from api.events.wire import EventOutput
from api.fields.shapes import Cursor, Document, Id, Input, Moment, Output, show_document
from api.jobs.wait_reasons import Reason, read_reason, read_reasons
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from shared.errors import ForbiddenError, NotFoundError
from shared.jobs.commands import Kind
from shared.jobs.states import State
from shared.jobs.store.cancel import cancel
from shared.models import Application, DigestCheck, DigestOutcome, Job, JobAttempt, JobEvent

StateName = Literal[
    "queued", "dispatched", "running", "succeeded", "failed", "cancelled", "expired"
]
KindName = Annotated[Kind, Field(strict=False)]
MAX_JOBS = 200
MAX_SEARCHED = 20_000
"""How many jobs are looked at for a page by conditions that have no index."""

SHOWN_EVENTS = 1000
LONG_FIELDS = {"compose", "composeFile"}
"""Texts of up to 192 KiB, which lists omit; `job.one` returns them."""


class JobOutput(Output):
    """A job; `command`, `progress`, `result` and `error` depend on its kind."""

    job_id: str
    organization_id: str
    server_id: str
    registry_id: str | None
    kind: str
    state: State
    priority: int
    command: Document
    attempt: int
    failures: int
    max_failures: int
    progress: Document | None
    result: Document | None
    error: Document | None
    requested_by: str | None
    retry_of: str | None
    created_at: Moment
    run_at: Moment
    deadline_at: Moment | None
    dispatched_at: Moment | None
    started_at: Moment | None
    finished_at: Moment | None
    cancel_requested_at: Moment | None

    @classmethod
    def of(cls, job: Job, *, without: Collection[str] = ()) -> Self:
        shown = {}
        for name in ("command", "progress", "result", "error"):
            document = show_document(getattr(job, name))
            fields = document and {key: document[key] for key in document if key not in without}
            shown[name] = fields
        return cls.model_validate({**job.model_dump(), **shown})


class AttemptOutput(Output):
    attempt: int
    dispatched_at: Moment
    started_at: Moment | None
    ended_at: Moment | None
    outcome: str | None
    error: Document | None


class VerificationOutput(Output):
    """The result of control's own check that the registry has the pushed digest.

    `verified`: it has the digest; `missing`: it does not; `not_reached`: control got no answer,
    `code` is the cause.
    """

    outcome: DigestOutcome
    code: str | None
    checked_at: Moment


class ListedJob(JobOutput):
    """A job of a list, and why it waits (``waiting``) if it is queued."""

    waiting: Reason | None


class JobDetail(ListedJob):
    """A job with its attempts, its newest events, and why it waits (``waiting``) if it is queued.

    ``verification`` appears shortly after a push or a copy succeeded. ``flowerUrl`` shows the
    newest attempt in Flower.
    """

    verification: VerificationOutput | None
    attempts: list[AttemptOutput]
    events: list[EventOutput]
    flower_url: str | None


class JobPage(Output):
    """A page, the newest jobs first; ``nextCursor`` selects the next page of older ones."""

    jobs: list[ListedJob]
    next_cursor: str | None


class CancelOutput(Output):
    """The state after the request; a running job ends when its worker has stopped it."""

    state: State


class ManyJobs(Input):
    """``applicationId`` selects jobs of the application's builds, deployments and actions."""

    limit: Annotated[int, Field(ge=1, le=MAX_JOBS)] = 50
    cursor: Cursor | None = None
    state: StateName | None = None
    server_id: Id | None = None
    kind: KindName | None = None
    registry_id: Id | None = None
    application_id: Id | None = None


class ChosenJob(Input):
    job_id: Id


async def get_all(context: Context, request: ManyJobs) -> JobPage:
    """List the organization's jobs by page, the newest first.

    With `kind`, `registryId` or `applicationId`, and for a key that is limited to applications, a
    page is looked for among the next 20,000 jobs, so it can be empty though `nextCursor` names an
    older page.
    """
    async with context.transaction() as session:
        rows, last = await _read_page(session, context, request)
        page = rows[: request.limit]
        reasons = await read_reasons(session, page)
    shown = [JobOutput.of(job, without=LONG_FIELDS).model_dump() for job in page]
    return JobPage(
        jobs=[ListedJob(**each, waiting=reasons.get(each["job_id"])) for each in shown],
        next_cursor=page[-1].job_id if len(rows) > request.limit else last,
    )


def _searched(context: Context, request: ManyJobs) -> SelectOfScalar[Job]:
    """Return the query for the jobs that are looked at; an index has them in order."""
    query = select(Job).where(Job.organization_id == context.organization_id)
    if request.cursor is not None:
        query = query.where(Job.job_id < request.cursor)
    if request.state is not None:
        query = query.where(Job.state == request.state)
    if request.server_id is not None:
        query = query.where(Job.server_id == request.server_id)
    return query.order_by(col(Job.job_id).desc())


async def _read_page(
    session: AsyncSession, context: Context, request: ManyJobs
) -> tuple[Sequence[Job], str | None]:
    """Return the page and one job more, and the last of the jobs that were looked at, if any."""
    searched = _searched(context, request)
    chosen = {
        "kind": request.kind,
        "registry_id": request.registry_id,
        "fair_key": request.application_id,
    }
    given = {name: value for name, value in chosen.items() if value is not None}
    limits = context.caller.application_ids
    if not given and not limits:
        return (await session.exec(searched.limit(request.limit + 1))).all(), None
    few = searched.limit(MAX_SEARCHED).subquery()
    job = aliased(Job, few)
    query = select(job).where(*(few.c[name] == value for name, value in given.items()))
    if limits:
        query = query.where(few.c.fair_key.in_(limits))
    rows = (await session.exec(query.order_by(few.c.job_id.desc()).limit(request.limit + 1))).all()
    if len(rows) > request.limit:
        return rows, None
    count, last = (await session.exec(select(func.count(), func.min(few.c.job_id)))).one()
    return rows, last if count == MAX_SEARCHED else None


async def one(context: Context, request: ChosenJob) -> JobDetail:
    """Return one job with its attempts, its events, and the reason why it waits."""
    async with context.transaction() as session:
        job = await find_job(session, context, request.job_id)
        attempts = await session.exec(
            select(JobAttempt)
            .where(JobAttempt.job_id == job.job_id)
            .order_by(col(JobAttempt.attempt))
        )
        events = await session.exec(
            select(JobEvent)
            .where(JobEvent.job_id == job.job_id)
            .order_by(col(JobEvent.seq).desc())
            .limit(SHOWN_EVENTS)
        )
        check = await session.get(DigestCheck, job.job_id)
        shown = JobOutput.of(job)
        return JobDetail(
            **shown.model_dump(),
            waiting=await read_reason(session, job),
            verification=check and VerificationOutput.model_validate(check.model_dump()),
            attempts=[_attempt(attempt) for attempt in attempts],
            events=[_event(event) for event in reversed(events.all())],
            flower_url=_flower_url(context, job),
        )


def _flower_url(context: Context, job: Job) -> str | None:
    """Return the address of the attempt's Celery task, whose id control makes of job and number."""
    base = context.resources.flower_url
    return f"{base}/task/{job.job_id}.{job.attempt}" if base and job.attempt else None


async def cancel_one(context: Context, request: ChosenJob) -> CancelOutput:
    """Cancel a job: at once if it has not begun; otherwise its worker stops it.

    A job of an application can be cancelled by callers who may build the application.
    """
    async with context.transaction() as session:
        await _require_builder(session, context, await find_job(session, context, request.job_id))
    async with context.resources.pool.connection() as connection:
        state = await cancel(
            connection, request.job_id, context.organization_id, "cancelled by request"
        )
    if state is None:
        async with context.transaction() as session:
            job = await find_job(session, context, request.job_id)
        raise AlreadyEndedError(f"the job has already ended: {job.state}")
    return CancelOutput(state=state)


async def _require_builder(session: AsyncSession, context: Context, job: Job) -> None:
    query = select(Application).where(
        Application.organization_id == context.organization_id,
        Application.application_id == job.fair_key,
    )
    application = (await session.exec(query)).one_or_none()
    if application is not None and not context.caller.may_build(application):
        raise ForbiddenError(
            f"this API key may not cancel jobs of the application {application.name}",
            remedy="Let an administrator add it to allowedKeys with application.update.",
        )


async def find_job(session: AsyncSession, context: Context, job_id: str) -> Job:
    """Return the row, within the caller's organization.

    Raises:
        NotFoundError: no such job in the organization.
    """
    query = select(Job).where(Job.organization_id == context.organization_id, Job.job_id == job_id)
    job = (await session.exec(query)).one_or_none()
    if job is None:
        raise NotFoundError("Job not found")
    return job


def _attempt(attempt: JobAttempt) -> AttemptOutput:
    return AttemptOutput.model_validate(
        {**attempt.model_dump(), "error": show_document(attempt.error)}
    )


def _event(event: JobEvent) -> EventOutput:
    return EventOutput.model_validate({**event.model_dump(), "data": show_document(event.data)})


PROCEDURES = (
    Procedure("job.all", "query", ManyJobs, JobPage, get_all),
    Procedure("job.one", "query", ChosenJob, JobDetail, one),
    Procedure("job.cancel", "mutation", ChosenJob, CancelOutput, cancel_one),
)
