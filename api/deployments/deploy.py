"""Deploy an application: build it and run what was built, or run again what was."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.applications.loading import lock_application
from api.builds.request import FROM_GIT, FROM_UPLOAD, MAY_MISS, BuildInput, plan_build
from api.builds.store import store_build
from api.deployments.plan import plan_new_build, plan_stored_build
from api.deployments.queries import AcceptedDeployment
from api.deployments.request import (
    ApplicationDeploymentInput,
    lock_deployable,
    request_of,
    show,
    store_planned,
)
from api.fields.effects import NotBeside
from api.fields.shapes import Id, Tag, Text
from api.fields.sources import Branch, Commit
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from api.procedure.quotas import storing_jobs
from api.scans.gate import require_accepted
from shared.deployments.store import store_deployment
from shared.errors import NotFoundError, UnmetConditionError
from shared.models import Application, Build

MADE = NotBeside("build_id", refused=True)
"""An existing build already has its tag, branch, commit and context."""


class Deploy(BuildInput):
    """With `buildId` the image of that build is deployed; without it the image is built first."""

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


async def deploy(context: Context, request: Deploy) -> AcceptedDeployment:
    """Build an application, and run the image on all of its servers in place of what runs there.

    The answer does not wait for the deployment. Each server pulls the image by its digest, starts
    it, waits until it is healthy, and switches; after a failure the previous container keeps
    running. Each server carries out one deployment of an application at a time. A deployment waits
    at most a day for a server that is offline.
    """
    if request.build_id is None:
        return await _build_and_deploy(context, request)
    return await _deploy_build(context, request, request.build_id)


async def redeploy(context: Context, request: ApplicationDeploymentInput) -> AcceptedDeployment:
    """Deploy the newest successful build again, with the current settings and variables."""
    return await _deploy_build(context, request, None)


async def deploy_image(context: Context, application_id: str, tag: str) -> AcceptedDeployment:
    """Deploy an application's ready image by this tag, and push it with the same tag."""
    asked = {"applicationId": application_id, "tag": tag, "title": f"The tag {tag} was pushed"}
    return await _build_and_deploy(context, Deploy.model_validate(asked))


async def deploy_commit(
    context: Context, application_id: str, commit: str, title: str
) -> AcceptedDeployment:
    """Build this commit of an application's repository, and deploy the image."""
    asked = {"applicationId": application_id, "commit": commit, "title": title}
    return await _build_and_deploy(context, Deploy.model_validate(asked))


async def _build_and_deploy(context: Context, request: Deploy) -> AcceptedDeployment:
    """Store the build and the deployment, which have one id: the request's."""
    async with context.transaction() as session:
        loaded = await lock_application(session, context, request.application_id)
        build = await plan_build(session, context, loaded, request)
        deployment = plan_new_build(
            loaded, request_of(context, request.title, request.description), build
        )
        if not loaded.is_repeat:
            async with storing_jobs(session, context) as connection:
                await store_build(connection, build)
                await store_deployment(connection, deployment)
        return await show(session, context)


async def _deploy_build(
    context: Context, request: Deploy | ApplicationDeploymentInput, build_id: str | None
) -> AcceptedDeployment:
    async with context.transaction() as session:
        loaded = await lock_deployable(session, context, request.application_id)
        build = await _choose_build(session, loaded.row, build_id)
        await require_accepted(session, loaded.scan_policy, build)
        deployment = plan_stored_build(
            loaded, request_of(context, request.title, request.description), build
        )
        return await store_planned(session, context, loaded, deployment)


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
