"""End deployments whose jobs have ended: level-triggered statements, any replica may run them."""

from shared.database import Connection
from shared.set_aside import Change, Rows, change
from worker.control.service import Service

# A worker's numbers are what its server says: none may keep others from being reconciled.
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

# Of a deployment whose own build failed, the build's error is shown.
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
    """Keep with each deployment how it ended, on each server and as a whole.

    A server ends as the first of its jobs that did not succeed. The whole succeeded where all of
    its servers did; else it failed if one failed, was cancelled if one was, and has expired
    otherwise, with the error of the first server that ended so; where its own build came to
    nothing, it ends as that.
    """
    await change(connection, SERVERS)
    await change(connection, DEPLOYMENTS)


RECONCILE_DEPLOYMENTS = Service.with_connection("reconcile_deployments", reconcile_deployments)
