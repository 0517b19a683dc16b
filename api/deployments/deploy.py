"""Deploy an application: build it and run what was built, or run again what was."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.builds.procedures import FROM_GIT, FROM_UPLOAD, MAY_MISS, BuildInput, plan_build
from api.builds.store import BuildRequest as BuildOrder
from api.builds.store import add_build, is_new
from api.deployments.plan import image_of, image_to_make, retained_of, settings_of
from api.deployments.queries import AcceptedDeployment
from api.deployments.request import ApplicationDeploymentInput, Target, find_target, show, submit
from api.fields.effects import NotBeside
from api.fields.shapes import Id, Tag, Text
from api.fields.sources import Branch, Commit
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from shared.database import Connection
from shared.deployments.store import store_deployment
from shared.errors import NotFoundError, UnmetConditionError
from shared.models import Application, Build

MADE = NotBeside("build_id", refused=True)
"""A build that was made has its tag, branch, commit and context already."""


class Deploy(BuildInput):
    """With `buildId` what that build made is deployed; else it is built first, as by a build."""

    NOT_USED: ClassVar[Mapping[str, str]] = {}

    build_id: Id | None = None
    context_id: Annotated[Id | None, FROM_UPLOAD, MADE] = None
    tag: Annotated[Tag | None, MADE] = None
    branch: Annotated[Branch | None, FROM_GIT, NotBeside("commit"), MADE] = None
    commit: Annotated[Commit | None, FROM_GIT, MADE] = None
    allow_missing: Annotated[
        bool, *MAY_MISS, NotBeside("build_id", refused=True, harmless=False)
    ] = False
    description: Text = ""


async def deploy(context: Context, asked: Deploy) -> AcceptedDeployment:
    """Build an application, and run the image on all of its servers in place of what runs there.

    Answers at once. Each server pulls it by digest, starts it, waits until it is healthy, and
    switches; what fails leaves what ran before. Deployments of an application are carried out one
    after the other on each server; one that is away waits, a day at the most.
    """
    if asked.build_id is None:
        return await _build_and_deploy(context, asked)
    return await _deploy_build(context, asked, asked.build_id)


async def redeploy(context: Context, asked: ApplicationDeploymentInput) -> AcceptedDeployment:
    """Deploy the newest successful build again, with the current settings and variables."""
    return await _deploy_build(context, asked, None)


async def deploy_image(context: Context, application_id: str, tag: str) -> AcceptedDeployment:
    """Deploy an application's ready image as it is under this tag, which it also gets of ours."""
    asked = Deploy.model_validate({"applicationId": application_id, "tag": tag})
    return await _build_and_deploy(context, asked)


async def _build_and_deploy(context: Context, asked: Deploy) -> AcceptedDeployment:
    building = await plan_build(context, asked)
    target = await find_target(context, asked.application_id)
    # What is wrong with it is said before anything is stored.
    target.require_server()
    image_to_make(building.plan(target.application.last_version + 1), context.job_id)
    settings_of(target.application)
    pool = context.resources.pool
    async with pool.connection() as connection, connection.transaction():
        if await is_new(connection, context, target.application):
            await _store(connection, context, target, building, asked)
    return await show(context)


async def _store(
    connection: Connection, context: Context, target: Target, building: BuildOrder, asked: Deploy
) -> None:
    """The build and the deployment, which have one id: the request's."""
    built = await add_build(connection, context, building)
    plan = built.plan
    places = (plan.retained, plan.push.reference if plan.push else None)
    order = target.request(
        context,
        image_to_make(plan, built.made_by),
        settings_of(target.application),
        build_id=context.job_id,
        retained=retained_of(target.application, target.registries, *places),
        title=asked.title,
        description=asked.description,
    )
    await store_deployment(connection, order)


async def _deploy_build(
    context: Context, asked: Deploy | ApplicationDeploymentInput, build_id: str | None
) -> AcceptedDeployment:
    target = await find_target(context, asked.application_id)
    async with context.transaction() as session:
        build = await _choose_build(session, target.application, build_id)
    pushed = build.reference if build.push_job_id else None
    order = target.request(
        context,
        image_of(target.registries, build),
        settings_of(target.application),
        build_id=build.build_id,
        retained=retained_of(target.application, target.registries, build.retained, pushed),
        title=asked.title,
        description=asked.description,
    )
    return await submit(context, target, order)


async def _choose_build(
    session: AsyncSession, application: Application, build_id: str | None
) -> Build:
    query = select(Build).where(Build.application_id == application.application_id)
    if build_id is None:
        query = query.where(Build.outcome == "succeeded").order_by(col(Build.version).desc())
    else:
        query = query.where(Build.build_id == build_id)
    found = (await session.exec(query.limit(1))).first()
    if found is not None:
        return found
    if build_id is not None:
        raise NotFoundError("Build not found")
    raise UnmetConditionError(
        "no_build",
        f"no build of the application {application.name} has succeeded yet",
        remedy="Use application.deploy, which builds it.",
    )


PROCEDURES = (
    Procedure("application.deploy", "mutation", Deploy, AcceptedDeployment, deploy),
    Procedure(
        "application.redeploy", "mutation", ApplicationDeploymentInput, AcceptedDeployment, redeploy
    ),
)
