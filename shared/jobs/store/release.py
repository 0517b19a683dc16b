"""Release due jobs to their servers: count and dispatch under one lock (the gate)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from shared.database import Connection
from shared.faults import Fault

SERVICE = "release"
GATE = """
SELECT ARRAY(SELECT row_id FROM set_aside WHERE service = 'release' AND next_at > now()) AS aside,
       set_config('plan_cache_mode', 'force_generic_plan', true) AS plan_cache_mode
  FROM release_gate FOR UPDATE SKIP LOCKED
"""
"""To plan the statement that chooses takes longer than to run it, so its plan is kept."""

QUEUED = "SELECT EXISTS (SELECT FROM job WHERE state = 'queued') AS has_queued"

MAX_JOBS = 500
"""The limit of one release; the next one follows at once."""

CHOOSE = """
WITH RECURSIVE queue AS (
  -- Where jobs wait: a step in the index for each server and class, however many jobs there are.
  (SELECT server_id, job_class FROM job WHERE state = 'queued'
    ORDER BY server_id, job_class LIMIT 1)
  UNION ALL
  SELECT next.* FROM queue q CROSS JOIN LATERAL (
    SELECT server_id, job_class FROM job
     WHERE state = 'queued' AND (server_id, job_class) > (q.server_id, q.job_class)
     ORDER BY server_id, job_class LIMIT 1) next
), with_capacity AS MATERIALIZED (
  SELECT q.*, s.organization_id, s.kinds, r.available AS server_available
    FROM queue q CROSS JOIN LATERAL (
      SELECT organization_id, kinds FROM server
       WHERE server_id = q.server_id AND server_is_available(server, q.job_class)
      OFFSET 0  -- by its key, whatever the planner thinks of how many are alive
    ) s CROSS JOIN LATERAL (
      SELECT available FROM server_capacity
       WHERE server_id = q.server_id AND job_class = q.job_class OFFSET 0
    ) r
   WHERE r.available > 0
), share AS MATERIALIZED (
  SELECT q.*, o.jobs AS organization_has, o.available AS organization_available
    FROM (SELECT DISTINCT organization_id, job_class FROM with_capacity) q
    JOIN organization_capacity o USING (organization_id, job_class)
), full_registry AS MATERIALIZED (
  SELECT registry_id FROM registry_capacity WHERE available <= 0
), quota AS MATERIALIZED (
  SELECT quota_key, shared, active, available FROM registry_quota_capacity
   WHERE available IS NOT NULL
), application AS (
  -- The queue in the queue: a step in the index for each application.
  SELECT q.*, first.fair_key FROM with_capacity q CROSS JOIN LATERAL (
    SELECT fair_key FROM job
     WHERE state = 'queued' AND server_id = q.server_id AND job_class = q.job_class
     ORDER BY fair_key LIMIT 1) first
  UNION ALL
  SELECT a.server_id, a.job_class, a.organization_id, a.kinds, a.server_available, next.fair_key
    FROM application a CROSS JOIN LATERAL (
    SELECT fair_key FROM job
     WHERE state = 'queued' AND server_id = a.server_id AND job_class = a.job_class
       AND fair_key > a.fair_key
     ORDER BY fair_key LIMIT 1) next
), due AS (
  -- Of each application as many as there is room for, and only those that nothing holds up.
  SELECT a.organization_id, a.server_id, a.job_class, a.fair_key, a.server_available, j.*
    FROM application a CROSS JOIN LATERAL (
      SELECT job_id, priority, run_at, registry_id, exclusive_key, quota_keys, trial
        FROM queued_job
       WHERE server_id = a.server_id AND job_class = a.job_class AND fair_key = a.fair_key
         AND is_due AND NOT is_restored AND needs IS NULL AND NOT target_is_busy AND NOT lacks_login
         AND NOT login_is_held AND NOT lacks_check
         AND job_id <> ALL (%(aside)s) AND kind || '@' || version = ANY (a.kinds)
         AND (job_class <> 'transfer' OR registry_id IS NULL
              OR registry_id NOT IN (SELECT registry_id FROM full_registry))
         AND NOT quota_keys && ARRAY(SELECT quota_key FROM quota WHERE available = 0)
       ORDER BY priority DESC, run_at, job_id LIMIT a.server_available) j
), turn AS (
  SELECT due.*, s.organization_has, s.organization_available, last.served_at,
         has.jobs + row_number() OVER (PARTITION BY organization_id, job_class, fair_key
                                       ORDER BY priority DESC, run_at, job_id) AS turn
    FROM due JOIN share s USING (organization_id, job_class)
    LEFT JOIN application_turn last USING (organization_id, job_class, fair_key)
    CROSS JOIN LATERAL (
      SELECT count(*) AS jobs FROM job WHERE state IN ('dispatched', 'running')
         AND organization_id = due.organization_id AND job_class = due.job_class
         AND fair_key = due.fair_key) has
   WHERE organization_available IS NULL OR organization_available > 0
), line AS (
  SELECT *, row_number() OVER (PARTITION BY organization_id, job_class
                               ORDER BY priority DESC, turn, served_at NULLS FIRST, run_at, job_id
         ) AS place
    FROM turn
), counted AS (
  SELECT line.*, registry_capacity.available AS registry_available,
         -- Of several quotas the one that allows least; the next release sees the others.
         quota.available AS quota_available, quota.active AS quota_active, quota.pulls,
         sum(quota.pulls) OVER (PARTITION BY quota.shared ORDER BY place, job_id) AS of_quota,
         row_number() OVER (PARTITION BY server_id, job_class ORDER BY place) AS of_server,
         row_number() OVER (PARTITION BY registry_id, job_class ORDER BY place) AS of_registry,
         row_number() OVER (PARTITION BY coalesce(exclusive_key, job_id)
                            ORDER BY place, job_id) AS of_key,
         row_number() OVER (PARTITION BY coalesce(trial, job_id)
                            ORDER BY place, job_id) AS of_trial
    FROM line LEFT JOIN registry_capacity USING (registry_id)
    LEFT JOIN LATERAL (
      SELECT shared, available, active,
             cardinality(array_positions(line.quota_keys, quota_key)) AS pulls
        FROM quota WHERE quota_key = ANY (line.quota_keys) ORDER BY available LIMIT 1) quota ON true
), chosen AS (
  SELECT job_id, organization_id, job_class, fair_key,
         row_number() OVER (ORDER BY job_class, organization_has + place, job_id) AS rank
    FROM counted
   WHERE of_server <= server_available AND of_key = 1 AND of_trial = 1
     AND (organization_available IS NULL OR place <= organization_available)
     AND (registry_available IS NULL OR job_class <> 'transfer'
          OR of_registry <= registry_available)
     -- A job of more pulls than are left begins alone.
     AND (quota_available IS NULL OR of_quota <= quota_available
          OR of_quota = pulls AND quota_active = 0)
   ORDER BY rank LIMIT %(most)s
)"""
CHOSEN = CHOOSE + "SELECT job_id FROM chosen ORDER BY rank"  # noqa: S608 - no input
REGISTRY_IDS = """ARRAY[j.registry_id, j.command->>'registry_id',
  j.command->>'source_registry_id'] || ARRAY(
  SELECT id #>> '{}' FROM jsonb_path_query(j.command, '$.images[*].registry_id') id
  UNION ALL
  SELECT id #>> '{}' FROM jsonb_path_query(j.command, '$.bases[*].registry_id') id)"""
"""The registries whose logins the job ``j`` needs: its own, that of a copy's source, those of a
build's bases or of a compose file."""

ONE = """
WITH chosen AS (
  SELECT job_id, organization_id, job_class, fair_key, 1 AS rank FROM job WHERE job_id = %(job_id)s
)"""
DISPATCH = f""", served AS (
  INSERT INTO application_turn (organization_id, job_class, fair_key)
  SELECT DISTINCT organization_id, job_class, fair_key FROM chosen
  ON CONFLICT (organization_id, job_class, fair_key) DO UPDATE SET served_at = clock_timestamp()
), dispatched AS (
  UPDATE job j SET state = 'dispatched', attempt = attempt + 1, dispatched_at = clock_timestamp(),
                   published_at = clock_timestamp()
    FROM chosen WHERE j.job_id = chosen.job_id AND j.state = 'queued'
  RETURNING j.job_id, j.organization_id, j.server_id, j.kind, j.attempt, j.command, j.registry_id,
            j.fair_key, chosen.rank, {REGISTRY_IDS} AS registry_ids
), attempts AS (
  INSERT INTO job_attempt (job_id, attempt, server_id, login_expires_at, login_revisions)
  SELECT d.job_id, d.attempt, d.server_id, login.expires_at, login.revisions
    FROM dispatched d CROSS JOIN LATERAL (
      SELECT min(r.password_expires_at) FILTER (WHERE s.registry_id IS NOT NULL) AS expires_at,
             jsonb_object_agg(r.registry_id, coalesce(t.slot->>'login_revision', r.login_revision)
             ) AS revisions
        FROM registry r LEFT JOIN credential_source s USING (registry_id)
        LEFT JOIN rotation t ON t.rotation_id = d.command->>'rotation_id'
                            AND t.registry_id = r.registry_id AND t.state = 'testing'
       WHERE r.registry_id = ANY (d.registry_ids) AND r.organization_id = d.organization_id) login
)
SELECT d.job_id, d.organization_id, d.server_id, d.kind, d.attempt, d.command, d.registry_id,
       d.fair_key, e.public_key, coalesce(given.sealed, '{{}}') AS sealed,
       coalesce(known.registries, '{{}}') AS registries
  FROM dispatched d
  JOIN server_enrolment e USING (server_id)
  CROSS JOIN LATERAL (
    SELECT jsonb_object_agg(purpose, s.sealed) AS sealed FROM job_secret s
     WHERE s.job_id = d.job_id AND s.attempt = 0) given
  CROSS JOIN LATERAL (
    SELECT jsonb_object_agg(
             r.registry_id, to_jsonb(r) || jsonb_build_object('credential_error',
               CASE WHEN r.password IS NULL OR r.password_expires_at <= now() THEN s.error END,
               'is_untried', u.accepted_at IS NULL OR u.refusals <> '{{}}')
             -- The test of a rotation takes its login; if that has ended, none.
             || CASE WHEN d.command->>'rotation_id' IS NULL THEN '{{}}' ELSE coalesce((
                  SELECT slot || '{{"credential_error": null}}' FROM rotation t
                   WHERE t.rotation_id = d.command->>'rotation_id'
                     AND t.registry_id = r.registry_id AND t.state = 'testing'),
                  '{{"password": null, "credential_error": null}}') END
           ) AS registries
      FROM registry r LEFT JOIN credential_source s USING (registry_id)
      LEFT JOIN login_use u USING (registry_id, login_revision)
     WHERE r.registry_id = ANY (d.registry_ids) AND r.organization_id = d.organization_id) known
 ORDER BY d.rank
"""  # noqa: S608 - no input
RELEASE = CHOOSE + DISPATCH
RELEASE_ONE = ONE + DISPATCH

GIVE_LOGIN = """
INSERT INTO job_secret (job_id, purpose, attempt, sealed) VALUES (%s, 'login', %s, %s)
"""

REFUSE = """
WITH refused AS (
  UPDATE job SET state = 'failed', error = %(error)s
   WHERE job_id = %(job_id)s AND attempt = %(attempt)s AND state = 'dispatched'
  RETURNING job_id, attempt
)
SELECT job_close_attempt(job_id, attempt, 'failed', %(error)s) FROM refused
"""


@dataclass(frozen=True)
class Released:
    """A job that was just dispatched, with the sealed secrets for its logins.

    ``sealed`` are secrets that were given with the job, by purpose; ``registries`` are rows by id.
    ``fair_key`` names the group that takes turns: an application's id, or an action.
    """

    job_id: str
    organization_id: str
    server_id: str
    kind: str
    attempt: int
    command: dict[str, Any]
    registry_id: str | None
    public_key: str
    sealed: dict[str, str]
    registries: dict[str, dict[str, Any]]
    fair_key: str = ""


async def release(connection: Connection) -> list[Released] | None:
    """Dispatch due jobs within the limits; return them in the order in which to publish them.

    Call it inside a transaction, and publish after its commit.

    ``None``: another replica holds the gate; try again soon.
    """
    aside = await enter(connection)
    return None if aside is None else await dispatch(connection, aside)


async def has_queued_jobs(connection: Connection) -> bool:
    """Return whether a job waits, due or not: without one there is no need for the gate."""
    row = await (await connection.execute(QUEUED)).fetchone()
    return bool(row and row["has_queued"])


async def enter(connection: Connection) -> list[str] | None:
    """Lock the gate until the transaction ends; return the ids of jobs that are set aside.

    ``None``: another replica holds it.
    """
    row = await (await connection.execute(GATE)).fetchone()
    return row["aside"] if row else None


async def dispatch(connection: Connection, aside: Sequence[str]) -> list[Released]:
    """Dispatch due jobs within the limits; the gate has to be locked."""
    values = {"most": MAX_JOBS, "aside": aside}
    cursor = await connection.execute(RELEASE, values, prepare=True)
    return [Released(**row) for row in await cursor.fetchall()]


async def choose(connection: Connection, aside: Sequence[str]) -> list[str]:
    """Return the ids of the jobs that `dispatch` would dispatch."""
    cursor = await connection.execute(CHOSEN, {"most": MAX_JOBS, "aside": aside})
    return [row["job_id"] for row in await cursor.fetchall()]


async def dispatch_one(connection: Connection, job_id: str) -> Released | None:
    """Dispatch one job that was chosen."""
    row = await (await connection.execute(RELEASE_ONE, {"job_id": job_id})).fetchone()
    return Released(**row) if row else None


async def give_login(connection: Connection, job: Released, sealed: str) -> None:
    """Store the login of one attempt, sealed to its server."""
    await connection.execute(GIVE_LOGIN, (job.job_id, job.attempt, sealed))


async def refuse(connection: Connection, job: Released, fault: Fault) -> None:
    """End a dispatched job for which no login can be made."""
    error = Jsonb(fault.model_dump(mode="json"))
    values = {"job_id": job.job_id, "attempt": job.attempt, "error": error}
    await connection.execute(REFUSE, values)


async def refuse_queued(connection: Connection, job_id: str, fault: Fault) -> None:
    """End a queued job that cannot be released; one that is no longer queued stays as it is."""
    async with connection.transaction():
        job = await dispatch_one(connection, job_id)
        if job is not None:
            await refuse(connection, job, fault)
