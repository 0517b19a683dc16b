"""Read deployments of the organization, and show them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from sqlmodel.sql.expression import SelectOfScalar

from api.fields.shapes import Accepted, Document, Moment, Output, Warned, show_document
from api.procedure.context import Context
from shared.errors import NotFoundError
from shared.models import Deployment, DeploymentServer, Job

DeploymentState = Literal[
    "queued", "running", "succeeded", "failed", "cancelled", "superseded", "expired"
]
ServerState = Literal["queued", "running", "succeeded", "failed", "cancelled", "expired"]
WAITING = {"queued", "dispatched"}


@dataclass(frozen=True)
class LoadedServer:
    """A server of a deployment, with the state of its first job."""

    server: DeploymentServer
    pull_state: str | None


@dataclass(frozen=True)
class LoadedDeployment:
    """A deployment with its servers in order, and the state of its first job."""

    deployment: Deployment
    first_state: str | None
    servers: Sequence[LoadedServer]


class DeployedServerOutput(Output):
    """One server; `gapSeconds` is the time for which nothing answered at its published ports.

    `jobIds` are the jobs of its steps in order: pull, replace.
    """

    server_id: str
    state: ServerState
    error: Document | None
    container_id: str | None
    gap_seconds: float | None
    job_ids: list[str]

    @classmethod
    def of(cls, loaded: LoadedServer) -> Self:
        server = loaded.server
        waits = loaded.pull_state in WAITING
        return cls.model_validate(
            {
                **server.model_dump(),
                "state": server.outcome or ("queued" if waits else "running"),
                "error": show_document(server.error),
                "job_ids": server.job_ids,
            }
        )


class DeploymentOutput(Output):
    """An image brought to an application's servers; `reference` is it by its digest, once known.

    What failed on a server has left there what ran before. `buildId` is the deployment's own id
    where it is built for it; `rollbackId` is the point that it goes back to, `rollsBack` the failed
    deployment whose servers get back what they had before it.
    """

    deployment_id: str
    application_id: str
    build_id: str
    rollback_id: str | None
    rolls_back: str | None
    title: str
    description: str
    state: DeploymentState
    reference: str
    digest: str | None
    error: Document | None
    servers: list[DeployedServerOutput]
    created_at: Moment
    finished_at: Moment | None

    @classmethod
    def of(cls, loaded: LoadedDeployment) -> Self:
        deployment = loaded.deployment
        servers = [DeployedServerOutput.of(each) for each in loaded.servers]
        waits = loaded.first_state in WAITING and all(each.state == "queued" for each in servers)
        return cls.model_validate(
            {
                **deployment.model_dump(),
                "state": deployment.outcome or ("queued" if waits else "running"),
                "error": show_document(deployment.error),
                "servers": servers,
                "job_id": deployment.deployment_id,
            }
        )


class AcceptedDeployment(DeploymentOutput, Accepted, Warned):
    """A stored deployment; `jobId` is its first job."""


async def find_deployment(
    session: AsyncSession, context: Context, deployment_id: str
) -> LoadedDeployment:
    """Raises `NotFoundError`: no such deployment, or another organization's."""
    query = deployments(context).where(Deployment.deployment_id == deployment_id)
    found = await read_deployments(session, query)
    if not found:
        raise NotFoundError("Deployment not found")
    return found[0]


async def read_deployments(
    session: AsyncSession, query: SelectOfScalar[Deployment], limit: int = 1
) -> list[LoadedDeployment]:
    """Return the newest deployments of a query, the newest first."""
    newest = query.order_by(col(Deployment.number).desc()).limit(limit)
    rows = (await session.exec(newest)).all()
    ids = [row.deployment_id for row in rows]
    states = await _states(session, ids)
    servers = await _servers(session, ids)
    return [
        LoadedDeployment(row, states.get(row.deployment_id), servers[row.deployment_id])
        for row in rows
    ]


def deployments(context: Context) -> SelectOfScalar[Deployment]:
    """Return the query for the organization's deployments."""
    return select(Deployment).where(Deployment.organization_id == context.organization_id)


async def _states(session: AsyncSession, ids: Sequence[str]) -> dict[str, str]:
    """Return the states of the first jobs, which have the ids of their deployments."""
    query = select(Job.job_id, Job.state).where(col(Job.job_id).in_(ids))
    return dict((await session.exec(query)).all())


async def _servers(session: AsyncSession, ids: Sequence[str]) -> dict[str, list[LoadedServer]]:
    servers: dict[str, list[LoadedServer]] = {each: [] for each in ids}
    query = (
        select(DeploymentServer, Job.state)
        .outerjoin(Job, col(Job.job_id) == DeploymentServer.pull_job_id)
        .where(col(DeploymentServer.deployment_id).in_(ids))
        .order_by(DeploymentServer.server_id)
    )
    for server, pull_state in await session.exec(query):
        servers[server.deployment_id].append(LoadedServer(server, pull_state))
    return servers
