"""Read deployments of the organization, and show them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Self

from sqlalchemy import String, cast
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession
from sqlmodel.sql.expression import SelectOfScalar

from api.applications.status import DeploymentStatus, status_of_deployment
from api.fields.shapes import Accepted, Document, Moment, Output, Warned, show_document
from api.procedure.application_limits import within_limits
from api.procedure.context import Context
from shared.errors import NotFoundError
from shared.models import Deployment, DeploymentServer, Job, Rollback

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
    """A deployment with its servers in order, and its first job's state and begin.

    ``rollback_id`` is the rollback point of what it ran, if there is one.
    """

    deployment: Deployment
    first_state: str | None
    servers: Sequence[LoadedServer]
    began_at: datetime | None = None
    rollback_id: str | None = None


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
    where it is built for it. `rollbackId` is the rollback point of what it runs, if there is one;
    `deploysRollbackId` is the point that it was requested for. `rollsBack` is the failed deployment
    whose servers get back what they had before it. `status` is `state` in Dokploy's words, which
    have none for one that waits: it is `running` too, without `startedAt`. `errorMessage` is the
    message and the remedy of `error`.
    """

    deployment_id: str
    application_id: str
    build_id: str
    rollback_id: str | None
    deploys_rollback_id: str | None
    rolls_back: str | None
    title: str
    description: str
    state: DeploymentState
    status: DeploymentStatus
    reference: str
    digest: str | None
    error: Document | None
    error_message: str | None
    servers: list[DeployedServerOutput]
    created_at: Moment
    started_at: Moment | None
    finished_at: Moment | None

    @classmethod
    def of(cls, loaded: LoadedDeployment) -> Self:
        deployment = loaded.deployment
        servers = [DeployedServerOutput.of(each) for each in loaded.servers]
        waits = loaded.first_state in WAITING and all(each.state == "queued" for each in servers)
        state = deployment.outcome or ("queued" if waits else "running")
        # Retention deletes the job before the deployment.
        is_begun = state == "running" or loaded.first_state is None
        began_at = loaded.began_at or (deployment.created_at if is_begun else None)
        return cls.model_validate(
            {
                **deployment.model_dump(),
                "state": state,
                "status": status_of_deployment(deployment.outcome),
                "rollback_id": loaded.rollback_id or deployment.rollback_id,
                "deploys_rollback_id": deployment.rollback_id,
                "error": show_document(deployment.error),
                "error_message": _message(deployment.error),
                "started_at": began_at,
                "servers": servers,
                "job_id": deployment.deployment_id,
            }
        )


def _message(error: Mapping[str, Any] | None) -> str | None:
    if error is None:
        return None
    return " ".join(str(error[part]) for part in ("message", "remedy") if error.get(part))


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
    jobs = await _first_jobs(session, ids)
    servers = await _servers(session, ids)
    points = await _points(session, ids)
    loaded = []
    for row in rows:
        name = row.deployment_id
        state, began_at = jobs.get(name, (None, None))
        loaded.append(LoadedDeployment(row, state, servers[name], began_at, points.get(name)))
    return loaded


def deployments(context: Context) -> SelectOfScalar[Deployment]:
    """Return the query for the organization's deployments, or those that a limited key sees."""
    return select(Deployment).where(
        Deployment.organization_id == context.organization_id,
        within_limits(context.caller, Deployment.application_id),
    )


async def _first_jobs(
    session: AsyncSession, ids: Sequence[str]
) -> dict[str, tuple[str, datetime | None]]:
    """Return state and begin of the first jobs, which have the ids of their deployments."""
    query = select(Job.job_id, Job.state, Job.started_at).where(col(Job.job_id).in_(ids))
    return {job_id: (state, began_at) for job_id, state, began_at in await session.exec(query)}


async def _points(session: AsyncSession, ids: Sequence[str]) -> dict[str, str]:
    """Return the rollback points of what successful deployments ran: same image and settings."""
    query = (
        select(Deployment.deployment_id, Rollback.rollback_id)
        .join(Rollback, col(Rollback.application_id) == Deployment.application_id)
        .where(
            col(Deployment.deployment_id).in_(ids),
            Deployment.outcome == "succeeded",
            Rollback.digest == Deployment.digest,
            Rollback.settings_hash == func.md5(cast(Deployment.settings, String)),
            col(Rollback.dropped_at).is_(None),
        )
    )
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
