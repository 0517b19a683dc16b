"""Builds: requested, followed, cancelled. A build is a row and up to three jobs in a row."""

from typing import Annotated, Literal, Self

from pydantic import Field
from sqlmodel import and_, col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from sqlmodel.sql.expression import Select

from api.applications.loading import lock_application
from api.applications.permissions import require_builder
from api.applications.queries import find_application
from api.builds.request import BuildInput, plan_build
from api.builds.store import store_build
from api.errors import AlreadyEndedError
from api.fields.shapes import (
    Accepted,
    Document,
    Id,
    Input,
    Moment,
    Output,
    Warned,
    show_document,
)
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from api.procedure.quotas import storing_jobs
from api.scans.reports import ScanSummary
from shared.errors import NotFoundError
from shared.jobs.store.cancel import cancel as cancel_job
from shared.models import Build, ImageReport, Job

BuildState = Literal[
    "queued", "running", "succeeded", "failed", "cancelled", "superseded", "expired"
]
MAX_BUILDS = 100


class ChosenBuild(Input):
    build_id: Id


class ManyBuilds(Input):
    application_id: Id
    limit: Annotated[int, Field(ge=1, le=MAX_BUILDS)] = 20


class BuildOutput(Output):
    """A build of an application; after a success, `reference` and `digest` name its image.

    After `imageDeletedAt` the image cannot be run: it was deleted with its last rollback point.
    `jobIds` are the jobs of its steps in order: make, push, retain, scan. `scan` is what is known
    about its image.
    """

    build_id: str
    application_id: str
    version: int
    title: str
    state: BuildState
    reference: str
    retained: str | None
    digest: str | None
    revision: str | None
    error: Document | None
    job_ids: list[str]
    created_at: Moment
    finished_at: Moment | None
    image_deleted_at: Moment | None
    scan: ScanSummary | None

    @classmethod
    def of(cls, build: Build, make_state: str | None, report: ImageReport | None) -> Self:
        waits = make_state in {"queued", "dispatched"}
        return cls.model_validate(
            {
                **build.model_dump(),
                "state": build.outcome or ("queued" if waits else "running"),
                "error": show_document(build.error),
                "job_id": build.make_job_id,
                "job_ids": build.job_ids,
                "scan": ScanSummary.of(report),
            }
        )


class AcceptedBuild(BuildOutput, Accepted, Warned):
    """A stored build; `jobId` is its first job."""


async def build(context: Context, request: BuildInput) -> AcceptedBuild:
    """Build an application's image, push it to its build registry, keep it for a rollback.

    The answer does not wait for the build, and nothing is deployed. Builds of an application run
    one at a time. A newer build supersedes a waiting one, unless `latestWins` is off.
    """
    async with context.transaction() as session:
        loaded = await lock_application(session, context, request.application_id)
        plan = await plan_build(session, context, loaded, request)
        if not loaded.is_repeat:
            async with storing_jobs(session, context) as connection:
                await store_build(connection, plan)
        return AcceptedBuild.of(*await _find(session, context, context.job_id))


async def one(context: Context, request: ChosenBuild) -> BuildOutput:
    """Return one build."""
    async with context.transaction() as session:
        return BuildOutput.of(*await _find(session, context, request.build_id))


async def get_all(context: Context, request: ManyBuilds) -> list[BuildOutput]:
    """List an application's builds, the newest first."""
    query = _query(context).where(Build.application_id == request.application_id)
    async with context.transaction() as session:
        await find_application(session, context, request.application_id)
        rows = await session.exec(query.order_by(col(Build.version).desc()).limit(request.limit))
    return [BuildOutput.of(*row) for row in rows]


async def cancel(context: Context, request: ChosenBuild) -> BuildOutput:
    """Cancel a build: the step that runs, and the steps after it."""
    async with context.transaction() as session:
        found, *_ = await _find(session, context, request.build_id)
        if found.finished_at is not None:
            raise AlreadyEndedError("the build has ended already")
        application, _ = await find_application(session, context, found.application_id)
        require_builder(context.caller, application)
    async with context.resources.pool.connection() as connection:
        for job_id in found.job_ids:
            await cancel_job(connection, job_id, context.organization_id, "the build was cancelled")
    return await one(context, request)


async def _find(
    session: AsyncSession, context: Context, build_id: str
) -> tuple[Build, str | None, ImageReport | None]:
    query = _query(context).where(Build.build_id == build_id)
    found = (await session.exec(query)).one_or_none()
    if found is None:
        raise NotFoundError("Build not found")
    return found


def _query(context: Context) -> Select[Build, str, ImageReport]:
    """Return the query for builds, the state of their first jobs, and the reports of images."""
    return (
        select(Build, Job.state, ImageReport)
        .outerjoin(Job, col(Job.job_id) == Build.make_job_id)
        .outerjoin(
            ImageReport,
            and_(
                col(ImageReport.organization_id) == Build.organization_id,
                col(ImageReport.digest) == Build.digest,
            ),
        )
        .where(Build.organization_id == context.organization_id)
    )


PROCEDURES = (
    Procedure("application.build", "mutation", BuildInput, AcceptedBuild, build),
    Procedure("build.one", "query", ChosenBuild, BuildOutput, one),
    Procedure("build.all", "query", ManyBuilds, list[BuildOutput], get_all),
    Procedure("build.cancel", "mutation", ChosenBuild, BuildOutput, cancel),
)
