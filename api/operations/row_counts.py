"""Count rows of the database for ``/metrics``.

Control counts jobs as they end. No query scans old, finished jobs: the others look at unfinished
jobs, and at those of the last hour (ids begin with the time, so the primary key finds them). Names
of organizations, servers, registries and images are not shown.
"""

from prometheus_client.core import Metric

from api.operations.job_counts import count_ended_jobs
from api.operations.metric_families import Row, make_gauge
from shared.credentials.certificates import DUE_DAYS
from shared.database import Connection
from shared.jobs.commands import Kind
from shared.jobs.states import FINAL, Outcome, State
from shared.models import RotationState

KINDS = tuple(Kind)
UNFINISHED = tuple(state for state in State if state not in FINAL)
OUTCOMES = (*Outcome, "open")

QUEUE_AGE = """
SELECT kind, extract(epoch FROM now() - min(run_at))::float AS value
  FROM job WHERE state = 'queued' AND run_at <= now() GROUP BY kind
"""
UNDER_WAY = """
SELECT kind, state, count(*) AS value, count(*) FILTER (WHERE failures > 0) AS failed FROM (
  SELECT kind, state, failures FROM job WHERE state = 'queued'
  UNION ALL SELECT kind, state, failures FROM job WHERE state IN ('dispatched', 'running')
) AS job GROUP BY kind, state
"""
ATTEMPTS = """
WITH counted AS (
  SELECT job_id FROM job WHERE job_id >= %(since)s
  UNION SELECT job_id FROM job WHERE state = 'queued' AND attempt > 0
  UNION SELECT job_id FROM job WHERE state IN ('dispatched', 'running')
)
SELECT coalesce(outcome, 'open') AS outcome, count(*) AS value,
       count(*) FILTER (WHERE job_attempt.attempt > 1) AS again
  FROM counted CROSS JOIN LATERAL (
    SELECT outcome, attempt FROM job_attempt WHERE job_id = counted.job_id OFFSET 0) AS job_attempt
 GROUP BY 1
"""
DIGEST_CHECKS = """
SELECT outcome, coalesce(code, '') AS code, count(*) AS value
  FROM digest_check WHERE job_id >= %(since)s GROUP BY 1, 2
"""
SERVERS = """
SELECT CASE WHEN seen_at IS NULL THEN 'new'
            WHEN server_is_online(server) THEN 'online'
            ELSE 'away' END AS state, count(*) AS value
  FROM server WHERE removed_at IS NULL GROUP BY 1
"""
NOTIFICATIONS = "SELECT pg_notification_queue_usage() AS value"
BROKER = """
SELECT max(broker_memory) AS memory, bool_or(broker_error IS NOT NULL)::integer AS bad
  FROM control WHERE seen_at > now() - interval '10 seconds' HAVING count(*) > 0
"""
LEFTOVERS = """
SELECT count(*) AS value FROM server WHERE removed_at IS NOT NULL AND role_ready_at IS NOT NULL
"""
# Without a row the service itself failed.
SET_ASIDE = """
SELECT service, code, count(*) AS value FROM set_aside
 WHERE next_at > now() - interval '2 minutes' GROUP BY 1, 2
"""
SERVICES = """
SELECT key AS service, sum((value->>'runs')::bigint) AS runs,
       sum((value->>'failures')::bigint) AS failures, sum((value->>'seconds')::float) AS seconds
  FROM control CROSS JOIN jsonb_each(services)
 WHERE seen_at > now() - interval '10 seconds' GROUP BY key
"""
PASSWORDS = """
SELECT CASE WHEN password_expires_at <= now() THEN 'expired'
            WHEN password_changed_at + make_interval(
              days => coalesce(r.rotate_after_days, o.rotate_after_days)) <= now() THEN 'due'
            ELSE 'current' END AS state, count(*) AS value
  FROM registry r JOIN organization o USING (organization_id) GROUP BY 1
"""
CREDENTIALS = """
SELECT CASE WHEN r.password_expires_at > now()
            THEN CASE WHEN s.error IS NULL THEN 'current' ELSE 'failing' END
            WHEN s.error IS NULL THEN 'pending' ELSE 'without_login' END AS state,
       count(*) AS value
  FROM credential_source s JOIN registry r USING (registry_id) GROUP BY 1
"""
REFUSED = """
SELECT count(DISTINCT registry_id) AS value FROM held_login WHERE cause = 'refused'
"""
FIRST_END = """
SELECT extract(epoch FROM min(r.password_expires_at) - now())::float AS value
  FROM credential_source JOIN registry r USING (registry_id) HAVING count(r.password_expires_at) > 0
"""
CERTIFICATES = f"""
SELECT CASE WHEN c.not_after <= now() THEN 'expired'
            WHEN c.not_after <= now() + interval '{DUE_DAYS} days' THEN 'due'
            ELSE 'current' END AS state, count(*) AS value
  FROM registry r CROSS JOIN LATERAL jsonb_to_recordset(r.certificates) AS c (not_after timestamptz)
 GROUP BY 1
"""  # noqa: S608 - no input
FIRST_CERTIFICATE = """
SELECT extract(epoch FROM min(c.not_after) - now())::float AS value
  FROM registry r CROSS JOIN LATERAL jsonb_to_recordset(r.certificates) AS c (not_after timestamptz)
HAVING count(*) > 0
"""
ROTATIONS = """
SELECT newest.state, count(*) AS value FROM registry r CROSS JOIN LATERAL (
  SELECT state FROM rotation WHERE registry_id = r.registry_id
   ORDER BY created_at DESC, rotation_id DESC LIMIT 1) newest
 GROUP BY 1
"""
TESTED_LOGINS = """
SELECT extract(epoch FROM now() - min(created_at))::float AS value
  FROM rotation WHERE state = 'testing'
"""
# A window that is over has all its pulls again.
QUOTAS = """
SELECT count(*) FILTER (WHERE blocked_until IS NOT NULL) AS blocked,
       min(CASE WHEN window_ends_at <= now() AND blocked_until IS NULL THEN pull_limit
                ELSE remaining END) AS remaining
  FROM registry_quota
"""
WAITING_FOR_QUOTA = """
SELECT count(*) AS value FROM job
 WHERE state = 'queued' AND quota_keys && ARRAY(
   SELECT quota_key FROM registry_quota WHERE blocked_until IS NOT NULL)
"""
CONTROLS = "SELECT count(*) AS value FROM control WHERE seen_at > now() - interval '10 seconds'"


async def count(connection: Connection, since: str) -> list[Metric]:
    """Count rows of the database; ended jobs count from the id ``since`` on."""

    async def rows(query: str) -> list[Row]:
        return await (await connection.execute(query, {"since": since})).fetchall()

    under_way = await rows(UNDER_WAY)
    attempts = await rows(ATTEMPTS)
    broker = await rows(BROKER)
    services = await rows(SERVICES)
    quotas = await rows(QUOTAS)
    return [
        *await count_ended_jobs(rows),
        make_gauge(
            "wharf_queue_age_seconds",
            "The oldest due job has waited for so long; 0 if none waits.",
            await rows(QUEUE_AGE),
            "kind",
            expected=[KINDS],
        ),
        make_gauge(
            "wharf_jobs",
            "Jobs that have not ended.",
            under_way,
            "kind",
            "state",
            expected=[KINDS, UNFINISHED],
        ),
        make_gauge(
            "wharf_jobs_failed_before",
            "Unfinished jobs that failed before.",
            under_way,
            "kind",
            "state",
            value="failed",
            expected=[KINDS, UNFINISHED],
        ),
        make_gauge(
            "wharf_recent_attempts",
            "Attempts of unfinished and of recent jobs; lost: the lease expired.",
            attempts,
            "outcome",
            expected=[OUTCOMES],
        ),
        make_gauge(
            "wharf_recent_retries",
            "Recent attempts that were not the first.",
            attempts,
            "outcome",
            value="again",
            expected=[OUTCOMES],
        ),
        make_gauge(
            "wharf_recent_digest_checks",
            "Checks of recently pushed digests by control; missing: the registry does not have it; "
            "not_reached: it did not answer, see code.",
            await rows(DIGEST_CHECKS),
            "outcome",
            "code",
        ),
        make_gauge(
            "wharf_servers",
            "Servers; away: no heartbeat for 15 s, new: never one.",
            await rows(SERVERS),
            "state",
            expected=[("away", "new", "online")],
        ),
        make_gauge(
            "wharf_registry_passwords",
            "Registries by their password; expired: a token that says so, due: for a change.",
            await rows(PASSWORDS),
            "state",
            expected=[("current", "due", "expired")],
        ),
        make_gauge(
            "wharf_credentials",
            "Sources of short-lived logins; failing: the provider gives no new one, without_login: "
            "and the last one has ended, so jobs wait or fail.",
            await rows(CREDENTIALS),
            "state",
        ),
        make_gauge(
            "wharf_credentials_refused",
            "Registries that refuse their login: it is not sent any more, at least by one server.",
            await rows(REFUSED),
        ),
        make_gauge(
            "wharf_credential_expires_seconds",
            "Time until the first short-lived login ends.",
            await rows(FIRST_END),
        ),
        make_gauge(
            "wharf_registry_certificates",
            "CA and client certificates of registries; due: for a change, 30 days before the end.",
            await rows(CERTIFICATES),
            "state",
            expected=[("current", "due", "expired")],
        ),
        make_gauge(
            "wharf_registry_certificate_expires_seconds",
            "Time until the first certificate of a registry ends; negative if one has expired.",
            await rows(FIRST_CERTIFICATE),
        ),
        make_gauge(
            "wharf_registry_rotations",
            "Registries by the newest rotation of their login; testing: it is yet to be used, "
            "switched: and the old one is kept, refused: a test failed.",
            await rows(ROTATIONS),
            "state",
            expected=[tuple(RotationState)],
        ),
        make_gauge(
            "wharf_rotation_age_seconds",
            "The oldest rotation whose new login is being tested began so long ago; 0 if there is "
            "none.",
            await rows(TESTED_LOGINS),
        ),
        make_gauge(
            "wharf_registry_quota_remaining",
            "Pulls that the tightest known limit of a registry still allows; no value if none is "
            "known.",
            [row for row in quotas if row["remaining"] is not None],
            value="remaining",
        ),
        make_gauge(
            "wharf_registry_quotas_blocked",
            "Limits of registries that allow no more pulls now.",
            quotas,
            value="blocked",
        ),
        make_gauge(
            "wharf_jobs_waiting_for_quota",
            "Jobs that wait because their registry allows no more pulls now.",
            await rows(WAITING_FOR_QUOTA),
        ),
        make_gauge(
            "wharf_notification_queue_ratio",
            "Used part of PostgreSQL's notification queue, 0 to 1.",
            await rows(NOTIFICATIONS),
        ),
        make_gauge(
            "wharf_broker_memory_ratio",
            "Used part of the broker's memory, 0 to 1.",
            broker,
            value="memory",
        ),
        make_gauge(
            "wharf_broker_bad", "The broker is unavailable or full: 1, else 0.", broker, value="bad"
        ),
        make_gauge(
            "wharf_removed_server_roles",
            "Database roles of removed servers that still exist.",
            await rows(LEFTOVERS),
        ),
        make_gauge("wharf_controls", "Running control processes.", await rows(CONTROLS)),
        make_gauge(
            "wharf_control_service_runs",
            "Runs of each service of control since its start.",
            services,
            "service",
            value="runs",
        ),
        make_gauge(
            "wharf_control_service_failures",
            "Failed runs of each service of control since its start.",
            services,
            "service",
            value="failures",
        ),
        make_gauge(
            "wharf_control_service_seconds",
            "Duration of the runs of each service of control since its start.",
            services,
            "service",
            value="seconds",
        ),
        make_gauge(
            "wharf_rows_set_aside",
            "Rows that a service of control cannot handle; they are retried.",
            await rows(SET_ASIDE),
            "service",
            "code",
        ),
    ]
