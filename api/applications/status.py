"""Statuses in Dokploy's words, which its clients and pipelines wait for."""

from collections.abc import Iterable, Mapping
from typing import Literal

from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from shared.models import Application, Deployment

DeploymentStatus = Literal["running", "done", "error", "cancelled"]
ApplicationStatus = Literal["idle", "running", "done", "error"]

_STATUSES: Mapping[str, DeploymentStatus] = {
    "open": "running",
    "succeeded": "done",
    "failed": "error",
    "expired": "error",
    "cancelled": "cancelled",
    "superseded": "cancelled",
}


def status_of_deployment(outcome: str | None) -> DeploymentStatus:
    """Return the status for an outcome; a deployment without one is running, also if it waits."""
    return _STATUSES[outcome or "open"]


def status_of_application(status: DeploymentStatus | None) -> ApplicationStatus:
    """Return the status of an application by that of its newest deployment, if there is one."""
    return "idle" if status in {None, "cancelled"} else status  # type: ignore[return-value]


async def read_statuses(
    session: AsyncSession, application_ids: Iterable[str]
) -> dict[str, ApplicationStatus]:
    """Return the status of each application."""
    newest = (
        select(func.coalesce(Deployment.outcome, "open"))
        .where(Deployment.application_id == Application.application_id)
        .order_by(col(Deployment.number).desc())
        .limit(1)
        .correlate(Application)
        .scalar_subquery()
    )
    query = select(Application.application_id, newest).where(
        col(Application.application_id).in_(list(application_ids))
    )
    return {
        application_id: status_of_application(outcome and status_of_deployment(outcome))
        for application_id, outcome in await session.exec(query)
    }
