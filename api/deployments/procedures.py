"""Show and cancel deployments. `deploy` and `api.rollbacks` request them."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.applications.permissions import require_builder
from api.applications.queries import find_application
from api.deployments.queries import (
    DeploymentOutput,
    LoadedDeployment,
    deployments,
    find_deployment,
    read_deployments,
)
from api.errors import AlreadyEndedError
from api.fields.shapes import Id, Input
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from api.servers.queries import find_server
from shared.jobs.store.cancel import cancel as cancel_job
from shared.models import Build, Deployment, DeploymentServer

MAX_DEPLOYMENTS = 100
Limit = Annotated[int, Field(ge=1, le=MAX_DEPLOYMENTS)]
WHY = "the deployment was cancelled"


class ChosenDeployment(Input):
    deployment_id: Id


class ManyDeployments(Input):
    application_id: Id
    limit: Limit = 20


class ManyDeploymentsOfServer(Input):
    server_id: Id
    limit: Limit = 20


class DeploymentsOfApplication(Input):
    application_id: Id


async def one(context: Context, request: ChosenDeployment) -> DeploymentOutput:
    """Return one deployment."""
    async with context.transaction() as session:
        found = await find_deployment(session, context, request.deployment_id)
    return DeploymentOutput.of(found)


async def get_all(context: Context, request: ManyDeployments) -> list[DeploymentOutput]:
    """List an application's deployments, the newest first."""
    query = deployments(context).where(Deployment.application_id == request.application_id)
    async with context.transaction() as session:
        await find_application(session, context, request.application_id)
        found = await read_deployments(session, query, request.limit)
    return [DeploymentOutput.of(each) for each in found]


async def get_all_by_server(
    context: Context, request: ManyDeploymentsOfServer
) -> list[DeploymentOutput]:
    """List a server's deployments, of all applications, the newest first."""
    there = select(DeploymentServer.deployment_id).where(
        DeploymentServer.server_id == request.server_id
    )
    query = deployments(context).where(col(Deployment.deployment_id).in_(there))
    async with context.transaction() as session:
        await find_server(session, context, request.server_id)
        found = await read_deployments(session, query, request.limit)
    return [DeploymentOutput.of(each) for each in found]


async def cancel(context: Context, request: ChosenDeployment) -> DeploymentOutput:
    """Cancel a deployment on all servers where it has not ended.

    The build that is made for it is cancelled with it.
    """
    async with context.transaction() as session:
        found = await find_deployment(session, context, request.deployment_id)
        deployment = found.deployment
        if deployment.finished_at is not None:
            raise AlreadyEndedError("the deployment has ended already")
        application, _ = await find_application(session, context, deployment.application_id)
        require_builder(context.caller, application)
        job_ids = await _job_ids(session, found)
    await _cancel(context, job_ids)
    return await one(context, request)


async def cancel_all(context: Context, request: DeploymentsOfApplication) -> list[DeploymentOutput]:
    """Cancel all deployments of an application that have not ended; return them."""
    query = deployments(context).where(
        Deployment.application_id == request.application_id, col(Deployment.outcome).is_(None)
    )
    async with context.transaction() as session:
        application, _ = await find_application(session, context, request.application_id)
        require_builder(context.caller, application)
        found = await read_deployments(session, query, MAX_DEPLOYMENTS)
        job_ids = [job_id for each in found for job_id in await _job_ids(session, each)]
    await _cancel(context, job_ids)
    ids = [each.deployment.deployment_id for each in found]
    async with context.transaction() as session:
        cancelled = [await find_deployment(session, context, each) for each in ids]
    return [DeploymentOutput.of(each) for each in cancelled]


async def _job_ids(session: AsyncSession, found: LoadedDeployment) -> list[str]:
    """Return the ids of all of its jobs, those first that others need."""
    jobs = [job_id for loaded in found.servers for job_id in loaded.server.job_ids]
    deployment = found.deployment
    if deployment.build_id != deployment.deployment_id:
        return jobs
    build = await session.get_one(Build, deployment.build_id)
    return [*build.job_ids, *jobs]


async def _cancel(context: Context, job_ids: Sequence[str]) -> None:
    async with context.resources.pool.connection() as connection:
        for job_id in job_ids:
            await cancel_job(connection, job_id, context.organization_id, WHY)


PROCEDURES = (
    Procedure("deployment.one", "query", ChosenDeployment, DeploymentOutput, one),
    Procedure("deployment.all", "query", ManyDeployments, list[DeploymentOutput], get_all),
    Procedure(
        "deployment.allByServer",
        "query",
        ManyDeploymentsOfServer,
        list[DeploymentOutput],
        get_all_by_server,
    ),
    Procedure("deployment.cancel", "mutation", ChosenDeployment, DeploymentOutput, cancel),
    Procedure(
        "application.cancelDeployment",
        "mutation",
        DeploymentsOfApplication,
        list[DeploymentOutput],
        cancel_all,
    ),
)
