"""Roll back the servers that a failed deployment already changed, if the application asks for it.

This is another deployment, which restores these servers. It is not rolled back itself.
"""

from functools import partial
from itertools import groupby
from typing import Any

import structlog

from shared.database import Connection
from shared.deployments.run_settings import RunSettings
from shared.deployments.store import DeploymentPlan, Image, Retained, Rollout, store_deployment
from shared.ids import make_id
from shared.set_aside import Row, Rows, each
from worker.control.service import Service

FAILED = Rows(
    "automatic_rollback",
    "d.deployment_id",
    """
SELECT d.deployment_id AS row_id FROM deployment d
 WHERE on_failure = 'rollback' AND outcome IN ('failed', 'cancelled', 'expired')
   AND finished_at > now() - interval '1 hour'
   AND {rows}
   AND NOT EXISTS (SELECT FROM organization o
                    WHERE o.organization_id = d.organization_id AND o.held_at IS NOT NULL)
   AND NOT EXISTS (SELECT FROM deployment newer WHERE newer.application_id = d.application_id
                      AND newer.number > d.number)
""",
)
# New deployments of the application wait for this lock, so later reads are consistent.
LOCK = """
SELECT FROM application JOIN deployment USING (application_id)
 WHERE deployment_id = %s FOR UPDATE OF application SKIP LOCKED
"""
PREVIOUS = """
SELECT d.organization_id, d.application_id, d.title AS failed_title, s.server_id, a.env, before.*
  FROM deployment d
  JOIN application a USING (application_id)
  JOIN deployment_server s ON s.deployment_id = d.deployment_id AND s.outcome = 'succeeded'
 CROSS JOIN LATERAL (
   SELECT e.build_id, e.reference, e.digest, e.registry_id, e.settings, e.retained,
          e.retained_registry_id
     FROM deployment_server earlier JOIN deployment e USING (deployment_id)
    WHERE earlier.server_id = s.server_id AND earlier.outcome = 'succeeded'
      AND e.application_id = d.application_id AND e.number < d.number
    ORDER BY e.number DESC LIMIT 1) before
 WHERE d.deployment_id = %s AND NOT EXISTS (
   SELECT FROM deployment newer WHERE newer.application_id = d.application_id
      AND newer.number > d.number)
 ORDER BY before.reference, before.settings::text, s.server_id
"""

log = structlog.get_logger()


async def roll_back(connection: Connection) -> None:
    """Roll back the servers that a failed deployment had already changed; safe in replicas."""
    await each(connection, FAILED, partial(_roll_back, connection))


async def _roll_back(connection: Connection, failed: Row) -> None:
    failed_id = failed["row_id"]
    if await (await connection.execute(LOCK, (failed_id,))).fetchone() is None:
        return
    rows = await (await connection.execute(PREVIOUS, (failed_id,))).fetchall()
    for _, group in groupby(rows, key=lambda row: (row["reference"], row["settings"])):
        servers = list(group)
        request = _request(failed_id, servers[0], [row["server_id"] for row in servers])
        await store_deployment(connection, request)
        log.info("rollback_requested", failed=failed_id, deployment=request.deployment_id)


def _request(failed_id: str, before: dict[str, Any], server_ids: list[str]) -> DeploymentPlan:
    """Return the request to run these servers' previous image, with the current variables."""
    is_retained = before["retained"] is not None
    return DeploymentPlan(
        deployment_id=make_id(),
        organization_id=before["organization_id"],
        application_id=before["application_id"],
        build_id=before["build_id"],
        image=Image(before["reference"], before["digest"], before["registry_id"]),
        settings=RunSettings.model_validate(before["settings"]),
        server_ids=server_ids,
        rollout=Rollout(),
        environment=before["env"],
        retained=Retained(before["retained"], before["retained_registry_id"])
        if is_retained
        else None,
        title=f"Automatic rollback after {before['failed_title'] or failed_id}",
        rolls_back=failed_id,
    )


ROLL_BACK = Service.with_connection("automatic_rollback", roll_back)
