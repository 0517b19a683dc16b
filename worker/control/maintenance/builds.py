"""End builds whose jobs have ended: a level-triggered statement, safe in replicas."""

from shared.database import Connection
from shared.set_aside import Change, Rows, change
from worker.control.service import Service

DUE = Rows(
    "reconcile_builds",
    "build.build_id",
    "SELECT build_id AS row_id FROM build WHERE outcome IS NULL AND {rows}",
)
RECORD_OUTCOME = """
, ended AS (
  SELECT b.build_id, max(j.finished_at) AS finished_at,
         (array_agg(j.state ORDER BY step) FILTER (WHERE j.state <> 'succeeded'))[1] AS bad,
         (array_agg(j.error ORDER BY step) FILTER (WHERE j.state <> 'succeeded'))[1] AS error,
         max(substring(j.result->>'revision' from '^[0-9A-Za-z._-]{1,100}$')) AS revision,
         max(j.result->>'digest') FILTER (WHERE j.kind = 'image.pull') AS pulled,
         max(j.result->>'digest') FILTER (WHERE j.job_id = b.push_job_id) AS pushed,
         max(j.result->>'digest') FILTER (WHERE j.job_id = b.retain_job_id) AS copied
    FROM due JOIN build b ON b.build_id = due.row_id
   CROSS JOIN unnest(ARRAY[make_job_id, push_job_id, scan_job_id, retain_job_id])
         WITH ORDINALITY AS steps (job_id, step)
    JOIN job j ON j.job_id = steps.job_id
     AND (j.kind <> 'image.scan' OR j.command->'policy'->>'mode' = 'enforce')
   GROUP BY b.build_id HAVING bool_and(j.finished_at IS NOT NULL)
), judged AS (
  SELECT *, bad IS NULL AND copied <> pushed AS is_other,
         bad IS NULL AND num_nonnulls(pulled, pushed, copied) > (
           SELECT count(*) FROM unnest(ARRAY[pulled, pushed, copied]) AS reported (digest)
            WHERE digest ~ '^sha256:[0-9a-f]{64}$') AS is_unreadable
    FROM ended
)
UPDATE build SET
  outcome = CASE WHEN is_unreadable OR is_other THEN 'failed' WHEN bad IS NULL THEN 'succeeded'
                 WHEN judged.error->>'code' = 'superseded' THEN 'superseded' ELSE bad END,
  digest = substring(coalesce(pushed, pulled) from '^sha256:[0-9a-f]{64}$'),
  revision = judged.revision, finished_at = judged.finished_at,
  error = CASE WHEN is_unreadable THEN jsonb_build_object(
      'code', 'digest_unreadable', 'message', 'the worker reported an invalid digest',
      'remedy', 'Check the server and its worker, then build again.')
    WHEN is_other THEN jsonb_build_object(
      'code', 'digest_mismatch', 'message', 'the retained image is ' || copied || ', pushed was '
        || pushed, 'remedy', 'Build again: another client moved the tag.')
    ELSE judged.error END
  FROM judged WHERE build.build_id = judged.build_id AND build.outcome IS NULL
"""
BUILDS = Change(DUE, RECORD_OUTCOME)


async def reconcile_builds(connection: Connection) -> None:
    """Store the outcome of each build, before its jobs are deleted.

    It is that of its first step that did not succeed. Workers report the digests: an invalid one
    fails the build, and is not stored with it. A scan decides if its policy is enforced. A build
    whose retained image differs from the pushed one fails, because a rollback would deploy another
    image.
    """
    await change(connection, BUILDS)


RECONCILE_BUILDS = Service.with_connection("reconcile_builds", reconcile_builds)
