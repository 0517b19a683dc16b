"""Builds: asked for, followed, cancelled. A build is a row and up to three jobs in a row."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from sqlmodel.sql.expression import Select

from api.applications.permissions import require_builder
from api.applications.queries import find_application
from api.builds.context_choice import choose_context
from api.builds.plan import BuildOptions, BuildRegistries, require_plan_allowed
from api.builds.store import BuildRequest, store_build
from api.errors import AlreadyEndedError
from api.fields import dokploy
from api.fields.effects import AppliesTo, NotBeside
from api.fields.shapes import (
    Accepted,
    Document,
    Id,
    Input,
    Moment,
    Output,
    Tag,
    Text,
    Warned,
    show_document,
)
from api.fields.sources import Branch, Commit
from api.jobs.submission import choose_server
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from api.registries.procedures import find_registry
from shared.errors import InvalidInputError, NotFoundError
from shared.jobs.store.cancel import cancel as cancel_job
from shared.models import Application, Build, Job, Registry

BuildState = Literal[
    "queued", "running", "succeeded", "failed", "cancelled", "superseded", "expired"
]
MAX_BUILDS = 100


FROM_GIT = AppliesTo("source_type", ("git",), refused=True)
FROM_UPLOAD = AppliesTo("source_type", ("git", "drop"), refused=True)
MAY_MISS = (
    AppliesTo("source_type", ("git",), refused=True, harmless=False),
    NotBeside("context_id", refused=True, harmless=False),
)
"""Only sources in a git repository can have parts that are missing."""


class BuildInput(Input):
    """`tag`, `branch` and `commit` go before what the application has; a tag is made by default.

    So does `contextId`, an upload; where `sourceType` is `drop` it is the newest one by default.
    Of a ready image there is a `tag` alone: the one that is pulled. With `allowMissing` sources
    from git are built without the submodules and LFS files that cannot be fetched, which the job's
    `warnings` name; else the build fails.
    """

    NOT_USED: ClassVar[Mapping[str, str]] = dokploy.BUILD

    application_id: Id
    context_id: Annotated[Id | None, FROM_UPLOAD] = None
    tag: Tag | None = None
    branch: Annotated[Branch | None, FROM_GIT, NotBeside("commit")] = None
    commit: Annotated[Commit | None, FROM_GIT] = None
    allow_missing: Annotated[bool, *MAY_MISS] = False
    title: Text = ""


class ChosenBuild(Input):
    build_id: Id


class ManyBuilds(Input):
    application_id: Id
    limit: Annotated[int, Field(ge=1, le=MAX_BUILDS)] = 20


class BuildOutput(Output):
    """An image of an application; `reference` and `digest` are what to run once it succeeded.

    It cannot be run any more once `imageDeletedAt`: the image went with its last rollback point.
    `jobIds` are those of its steps in their order: make, push, retain.
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

    @classmethod
    def of(cls, build: Build, make_state: str | None) -> Self:
        waits = make_state in {"queued", "dispatched"}
        return cls.model_validate(
            {
                **build.model_dump(),
                "state": build.outcome or ("queued" if waits else "running"),
                "error": show_document(build.error),
                "job_id": build.make_job_id,
                "job_ids": build.job_ids,
            }
        )


class AcceptedBuild(BuildOutput, Accepted, Warned):
    """A build that was stored; `jobId` is the job that it begins with."""


async def build(context: Context, request: BuildInput) -> AcceptedBuild:
    """Build an application's image, push it to its build registry, keep it for a rollback.

    Answers at once; nothing is deployed. One build of an application runs at a time, and a newer
    one supersedes one that waits, unless its `latestWins` is off.
    """
    await store_build(context, await plan_build(context, request))
    return AcceptedBuild.of(*await _find(context, context.job_id))


async def plan_build(context: Context, request: BuildInput) -> BuildRequest:
    """Return the checked request; everything wrong with it is reported before a row is stored."""
    async with context.transaction() as session:
        application, _ = await find_application(session, context, request.application_id)
        context.check_effects(request, application)
        registries = await find_registries(session, context, application)
        require_builder(context.caller, application)
        upload = await choose_context(session, application, request.context_id)
    require_builder(context.caller, application, uploads=upload is not None)
    server_id = await choose_server(
        context, application.build_server_id, online=False, role="build"
    )
    if upload and (request.branch or request.commit):
        raise InvalidInputError(
            "a context that was uploaded has no branch and no commit",
            remedy="Give contextId, or branch and commit; a tag goes with both.",
        )
    options = BuildOptions(
        request.tag, request.branch, request.commit, upload, allow_missing=request.allow_missing
    )
    order = BuildRequest(application, registries, options, server_id, request.title)
    plan = order.plan(application.last_version + 1)
    require_plan_allowed(application, registries, plan, server_id)
    return order


async def one(context: Context, request: ChosenBuild) -> BuildOutput:
    """Return one build."""
    return BuildOutput.of(*await _find(context, request.build_id))


async def get_all(context: Context, request: ManyBuilds) -> list[BuildOutput]:
    """List an application's builds, the newest first."""
    query = _query(context).where(Build.application_id == request.application_id)
    async with context.transaction() as session:
        await find_application(session, context, request.application_id)
        rows = await session.exec(query.order_by(col(Build.version).desc()).limit(request.limit))
    return [BuildOutput.of(*row) for row in rows]


async def cancel(context: Context, request: ChosenBuild) -> BuildOutput:
    """Cancel a build: the step that runs, and the steps after it."""
    found = await one(context, request)
    if found.finished_at is not None:
        raise AlreadyEndedError("the build has ended already")
    async with context.transaction() as session:
        application, _ = await find_application(session, context, found.application_id)
        require_builder(context.caller, application)
    async with context.resources.pool.connection() as connection:
        for job_id in found.job_ids:
            await cancel_job(connection, job_id, context.organization_id, "the build was cancelled")
    return await one(context, request)


async def find_registries(
    session: AsyncSession, context: Context, application: Application
) -> BuildRegistries:
    """Return the registries that the application names."""

    async def find(registry_id: str | None) -> Registry | None:
        return await find_registry(session, context, registry_id) if registry_id else None

    return BuildRegistries(
        pull=await find(application.registry_id),
        build=await find(application.build_registry_id),
        rollback=await find(application.rollback_registry_id),
    )


async def _find(context: Context, build_id: str) -> tuple[Build, str]:
    async with context.transaction() as session:
        found = (
            await session.exec(_query(context).where(Build.build_id == build_id))
        ).one_or_none()
    if found is None:
        raise NotFoundError("Build not found")
    return found


def _query(context: Context) -> Select[Build, str]:
    """Builds of the organization, with the state of the job that each begins with."""
    return (
        select(Build, Job.state)
        .outerjoin(Job, col(Job.job_id) == Build.make_job_id)
        .where(Build.organization_id == context.organization_id)
    )


PROCEDURES = (
    Procedure("application.build", "mutation", BuildInput, AcceptedBuild, build),
    Procedure("build.one", "query", ChosenBuild, BuildOutput, one),
    Procedure("build.all", "query", ManyBuilds, list[BuildOutput], get_all),
    Procedure("build.cancel", "mutation", ChosenBuild, BuildOutput, cancel),
)
