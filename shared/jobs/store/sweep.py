"""What time does to jobs: level-triggered statements, idempotent, safe in many replicas."""

from dataclasses import dataclass

from shared.database import Connection

LOSE = """
WITH over AS (
  SELECT job_id FROM job WHERE state = 'running' AND lease_until < now()
   ORDER BY lease_until LIMIT 500 FOR UPDATE SKIP LOCKED
), lost AS (
  UPDATE job SET
    failures = failures + 1,
    state = CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelled'
                 WHEN failures + 1 >= max_failures THEN 'failed' ELSE 'queued' END,
    run_at = now() + job_delay(failures, random(), NULL),
    error = jsonb_build_object(
      'code', 'worker_lost', 'message', 'the worker of this attempt was not heard of any more',
      'remedy', 'Check that the server and its worker run.', 'retryable', true)
    FROM over WHERE job.job_id = over.job_id
  RETURNING job.job_id, job.attempt, job.error
)
SELECT job_close_attempt(job_id, attempt, 'lost', error) FROM lost
"""

CALL_BACK = """
WITH away AS (
  SELECT j.job_id FROM job j JOIN server s USING (server_id)
   WHERE j.state = 'dispatched' AND (s.removed_at IS NOT NULL OR s.incarnation IS NULL
         OR s.draining OR s.seen_at < now() - interval '15 seconds')
   LIMIT 500 FOR UPDATE OF j SKIP LOCKED
), back AS (
  UPDATE job SET state = 'queued', run_at = now() FROM away WHERE job.job_id = away.job_id
  RETURNING job.job_id, job.attempt
)
SELECT job_close_attempt(job_id, attempt, 'returned', NULL) FROM back
"""

RING_AGAIN = """
WITH unheard AS (
  SELECT j.job_id FROM job j JOIN server s USING (server_id)
   WHERE j.state = 'dispatched' AND j.rung_at < now() - interval '3 seconds'
     AND s.incarnation IS NOT NULL AND s.seen_at > now() - interval '15 seconds'
   LIMIT 500 FOR UPDATE OF j SKIP LOCKED
)
UPDATE job SET rung_at = now() FROM unheard WHERE job.job_id = unheard.job_id
RETURNING job.job_id, job.server_id, job.kind, job.attempt
"""

EXPIRE = """
WITH late AS (
  SELECT job_id FROM job WHERE state IN ('queued', 'dispatched') AND deadline_at <= now()
   LIMIT 500 FOR UPDATE SKIP LOCKED
), over AS (
  UPDATE job SET state = 'expired', error = jsonb_build_object(
      'code', 'deadline_passed', 'message', 'the job was not started before its deadline',
      'remedy', 'Check that the server is online and not busy.', 'retryable', true)
    FROM late WHERE job.job_id = late.job_id
  RETURNING job.job_id, job.attempt
)
SELECT job_close_attempt(job_id, attempt, 'returned', NULL) FROM over
"""

DROP_HOPELESS = """
WITH hopeless AS (
  SELECT DISTINCT j.job_id, n.needs_job_id
    FROM job j JOIN job_need n USING (job_id) JOIN job needed ON needed.job_id = n.needs_job_id
   WHERE j.state = 'queued' AND j.has_needs AND needed.finished_at IS NOT NULL AND CASE n.on_state
     WHEN 'succeeded' THEN needed.state <> 'succeeded'
     WHEN 'failed' THEN needed.state NOT IN ('failed', 'expired')
     ELSE false END
   LIMIT 500
)
UPDATE job SET state = 'cancelled', error = jsonb_build_object(
    'code', 'need_not_met', 'message', 'a job that this one needs did not end as needed: '
      || hopeless.needs_job_id, 'remedy', 'See that job.', 'retryable', false)
  FROM hopeless WHERE job.job_id = hopeless.job_id AND job.state = 'queued'
"""

DROP_ORPHANED = """
UPDATE job SET state = 'cancelled', error = jsonb_build_object(
    'code', 'server_removed', 'message', 'the server of this job was removed',
    'remedy', 'Ask another server.', 'retryable', false)
  FROM server s
 WHERE job.server_id = s.server_id AND s.removed_at IS NOT NULL AND job.state = 'queued'
"""


@dataclass(frozen=True)
class Ring:
    """What a message says: look at this attempt."""

    job_id: str
    server_id: str
    kind: str
    attempt: int


async def sweep(connection: Connection) -> list[Ring]:
    """Apply all that is due; gives the attempts to ring for again."""
    for statement in (LOSE, CALL_BACK, EXPIRE, DROP_ORPHANED):
        await connection.execute(statement)
    # What needs a job that was dropped is dropped next: a whole chain, and no circle is stored.
    while (await connection.execute(DROP_HOPELESS)).rowcount:
        pass
    rows = await (await connection.execute(RING_AGAIN)).fetchall()
    return [Ring(**row) for row in rows]
