"""End deployments whose jobs have ended: level-triggered statements, safe in replicas."""

from shared.database import Connection
from shared.set_aside import Change, Rows, change
from worker.control.service import Service

# A worker may report any number: a bad one must not block other deployments.
RECONCILE_SERVERS = """
, ended AS (
  SELECT s.deployment_id, s.server_id, max(j.finished_at) AS finished_at,
         (array_agg(j.state ORDER BY step) FILTER (WHERE j.state <> 'succeeded'))[1] AS bad,
         (array_agg(j.error ORDER BY step) FILTER (WHERE j.state <> 'succeeded'))[1] AS error,
         max(substring(j.result->>'containerId' from '^[0-9A-Za-z]{1,64}$')) AS container_id,
         max(CASE WHEN jsonb_typeof(j.result->'gapSeconds') = 'number' THEN
           round(least(greatest((j.result->>'gapSeconds')::numeric, 0), 86400), 3)::float END
         ) AS gap_seconds
    FROM due JOIN deployment_server s USING (deployment_id, server_id)
   CROSS JOIN unnest(ARRAY[pull_job_id, replace_job_id]) WITH ORDINALITY AS steps (job_id, step)
    JOIN job j ON j.job_id = steps.job_id
   GROUP BY s.deployment_id, s.server_id HAVING bool_and(j.finished_at IS NOT NULL)
)
UPDATE deployment_server s SET outcome = coalesce(bad, 'succeeded'), error = ended.error,
  container_id = ended.container_id, gap_seconds = ended.gap_seconds,
  finished_at = ended.finished_at
  FROM ended
 WHERE s.deployment_id = ended.deployment_id AND s.server_id = ended.server_id AND s.outcome IS NULL
"""
SERVERS = Change(
    Rows(
        "reconcile_servers",
        "(s.deployment_id || ' ' || s.server_id)",
        """
SELECT s.deployment_id, s.server_id, s.deployment_id || ' ' || s.server_id AS row_id
  FROM deployment_server s WHERE s.outcome IS NULL AND {rows}
""",
    ),
    RECONCILE_SERVERS,
)

# A deployment whose own build failed gets the build's error.
RECORD_OUTCOME = """
, ended AS (
  SELECT deployment_id, max(s.finished_at) AS finished_at,
         (array_agg(s.outcome ORDER BY rank, s.finished_at, server_id))[1] AS worst,
         (array_agg(s.error ORDER BY rank, s.finished_at, server_id))[1] AS error
    FROM due JOIN deployment_server s ON s.deployment_id = due.row_id
   CROSS JOIN LATERAL (SELECT array_position(
     ARRAY['failed', 'cancelled', 'expired', 'succeeded'], s.outcome::text)) AS ranks (rank)
   GROUP BY deployment_id HAVING bool_and(s.outcome IS NOT NULL)
), judged AS (
  SELECT ended.*, b.outcome AS build_outcome, b.error AS build_error,
         worst IN ('cancelled', 'expired') AND b.build_id IS NOT NULL
           AND b.outcome IS DISTINCT FROM 'succeeded' AS is_unbuilt
    FROM ended LEFT JOIN build b ON b.build_id = ended.deployment_id
)
UPDATE deployment d SET
  outcome = CASE WHEN is_unbuilt THEN build_outcome ELSE worst END,
  error = CASE WHEN is_unbuilt THEN build_error ELSE judged.error END,
  finished_at = judged.finished_at, point_due = point_due AND worst = 'succeeded'
  FROM judged WHERE d.deployment_id = judged.deployment_id AND d.outcome IS NULL
   AND NOT (is_unbuilt AND build_outcome IS NULL)
"""
DEPLOYMENTS = Change(
    Rows(
        "reconcile_deployments",
        "deployment.deployment_id",
        "SELECT deployment_id AS row_id FROM deployment WHERE outcome IS NULL AND {rows}",
    ),
    RECORD_OUTCOME,
)


async def reconcile_deployments(connection: Connection) -> None:
    """Store the outcome of each deployment, for each server and as a whole.

    A server's outcome is that of its first job that did not succeed. The deployment succeeds if all
    servers did. Otherwise it is failed if one server failed, cancelled if one was cancelled, else
    expired, with the error of the first such server. If its own build did not succeed, it has the
    build's outcome.
    """
    await change(connection, SERVERS)
    await change(connection, DEPLOYMENTS)


RECONCILE_DEPLOYMENTS = Service.with_connection("reconcile_deployments", reconcile_deployments)
