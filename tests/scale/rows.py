"""A database as it is after a long and busy life, loaded straight into the tables."""

from dataclasses import dataclass

from shared.database import Connection

ORGANIZATIONS = 20
DAYS = 40
"""The finished jobs were made at an even pace since then: a quarter is too old to be kept."""


@dataclass(frozen=True)
class Size:
    """``servers`` have four transfers running each, and the ``waiting`` jobs behind them."""

    finished: int
    waiting: int = 10_000
    servers: int = 1_000


def uuid_at(moment: str) -> str:
    """SQL for the id of job ``g``, made at that moment: a UUIDv7, which begins with its time."""
    return (
        f"regexp_replace(lpad(to_hex((extract(epoch FROM {moment}) * 1000)::bigint), 12, '0')"
        " || '7' || lpad(to_hex(g::bigint * 7919), 19, '0'),"
        " '(.{8})(.{4})(.{4})(.{4})(.{12})', '\\1-\\2-\\3-\\4-\\5')"
    )


ORGANIZATION = f"'organization-' || lpad((g % {ORGANIZATIONS})::text, 4, '0')"
SERVER = "'server-' || lpad((g % %(servers)s)::text, 6, '0')"
REGISTRY = "CASE g % 4 WHEN 0 THEN 'registry-' || g % 200 END"
COMMAND = """jsonb_build_object('registry_id', NULL,
  'reference', 'registry.example/team/app-' || g % 50 || ':' || g)"""

# Each server is in the organization of the same number, so that a job's number names both.
LOAD = (
    f"""
    INSERT INTO organization (organization_id, name)
    SELECT {ORGANIZATION}, 'crowd' FROM generate_series(0, {ORGANIZATIONS - 1}) g""",
    f"""
    INSERT INTO api_key (api_key_id, organization_id, name, role, start, key_hash)
    SELECT 'key-' || g, {ORGANIZATION}, 'key', 'admin', '', sha256(sha256(('key-' || g)::bytea))
      FROM generate_series(0, {50 * ORGANIZATIONS - 1}) g""",
    f"""
    INSERT INTO registry (registry_id, registry_name, username, password, registry_url,
                          registry_type, organization_id, host)
    SELECT 'registry-' || g, 'ours', 'alice', 'v1.sealed', 'registry.example', 'cloud',
           {ORGANIZATION}, 'registry.example'
      FROM generate_series(0, {10 * ORGANIZATIONS - 1}) g""",
    f"""
    INSERT INTO server (server_id, organization_id, name, description, role_ready_at, incarnation,
                        registered_at, seen_at, wire_version, worker_version, kinds)
    SELECT {SERVER}, {ORGANIZATION}, 'server ' || g, '', now(), 'first', now(), now(), 1, '1',
           '{{registry.test@1,image.pull@1,image.push@1,image.tag@1}}'
      FROM generate_series(0, %(servers)s - 1) g""",
    f"""
    INSERT INTO server_enrolment (server_id, public_key, role_verifier)
    SELECT {SERVER}, 'key', 'SCRAM-SHA-256$' FROM generate_series(0, %(servers)s - 1) g""",
    "UPDATE server SET approved_at = now()",
)
FINISHED = (
    f"""
    INSERT INTO job (job_id, organization_id, server_id, kind, version, job_class, state, command,
                     attempt, failures, max_failures, timeout_seconds, run_at, created_at,
                     dispatched_at, published_at, started_at, finished_at, result, error, event_seq,
                     fair_key, exclusive_key)
    SELECT {uuid_at("at")}, {ORGANIZATION}, {SERVER},
           CASE g % 4 WHEN 0 THEN 'registry.test' WHEN 1 THEN 'image.push' ELSE 'image.pull' END,
           1, CASE g % 4 WHEN 0 THEN 'quick' ELSE 'transfer' END,
           CASE WHEN g % 100 < 95 THEN 'succeeded' WHEN g % 100 < 98 THEN 'failed'
                WHEN g % 100 = 98 THEN 'cancelled' ELSE 'expired' END,
           {COMMAND}, 1, 0, 3, 7200, at, at, at, at, at, at + interval '9 s',
           CASE WHEN g % 100 < 95 THEN jsonb_build_object('digest', 'sha256:' || md5(g::text)) END,
           CASE WHEN g % 100 >= 95 THEN '{{"code": "x", "message": "refused"}}'::jsonb END,
           4, 'registry.example/team/app-' || g % 50, 'push:' || g
      FROM (SELECT g, now() - interval '{DAYS} days' * (1 - g::float / %(finished)s) AS at
              FROM generate_series(1, %(finished)s) g) AS made""",
    """
    INSERT INTO job_attempt (job_id, attempt, server_id, incarnation, dispatched_at, started_at,
                             ended_at, outcome)
    SELECT job_id, 1, server_id, 'first', dispatched_at, started_at, finished_at, 'succeeded'
      FROM job WHERE finished_at IS NOT NULL""",
    """
    INSERT INTO job_event (job_id, seq, attempt, kind, state)
    SELECT job_id, seq, 1, 'state', CASE seq WHEN 1 THEN 'queued' ELSE state END
      FROM job, (VALUES (1), (4)) AS stored(seq) WHERE finished_at IS NOT NULL""",
    """
    INSERT INTO job_need (job_id, needs_job_id)
    SELECT lead(job_id) OVER (ORDER BY job_id), job_id FROM job
     WHERE finished_at IS NOT NULL ORDER BY job_id LIMIT %(finished)s / 50""",
)
HELD = f"""
    INSERT INTO job (job_id, organization_id, server_id, kind, version, job_class, state, command,
                     attempt, max_failures, timeout_seconds, dispatched_at, published_at,
                     started_at, lease_until, incarnation, event_seq, fair_key, registry_id,
                     created_at)
    SELECT {uuid_at("now() - interval '1 hour'")}, {ORGANIZATION}, {SERVER}, 'image.pull', 1,
           'transfer', 'running', {COMMAND}, 1, 3, 7200, now(), now(), now(),
           now() + interval '1 hour', 'first', 3, 'registry.example/team/app-' || g % 50,
           {REGISTRY}, now()
      FROM generate_series(0, 4 * %(servers)s - 1) g"""
WAITING = f"""
    INSERT INTO job (job_id, organization_id, server_id, kind, version, job_class, command,
                     max_failures, timeout_seconds, event_seq, fair_key, registry_id, run_at,
                     deadline_at, created_at)
    SELECT {uuid_at("now() - interval '1 minute'")}, {ORGANIZATION}, {SERVER}, 'image.pull', 1,
           'transfer', {COMMAND}, 3, 7200, 1, 'registry.example/team/app-' || g % 50, {REGISTRY},
           now() - interval '1 minute', now() + interval '1 day', now()
      FROM generate_series(0, %(waiting)s - 1) g"""
ATTEMPTS_OF_HELD = """
    INSERT INTO job_attempt (job_id, attempt, server_id, incarnation, started_at)
    SELECT job_id, 1, server_id, 'first', now() FROM job WHERE state = 'running'"""

ROTATIONS = f"""
    INSERT INTO rotation (rotation_id, organization_id, registry_id, state, error, created_at,
                          finished_at)
    SELECT 'rotation-' || g, {ORGANIZATION}, 'registry-' || g % 200,
           CASE g % 10 WHEN 0 THEN 'refused' ELSE 'dropped' END,
           CASE g % 10 WHEN 0 THEN '{{}}'::jsonb END, at, at
      FROM (SELECT g, now() - interval '1 hour' * g AS at FROM generate_series(1, 4000) g) made"""
NOTICES = f"""
    INSERT INTO credential_notice (registry_id, event, subject, organization_id, data)
    SELECT 'registry-' || g % 200, 'credential.due', 'revision-' || g, {ORGANIZATION}, '{{}}'
      FROM generate_series(1, 4000) g"""

SECRETS = """
    INSERT INTO job_secret (job_id, purpose, attempt, sealed)
    SELECT job_id, CASE attempt WHEN 0 THEN 'password' ELSE 'login' END, attempt, 'v1.sealed'
      FROM job WHERE finished_at IS NULL"""
ASKED_ONCE = f"""
    INSERT INTO idempotency (actor_id, key, position, organization_id, request_hash, job_id)
    SELECT 'key-' || g % 1000, g, 0, {ORGANIZATION}, sha256(g::text::bytea), g
      FROM generate_series(1, %(finished)s / 10) g"""
TURNS = f"""
    INSERT INTO application_turn (organization_id, job_class, fair_key)
    SELECT {ORGANIZATION}, 'transfer', 'registry.example/team/app-' || g
      FROM generate_series(1, 5000) g"""


async def load(superuser: Connection, size: Size) -> None:
    """Fill an empty database; no trigger runs and no foreign key is checked meanwhile."""
    under_way = (HELD, WAITING, ATTEMPTS_OF_HELD, SECRETS, TURNS, ROTATIONS, NOTICES)
    await _load(superuser, size, *LOAD, *under_way, *FINISHED, ASKED_ONCE)


async def load_finished(superuser: Connection, size: Size) -> None:
    """Add the finished jobs to rows that have none yet."""
    await _load(superuser, size, *FINISHED, ASKED_ONCE)


async def _load(superuser: Connection, size: Size, *statements: str) -> None:
    values = {"servers": size.servers, "finished": size.finished, "waiting": size.waiting}
    async with superuser.transaction():
        await superuser.execute("SET LOCAL session_replication_role = 'replica'")
        for statement in statements:
            # Only a per cent sign of ours stands for a value; the others are SQL's.
            await superuser.execute(_escaped(statement).encode(), values)
    await superuser.execute("VACUUM (ANALYZE)")


def _escaped(statement: str) -> str:
    return statement.replace("%", "%%").replace("%%(", "%(")
