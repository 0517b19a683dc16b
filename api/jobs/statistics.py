"""``job.statistics``: the newest jobs, counted by hour, state and error code."""

from datetime import timedelta
from typing import Annotated, Any

from pydantic import Field
from sqlalchemy import text

from api.fields.shapes import Input, Moment, Output
from api.procedure.context import Context
from api.procedure.procedure import Procedure

MAX_JOBS = 20_000
"""So many of the newest jobs are counted, so that the answer takes some 20 ms at most."""

COUNT = text("""
WITH recent AS MATERIALIZED (
  SELECT * FROM (
    SELECT job_id, kind, state, started_at, finished_at, error->>'code' AS code, fair_key,
           CASE WHEN job_class = 'transfer' THEN progress->>'current_bytes' END AS moved
      FROM job
     WHERE organization_id = :organization_id AND job_id >= job_id_at(now() - :span)
     ORDER BY job_id DESC LIMIT :most) newest
   WHERE :is_whole OR fair_key = ANY (:applications)
), hours AS (
  SELECT hour, count(*) FILTER (WHERE state = 'succeeded') AS succeeded,
         count(*) FILTER (WHERE state = 'failed') AS failed,
         count(*) FILTER (WHERE state = 'cancelled') AS cancelled,
         count(*) FILTER (WHERE state = 'expired') AS expired
    FROM generate_series(date_trunc('hour', now() - :span) + interval '1 hour',
                         date_trunc('hour', now()), interval '1 hour') AS hour
    LEFT JOIN recent ON date_trunc('hour', finished_at) = hour
   GROUP BY hour
), codes AS (
  SELECT code, count(*) AS jobs FROM recent WHERE state IN ('failed', 'expired') AND code <> ''
   GROUP BY code ORDER BY jobs DESC, code LIMIT 10
), slow AS (
  SELECT job_id AS "jobId", kind, extract(epoch FROM finished_at - started_at)::float8 AS seconds,
         moved::bigint AS "movedBytes"
    FROM recent
   WHERE state = 'succeeded' AND moved ~ '^[0-9]{1,15}$' AND finished_at > started_at
   ORDER BY finished_at - started_at DESC LIMIT 5
)
SELECT (SELECT jsonb_agg(to_jsonb(hours) ORDER BY hour) FROM hours) AS hours,
       (SELECT coalesce(jsonb_agg(to_jsonb(codes) ORDER BY jobs DESC, code), '[]')
          FROM codes) AS codes,
       (SELECT coalesce(jsonb_agg(to_jsonb(slow) ORDER BY seconds DESC), '[]')
          FROM slow) AS slowest,
       (SELECT jsonb_build_object('queued', count(*) FILTER (WHERE state = 'queued'),
               'running', count(*) FILTER (WHERE state IN ('dispatched', 'running')))
          FROM job WHERE organization_id = :organization_id
           AND (:is_whole OR fair_key = ANY (:applications))
           AND state IN ('queued', 'dispatched', 'running')) AS now
""")


class StatisticsSpan(Input):
    """``hours`` is how far the answer looks back."""

    hours: Annotated[int, Field(ge=1, le=168)] = 24


class HourOfJobs(Output):
    """The jobs that ended in an hour, by state."""

    hour: Moment
    succeeded: int
    failed: int
    cancelled: int
    expired: int


class CodeOfJobs(Output):
    code: str
    jobs: int


class SlowTransfer(Output):
    job_id: str
    kind: str
    seconds: float
    moved_bytes: int


class JobsNow(Output):
    queued: int
    running: int


class JobStatistics(Output):
    """Counts of the newest 20,000 jobs of the span; `now` counts all that have not ended."""

    hours: list[HourOfJobs]
    codes: list[CodeOfJobs]
    slowest: list[SlowTransfer]
    now: JobsNow


async def get_statistics(context: Context, request: StatisticsSpan) -> JobStatistics:
    """Count the newest jobs by hour and state, their error codes, and the slowest transfers."""
    values: dict[str, Any] = {
        "organization_id": context.organization_id,
        "span": timedelta(hours=request.hours),
        "most": MAX_JOBS,
        "is_whole": not context.caller.application_ids,
        "applications": list(context.caller.application_ids),
    }
    async with context.transaction() as session:
        row = (await (await session.connection()).execute(COUNT, values)).mappings().one()
    return JobStatistics.model_validate(dict(row))


PROCEDURES = (Procedure("job.statistics", "query", StatisticsSpan, JobStatistics, get_statistics),)
