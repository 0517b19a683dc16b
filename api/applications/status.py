"""Statuses in Dokploy's words, which its clients and pipelines wait for."""

from collections.abc import Iterable, Mapping
from typing import Literal

from sqlmodel.ext.asyncio.session import AsyncSession

from api.procedure.sessions import connection_of

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


# Stopped: all that it runs on its servers was stopped, after its newest deployment had ended.
NEWEST = """
SELECT a.application_id, newest.outcome, coalesce(stopped.at >= newest.finished_at, false)
  FROM application a
  LEFT JOIN LATERAL (
    SELECT coalesce(outcome, 'open') AS outcome, finished_at FROM deployment d
     WHERE d.application_id = a.application_id ORDER BY number DESC LIMIT 1) newest ON true
 CROSS JOIN LATERAL (
    SELECT CASE WHEN bool_and(s.stopped_at IS NOT NULL) THEN max(s.stopped_at) END AS at
      FROM application_server here JOIN deployment_server s USING (server_id)
     WHERE here.application_id = a.application_id
       AND s.deployment_id = running_deployment(a.application_id, here.server_id)) stopped
 WHERE a.application_id = ANY (%(application_ids)s)
"""


def status_of_deployment(outcome: str | None) -> DeploymentStatus:
    """Return the status for an outcome; a deployment without one is running, also if it waits."""
    return _STATUSES[outcome or "open"]


def status_of_application(status: DeploymentStatus | None) -> ApplicationStatus:
    """Return the status of an application by that of its newest deployment, if there is one."""
    return "idle" if status in {None, "cancelled"} else status  # type: ignore[return-value]


async def read_statuses(
    session: AsyncSession, application_ids: Iterable[str]
) -> dict[str, ApplicationStatus]:
    """Return the status of each application; one that was stopped since is idle."""
    connection = await connection_of(session)
    cursor = await connection.execute(NEWEST, {"application_ids": list(application_ids)})
    return {
        application_id: "idle" if is_stopped else status_of_application(_status(outcome))
        for application_id, outcome, is_stopped in await cursor.fetchall()
    }


def _status(outcome: str | None) -> DeploymentStatus | None:
    return status_of_deployment(outcome) if outcome else None
