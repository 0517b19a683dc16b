"""Count the jobs that have ended, and their durations, for ``/metrics``; safe in replicas.

The database adds a row to ``job_ended`` for each, so no job waits for a counter. A code that is not
the product's own counts as ``other``: workers may report any.
"""

from collections.abc import Iterator
from datetime import timedelta

from shared.database import Connection
from shared.errors import WharfError
from shared.faults import FaultCode
from shared.jobs.durations import BOUNDS, RUNNING, WAITING
from worker.control.service import Service

BATCH = 5000
INTERVAL = timedelta(seconds=15)
"""Prometheus usually reads as often."""

OWN_CODES = frozenset(
    {
        *("cancelled", "command_unreadable", "deadline_passed", "need_not_met"),
        *("result_unreadable", "returned_too_often", "server_removed", "worker_lost"),
    }
)
"""The codes that the store of jobs gives by itself."""

# Sorted, so that two replicas change the counters in one order.
COUNT = """
WITH chosen AS (
  SELECT job_id FROM job_ended ORDER BY job_id LIMIT %(batch)s FOR UPDATE SKIP LOCKED
), ended AS (
  DELETE FROM job_ended e USING chosen WHERE e.job_id = chosen.job_id
  RETURNING kind, state, waited_seconds, ran_seconds, moved_bytes,
            CASE WHEN code = ANY (%(codes)s) THEN code ELSE 'other' END AS code
), counted AS (
  INSERT INTO job_count AS c (kind, state, code, jobs, moved_bytes)
  SELECT kind, state, code, count(*), sum(moved_bytes) FROM ended GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
  ON CONFLICT (kind, state, code) DO UPDATE SET
    jobs = c.jobs + excluded.jobs, moved_bytes = c.moved_bytes + excluded.moved_bytes
), measured AS (
  INSERT INTO job_duration AS d (kind, phase, up_to, jobs, seconds)
  SELECT kind, phase, up_to, count(*), sum(took)
    FROM ended
         CROSS JOIN LATERAL (
           VALUES (%(waiting)s, waited_seconds), (%(running)s, ran_seconds)) AS part (phase, took)
         CROSS JOIN LATERAL (
           SELECT min(bound) FROM unnest(%(bounds)s::float[]) AS bound WHERE bound >= took
         ) AS bucket (up_to)
   WHERE took IS NOT NULL GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
  ON CONFLICT (kind, phase, up_to) DO UPDATE SET
    jobs = d.jobs + excluded.jobs, seconds = d.seconds + excluded.seconds
)
SELECT count(*) AS jobs FROM ended
"""


async def count_ended_jobs(connection: Connection, *, batch: int = BATCH) -> float | None:
    """Count one batch; return the pause if more are waiting."""
    row = await (await connection.execute(COUNT, {**VALUES, "batch": batch})).fetchone()
    return 0.0 if row is not None and row["jobs"] == batch else None


def _codes(tree: type[WharfError]) -> Iterator[str]:
    yield tree.code
    for branch in tree.__subclasses__():
        yield from _codes(branch)


def known_codes() -> set[str]:
    """Return every code that a job may end with, and the empty one."""
    return {"", *OWN_CODES, *(str(code) for code in FaultCode), *_codes(WharfError)}


VALUES = {
    "codes": sorted(known_codes()),
    "bounds": list(BOUNDS),
    "waiting": WAITING,
    "running": RUNNING,
}

COUNT_ENDED_JOBS = Service.with_connection("job_statistics", count_ended_jobs, INTERVAL)
