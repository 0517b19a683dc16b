"""End builds whose jobs have ended: a level-triggered statement, any replica may run it."""

from shared.database import Connection

SETTLE = """
WITH told AS (
  SELECT b.build_id, max(j.finished_at) AS finished_at,
         (array_agg(j.state ORDER BY step) FILTER (WHERE j.state <> 'succeeded'))[1] AS bad,
         (array_agg(j.error ORDER BY step) FILTER (WHERE j.state <> 'succeeded'))[1] AS error,
         max(j.result->>'revision') AS revision,
         max(j.result->>'digest') FILTER (WHERE j.kind = 'image.pull') AS pulled,
         max(j.result->>'digest') FILTER (WHERE j.kind = 'image.push') AS pushed,
         max(j.result->>'digest') FILTER (WHERE j.kind = 'image.copy') AS copied
    FROM build b
   CROSS JOIN unnest(ARRAY[make_job_id, push_job_id, retain_job_id])
         WITH ORDINALITY AS steps (job_id, step)
    JOIN job j ON j.job_id = steps.job_id
   WHERE b.outcome IS NULL
   GROUP BY b.build_id HAVING bool_and(j.finished_at IS NOT NULL)
), judged AS (
  SELECT *, bad IS NULL AND copied <> pushed AS is_other FROM told
)
UPDATE build SET
  outcome = CASE WHEN is_other THEN 'failed' WHEN bad IS NULL THEN 'succeeded'
                 WHEN judged.error->>'code' = 'superseded' THEN 'superseded' ELSE bad END,
  digest = coalesce(pushed, pulled), revision = judged.revision, finished_at = judged.finished_at,
  error = CASE WHEN is_other THEN jsonb_build_object(
      'code', 'digest_mismatch', 'message', 'what was retained is ' || copied || ', pushed was '
        || pushed, 'remedy', 'Somebody else moved the tag meanwhile: build again.')
    ELSE judged.error END
  FROM judged WHERE build.build_id = judged.build_id AND build.outcome IS NULL
"""


async def settle_builds(connection: Connection) -> None:
    """Keep with each build how it ended, before its jobs are pruned.

    It ends as the first of its steps that did not succeed. A build whose retained image is not the
    pushed one has failed: it could not be rolled back to.
    """
    await connection.execute(SETTLE)
