"""Deployments: asked for, followed, cancelled. One is a row, and two jobs on each server."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from sqlmodel.sql.expression import SelectOfScalar

from api.context import Context
from api.errors import AlreadyEndedError
from api.procedures.application_rows import find_application
from api.procedures.build import find_registries
from api.procedures.deployment_order import Order, store_deployment
from api.procedures.deployment_plan import make_plan
from api.procedures.fields import (
    Accepted,
    Document,
    Id,
    Input,
    Moment,
    Output,
    Text,
    show_document,
)
from api.procedures.procedure import Procedure
from api.procedures.server import find_server
from shared.errors import NotFoundError, UnmetConditionError
from shared.jobs.store.cancel import cancel as cancel_job
from shared.models import Application, Build, Deployment, DeploymentServer, Job

DeploymentState = Literal["queued", "running", "succeeded", "failed", "cancelled", "expired"]
MAX_DEPLOYMENTS = 100
Limit = Annotated[int, Field(ge=1, le=MAX_DEPLOYMENTS)]
Place = tuple[DeploymentServer, str | None]
"""A server of a deployment, with the state of the job that it begins with."""


class Deploy(Input):
    """Without `buildId` it is the newest build of the application that succeeded."""

    application_id: Id
    build_id: Id | None = None
    title: Text = ""
    description: Text = ""


class ChosenDeployment(Input):
    deployment_id: Id


class ManyDeployments(Input):
    application_id: Id
    limit: Limit = 20


class ManyDeploymentsOfServer(Input):
    server_id: Id
    limit: Limit = 20


class ServerOutput(Output):
    """One server; `gapSeconds` is how long nothing answered at its published ports.

    `jobIds` are those of its steps in their order: pull, replace.
    """

    server_id: str
    state: DeploymentState
    error: Document | None
    container_id: str | None
    gap_seconds: float | None
    job_ids: list[str]

    @classmethod
    def of(cls, place: Place) -> Self:
        server, pull_state = place
        waits = pull_state in {"queued", "dispatched"}
        return cls.model_validate(
            {
                **server.model_dump(),
                "state": server.outcome or ("queued" if waits else "running"),
                "error": show_document(server.error),
                "job_ids": [server.pull_job_id, server.replace_job_id],
            }
        )


class DeploymentOutput(Output):
    """An image brought to an application's servers; `reference` is it by its digest.

    What failed on a server has left there what ran before.
    """

    deployment_id: str
    application_id: str
    build_id: str
    title: str
    description: str
    state: DeploymentState
    reference: str
    digest: str
    error: Document | None
    servers: list[ServerOutput]
    created_at: Moment
    finished_at: Moment | None

    @classmethod
    def of(cls, deployment: Deployment, places: Sequence[Place]) -> Self:
        servers = [ServerOutput.of(place) for place in places]
        waits = all(server.state == "queued" for server in servers)
        return cls.model_validate(
            {
                **deployment.model_dump(),
                "state": deployment.outcome or ("queued" if waits else "running"),
                "error": show_document(deployment.error),
                "servers": servers,
                "job_id": deployment.deployment_id,
            }
        )


class AcceptedDeployment(DeploymentOutput, Accepted):
    """A deployment that was stored; `jobId` is the job that it begins with on its first server."""


async def deploy(context: Context, asked: Deploy) -> AcceptedDeployment:
    """Run a build's image on all servers of its application, in place of what runs there.

    Answers at once. Each server pulls it by digest, starts it, waits until it is healthy, and
    switches; what fails leaves what ran before. Deployments of an application are carried out one
    after the other on each server; one that is away waits, a day at the most.
    """
    async with context.transaction() as session:
        application, server_ids = await find_application(session, context, asked.application_id)
        build = await _choose_build(session, application, asked.build_id)
        registries = await find_registries(session, context, application)
    if not server_ids:
        raise UnmetConditionError(
            "no_target_server",
            f"the application {application.name} has no server to run on",
            remedy="Give it serverIds with application.update.",
        )
    plan = make_plan(application, registries, build, context.job_id)
    order = Order(application, build, plan, server_ids, asked.title, asked.description)
    await store_deployment(context, order)
    return AcceptedDeployment.of(*await _find(context, context.job_id))


async def one(context: Context, asked: ChosenDeployment) -> DeploymentOutput:
    """One deployment."""
    return DeploymentOutput.of(*await _find(context, asked.deployment_id))


async def get_all(context: Context, asked: ManyDeployments) -> list[DeploymentOutput]:
    """The newest deployments of an application first."""
    query = _query(context).where(Deployment.application_id == asked.application_id)
    async with context.transaction() as session:
        await find_application(session, context, asked.application_id)
        return await _show(session, query, asked.limit)


async def get_all_by_server(
    context: Context, asked: ManyDeploymentsOfServer
) -> list[DeploymentOutput]:
    """The newest deployments to a server first, of whatever application."""
    there = select(DeploymentServer.deployment_id).where(
        DeploymentServer.server_id == asked.server_id
    )
    query = _query(context).where(col(Deployment.deployment_id).in_(there))
    async with context.transaction() as session:
        await find_server(session, context, asked.server_id)
        return await _show(session, query, asked.limit)


async def cancel(context: Context, asked: ChosenDeployment) -> DeploymentOutput:
    """Cancel a deployment on all servers where it has not ended; where it has, it stays."""
    found = await one(context, asked)
    if found.finished_at is not None:
        raise AlreadyEndedError("the deployment has ended already")
    why = "the deployment was cancelled"
    async with context.resources.pool.connection() as connection:
        for server in found.servers:
            for job_id in server.job_ids:
                await cancel_job(connection, job_id, context.organization_id, why)
    return await one(context, asked)


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
        remedy="Use application.build first.",
    )


async def _find(context: Context, deployment_id: str) -> tuple[Deployment, Sequence[Place]]:
    query = _query(context).where(Deployment.deployment_id == deployment_id)
    async with context.transaction() as session:
        found = (await session.exec(query)).one_or_none()
        if found is None:
            raise NotFoundError("Deployment not found")
        return found, (await _places(session, [found]))[found.deployment_id]


async def _show(
    session: AsyncSession, query: SelectOfScalar[Deployment], limit: int
) -> list[DeploymentOutput]:
    newest = query.order_by(col(Deployment.deployment_id).desc()).limit(limit)
    found = (await session.exec(newest)).all()
    places = await _places(session, found)
    return [DeploymentOutput.of(each, places[each.deployment_id]) for each in found]


async def _places(
    session: AsyncSession, deployments: Sequence[Deployment]
) -> dict[str, list[Place]]:
    """The servers of each, in their order."""
    places: dict[str, list[Place]] = {each.deployment_id: [] for each in deployments}
    query = (
        select(DeploymentServer, Job.state)
        .outerjoin(Job, col(Job.job_id) == DeploymentServer.pull_job_id)
        .where(col(DeploymentServer.deployment_id).in_(places))
        .order_by(DeploymentServer.server_id)
    )
    for server, pull_state in await session.exec(query):
        places[server.deployment_id].append((server, pull_state))
    return places


def _query(context: Context) -> SelectOfScalar[Deployment]:
    return select(Deployment).where(Deployment.organization_id == context.organization_id)


PROCEDURES = (
    Procedure("application.deploy", "mutation", Deploy, AcceptedDeployment, deploy),
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
)
