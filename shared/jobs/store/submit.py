"""Accept a job: one statement, one round trip, one commit; the row is the outbox."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from shared.database import Connection
from shared.errors import QueueFullError
from shared.ids import make_id
from shared.jobs.accesses import quota_keys
from shared.jobs.commands import RULES, Command, DedupeUntil

SUBMIT = """
WITH caller AS MATERIALIZED (
  -- Of this transaction; an earlier statement may have set another caller.
  SELECT set_config('wharf.proof',
                    coalesce(%(proof)s, current_setting('wharf.proof', true), ''), true)
), room AS MATERIALIZED (
  SELECT CASE WHEN %(quota)s::integer IS NOT NULL
              THEN public.queue_full(%(organization_id)s, %(quota)s::integer) END AS full_at
), accepted AS (
  INSERT INTO job (job_id, organization_id, server_id, kind, version, job_class, priority, command,
                   registry_id, quota_keys, exclusive_key, fair_key, dedupe_key, dedupe_until,
                   has_needs,
                   max_failures, timeout_seconds, deadline_at, deployment_id, requested_by,
                   retry_of)
  SELECT  %(job_id)s, %(organization_id)s, %(server_id)s, %(kind)s, %(version)s, %(job_class)s,
          %(priority)s, %(command)s, %(registry_id)s, %(quota_keys)s, %(exclusive_key)s,
          %(fair_key)s,
          %(dedupe_key)s, %(dedupe_until)s, %(needs)s::text[] <> '{}', %(max_failures)s,
          %(timeout_seconds)s, now() + %(deadline)s, %(deployment_id)s,
          %(requested_by)s, %(retry_of)s FROM caller, room WHERE room.full_at IS NULL
  ON CONFLICT DO NOTHING
  RETURNING job_id
), secret AS (
  INSERT INTO job_secret (job_id, purpose, attempt, sealed)
  SELECT job_id, purpose, 0, sealed FROM accepted,
         unnest(%(purposes)s::text[], %(sealed)s::text[]) AS given (purpose, sealed)
), need AS (
  INSERT INTO job_need (job_id, needs_job_id)
  SELECT job_id, unnest(%(needs)s::text[]) FROM accepted
)
SELECT job_id, NULL::integer AS full_at FROM accepted
UNION ALL
SELECT NULL, full_at FROM room WHERE full_at IS NOT NULL
"""

STANDS = """
SELECT job_id FROM job WHERE job_id = %(job_id)s
UNION ALL
SELECT job_id FROM job
 WHERE organization_id = %(organization_id)s AND kind = %(kind)s AND dedupe_key = %(dedupe_key)s
   AND state IN ('queued', 'dispatched', 'running')
 LIMIT 1
"""


@dataclass(frozen=True)
class Submission:
    """A requested job. The caller makes ``job_id``, so that a repetition is the same job.

    ``sealed`` are secrets for this job only, sealed to the vault, by purpose. ``exclusive_key``:
    jobs of an organization with the same key do not run at once. ``fair_key`` is the application:
    those of an organization take turns. ``dedupe_key``: requests of the same kind with the same key
    get this job until ``dedupe_until``. ``priority`` is that of its kind by default. The
    job repeats ``retry_of``.
    """

    organization_id: str
    server_id: str
    command: Command
    requested_by: str | None = None
    registry_id: str | None = None
    sealed: Mapping[str, str] = field(default_factory=dict)
    exclusive_key: str | None = None
    fair_key: str = ""
    dedupe_key: str | None = None
    dedupe_until: DedupeUntil = DedupeUntil.ENDED
    deadline: timedelta | None = None
    priority: int | None = None
    needs: Sequence[str] = ()
    deployment_id: str | None = None
    retry_of: str | None = None
    job_id: str = field(default_factory=make_id)


async def submit(
    connection: Connection, job: Submission, *, proof: str | None = None, quota: int | None = None
) -> str:
    """Store the job and notify control; return its id, or that of a job for the same work.

    A repetition with the same id changes nothing. ``proof`` is that of the caller's key: the API
    needs it, unless its transaction already has it. ``quota`` is the limit of jobs that have not
    ended for an organization without one of its own; 0 is no limit. Jobs of control have none.

    Raises:
        QueueFullError: the organization has as many jobs as its quota allows.
    """
    values = {**values_of(job, proof), "quota": quota}
    while True:
        row = await (await connection.execute(SUBMIT, values)).fetchone()
        if row is not None and row["job_id"] is not None:
            return str(row["job_id"])
        existing = await (await connection.execute(STANDS, values)).fetchone()
        if existing is not None:
            return str(existing["job_id"])
        if row is not None:
            raise QueueFullError(row["full_at"])
        # The existing job ended between the two statements: the next insert succeeds.


async def submit_all(connection: AsyncConnection[Any], jobs: Sequence[Submission]) -> None:
    """Store the jobs of one request in its transaction, which has the caller's proof already.

    They are sent together in one round trip. They must not have a ``dedupe_key``. No quota counts.
    """
    cursor = connection.cursor()
    await cursor.executemany(SUBMIT, [values_of(job) for job in jobs])


def values_of(job: Submission, proof: str | None = None) -> dict[str, object]:
    """Return the parameters of the two statements."""
    rule = RULES[job.command.kind]
    return {
        "job_id": job.job_id,
        "organization_id": job.organization_id,
        "server_id": job.server_id,
        "kind": job.command.kind,
        "version": job.command.version,
        "job_class": rule.job_class,
        "priority": rule.priority if job.priority is None else job.priority,
        "command": Jsonb(job.command.model_dump(mode="json")),
        "registry_id": job.registry_id,
        "quota_keys": quota_keys(job.command, job.server_id),
        "exclusive_key": job.exclusive_key and f"{job.organization_id}:{job.exclusive_key}",
        "fair_key": job.fair_key,
        "dedupe_key": job.dedupe_key,
        "dedupe_until": job.dedupe_until if job.dedupe_key is not None else None,
        "max_failures": rule.max_failures,
        "timeout_seconds": int(rule.timeout.total_seconds()),
        "deadline": job.deadline,
        "deployment_id": job.deployment_id,
        "requested_by": job.requested_by,
        "retry_of": job.retry_of,
        "purposes": list(job.sealed),
        "sealed": list(job.sealed.values()),
        "needs": list(job.needs),
        "proof": proof,
        "quota": None,
    }
