"""Deployments as Dokploy's clients list them: by type, of all applications, and those that wait."""

from datetime import datetime
from typing import Literal

from sqlmodel import col

from api.deployments.procedures import (
    MAX_DEPLOYMENTS,
    ChosenDeployment,
    ManyDeployments,
    ManyDeploymentsOfServer,
    cancel,
    get_all,
    get_all_by_server,
)
from api.deployments.queries import DeploymentOutput, deployments, read_deployments
from api.fields.shapes import Id, Input, NoInput, Output
from api.procedure.application_limits import require_application
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from shared.models import Deployment

DeploymentType = Literal[
    "application",
    "server",
    "compose",
    "schedule",
    "previewDeployment",
    "backup",
    "volumeBackup",
]


class DeploymentsOfType(Input):
    """``id`` is that of an application or a server; nothing else is deployed here."""

    id: Id
    type: DeploymentType


class QueuedData(Output):
    """The application that a queued job deploys."""

    application_id: str
    application_type: Literal["application"] = "application"
    type: Literal["deploy"] = "deploy"
    title_log: str
    description_log: str
    server: bool = True


class QueuedDeployment(Output):
    """A deployment that has not ended; times are in milliseconds since 1970."""

    id: str
    name: Literal["deployments"] = "deployments"
    data: QueuedData
    state: Literal["waiting", "active"]
    timestamp: int
    processed_on: int | None
    finished_on: int | None = None
    failed_reason: str | None = None


async def get_all_by_type(context: Context, request: DeploymentsOfType) -> list[DeploymentOutput]:
    """List the deployments of an application or of a server, the newest first.

    Of other types there are none.
    """
    if request.type == "application":
        require_application(context.caller, request.id)
        return await get_all(context, ManyDeployments.model_validate({"applicationId": request.id}))
    if request.type == "server":
        chosen = ManyDeploymentsOfServer.model_validate({"serverId": request.id})
        return await get_all_by_server(context, chosen)
    return []


async def get_newest(context: Context, _request: NoInput) -> list[DeploymentOutput]:
    """List the newest deployments of all applications, the newest first."""
    async with context.transaction() as session:
        found = await read_deployments(session, deployments(context), MAX_DEPLOYMENTS)
    return [DeploymentOutput.of(each) for each in found]


async def get_queue(context: Context, _request: NoInput) -> list[QueuedDeployment]:
    """List the deployments that wait or run, the newest first."""
    query = deployments(context).where(col(Deployment.outcome).is_(None))
    async with context.transaction() as session:
        found = await read_deployments(session, query, MAX_DEPLOYMENTS)
    return [_queued(DeploymentOutput.of(each)) for each in found]


def _queued(deployment: DeploymentOutput) -> QueuedDeployment:
    return QueuedDeployment(
        id=deployment.deployment_id,
        data=QueuedData(
            application_id=deployment.application_id,
            title_log=deployment.title,
            description_log=deployment.description,
        ),
        state="waiting" if deployment.state == "queued" else "active",
        timestamp=_milliseconds(deployment.created_at),
        processed_on=_milliseconds(deployment.started_at) if deployment.started_at else None,
    )


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


PROCEDURES = (
    Procedure(
        "deployment.allByType",
        "query",
        DeploymentsOfType,
        list[DeploymentOutput],
        get_all_by_type,
    ),
    Procedure("deployment.allCentralized", "query", NoInput, list[DeploymentOutput], get_newest),
    Procedure("deployment.queueList", "query", NoInput, list[QueuedDeployment], get_queue),
    Procedure("deployment.killProcess", "mutation", ChosenDeployment, DeploymentOutput, cancel),
)
