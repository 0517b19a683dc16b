"""Apply lease, deadline and need rules to jobs; each statement is idempotent, safe in replicas."""

from dataclasses import dataclass

from shared.database import Connection
from shared.set_aside import Change, Rows, change

LOSE = Change(
    Rows(
        "lose",
        "job.job_id",
        """
  SELECT job_id AS row_id FROM job WHERE state = 'running' AND lease_until < now() AND {rows}
   ORDER BY lease_until LIMIT 500 FOR UPDATE SKIP LOCKED
""",
    ),
    """
SELECT job_lose(row_id, NULL, 'the worker of this attempt sent no heartbeat',
                'Check that the server and its worker run.') FROM due
""",
)

CALL_BACK = Change(
    Rows(
        "call_back",
        "j.job_id",
        """
  SELECT j.job_id AS row_id FROM job j JOIN server s USING (server_id)
   WHERE j.state = 'dispatched' AND (s.draining OR NOT server_is_online(s)) AND {rows}
   LIMIT 500 FOR UPDATE OF j SKIP LOCKED
""",
    ),
    """
, back AS (
  UPDATE job SET state = 'queued', run_at = now() FROM due WHERE job.job_id = due.row_id
  RETURNING job.job_id, job.attempt
)
SELECT job_close_attempt(job_id, attempt, 'returned', NULL) FROM back
""",
)

REPUBLISH = Change(
    Rows(
        "republish",
        "j.job_id",
        """
  SELECT j.job_id AS row_id FROM job j JOIN server s USING (server_id)
   WHERE j.state = 'dispatched' AND j.published_at < now() - interval '3 seconds'
     AND server_is_online(s) AND {rows}
   LIMIT 500 FOR UPDATE OF j SKIP LOCKED
""",
    ),
    """
UPDATE job SET published_at = now() FROM due WHERE job.job_id = due.row_id
RETURNING job.job_id, job.server_id, job.kind, job.attempt
""",
)

EXPIRE = Change(
    Rows(
        "expire",
        "job.job_id",
        """
  SELECT job_id AS row_id FROM job
   WHERE state IN ('queued', 'dispatched') AND deadline_at <= now() AND {rows}
   LIMIT 500 FOR UPDATE SKIP LOCKED
""",
    ),
    """
, over AS (
  UPDATE job SET state = 'expired', error = jsonb_build_object(
      'code', 'deadline_passed', 'message', 'the job was not started before its deadline',
      'remedy',
      'Check that the server is online and not at its limit of jobs. Then submit the job again.',
      'retryable', true)
    FROM due WHERE job.job_id = due.row_id
  RETURNING job.job_id, job.attempt
)
SELECT job_close_attempt(job_id, attempt, 'returned', NULL) FROM over
""",
)

DROP_HOPELESS = Change(
    Rows(
        "drop_hopeless",
        "j.job_id",
        """
  SELECT j.job_id AS row_id, min(n.needs_job_id) AS needs_job_id
    FROM job j JOIN job_need n USING (job_id) JOIN job needed ON needed.job_id = n.needs_job_id
   WHERE j.state = 'queued' AND j.has_needs AND needed.finished_at IS NOT NULL AND CASE n.on_state
     WHEN 'succeeded' THEN needed.state <> 'succeeded'
     WHEN 'failed' THEN needed.state NOT IN ('failed', 'expired')
     ELSE false END AND {rows}
   GROUP BY j.job_id LIMIT 500
""",
    ),
    """
UPDATE job SET state = 'cancelled', error = jsonb_build_object(
    'code', 'need_not_met', 'retryable', false,
    'message', concat(
      'it was not started: the ', needed.kind, ' before it (job ', needed.job_id, ') ',
      CASE needed.state WHEN 'cancelled' THEN 'was cancelled' ELSE needed.state END,
      ': ' || left(needed.error ->> 'message', 500)),
    'remedy', coalesce(
      nullif(left(needed.error ->> 'remedy', 500), ''), 'Read the events of that job.'))
  FROM due JOIN job needed ON needed.job_id = due.needs_job_id
 WHERE job.job_id = due.row_id AND job.state = 'queued'
RETURNING job.job_id
""",
)

DROP_ORPHANED = Change(
    Rows(
        "drop_orphaned",
        "job.job_id",
        """
  SELECT job_id AS row_id FROM job JOIN server s USING (server_id)
   WHERE s.removed_at IS NOT NULL AND job.state = 'queued' AND {rows}
   LIMIT 500
""",
    ),
    """
UPDATE job SET state = 'cancelled', error = jsonb_build_object(
    'code', 'server_removed', 'message', 'the server of this job was removed',
    'remedy', 'Choose another server, and submit the job again.', 'retryable', false)
  FROM due WHERE job.job_id = due.row_id AND job.state = 'queued'
RETURNING job.job_id
""",
)


@dataclass(frozen=True)
class AttemptMessage:
    """A message to a server: this attempt can be claimed."""

    job_id: str
    server_id: str
    kind: str
    attempt: int


async def sweep(connection: Connection) -> list[AttemptMessage]:
    """Apply all rules; return the attempts to publish again."""
    for due in (LOSE, CALL_BACK, EXPIRE, DROP_ORPHANED):
        await change(connection, due)
    # Jobs that need a dropped job are dropped too, along the whole chain; needs have no cycles.
    while await change(connection, DROP_HOPELESS):
        pass
    return [AttemptMessage(**row) for row in await change(connection, REPUBLISH)]
