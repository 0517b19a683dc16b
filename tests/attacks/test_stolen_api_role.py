"""Attacks of somebody who has the API's database URL, and no key that the API was ever shown."""

import hashlib
from contextlib import AbstractContextManager, nullcontext

import psycopg
import pytest
from psycopg import errors

from shared.database import Connection
from shared.ids import make_id
from shared.jobs.commands import ApplicationLogs, ImageInspect, ImagePull, RegistryTest
from shared.jobs.store.submit import Submission, submit
from shared.vault import PrivateKey
from tests.world import EnrolledServer, World, speak_for

REFUSALS = (errors.InsufficientPrivilege, errors.FeatureNotSupported)

JOB = """
INSERT INTO job (job_id, organization_id, server_id, kind, version, job_class, command,
                 max_failures, timeout_seconds, requested_by, registry_id)
SELECT 'forged', s.organization_id, s.server_id, 'registry.test', 1, 'quick', '{}', 1, 1,
       (SELECT min(api_key_id) FROM api_key), (SELECT min(registry_id) FROM registry)
  FROM server s LIMIT 1
"""
ATTACKS = [
    # To be an administrator.
    (
        "INSERT INTO api_key (api_key_id, organization_id, name, role, start, key_hash)"
        " SELECT 'mine', organization_id, 'mine', 'admin', '', sha256(sha256('mine'))"
        " FROM organization"
    ),
    "UPDATE api_key SET key_hash = sha256(sha256('mine'))",
    "UPDATE api_key SET role = 'admin'",
    "DELETE FROM api_key",
    # To have a server that gets logins.
    (
        "INSERT INTO server (server_id, organization_id, name, description, approved_at)"
        " SELECT 'mine', organization_id, 'mine', '', now() FROM organization"
    ),
    (
        "INSERT INTO server (server_id, organization_id, name, description)"
        " SELECT 'mine', organization_id, 'mine', '' FROM organization"
    ),
    (
        "INSERT INTO server_token (token_hash, server_id, expires_at)"
        " SELECT sha256(sha256('mine')), server_id, now() + interval '1 hour' FROM server"
    ),
    "UPDATE server_token SET token_hash = sha256(sha256('mine'))",
    "UPDATE server SET approved_at = now()",
    "UPDATE server SET quick_limit = 1000",
    "UPDATE server SET transfer_limit = 1000",
    "UPDATE server SET name = 'mine'",
    "UPDATE server SET removed_at = now()",
    "UPDATE server SET paused_classes = '{}', paused_at = NULL, description = 'mine'",
    "UPDATE server_enrolment SET public_key = 'mine'",
    "DELETE FROM server_enrolment",
    # To have control seal a login.
    JOB,
    (
        "INSERT INTO job_secret (job_id, purpose, attempt, sealed)"
        " SELECT job_id, 'environment', 0, 'v1.mine' FROM job"
    ),
    "UPDATE job SET server_id = (SELECT max(server_id) FROM server)",
    "UPDATE job SET requested_by = 'mine'",
    "SELECT sealed FROM job_secret",
    "SELECT secret FROM database_epoch",
    "UPDATE registry SET allowed_servers = '{}', registry_name = 'mine'",
    "UPDATE registry SET host = 'registry.attacker.example'",
    "INSERT INTO registry SELECT (r).* FROM (SELECT r FROM registry r) r",
    "DELETE FROM registry",
    "UPDATE application SET git_url = 'https://attacker.example/', git_host = 'attacker.example'",
    "UPDATE application SET allowed_keys = '{}', description = 'mine'",
    "UPDATE application SET mounts = '[]', description = 'mine'",
    "DELETE FROM application",
    (
        "INSERT INTO application_server (application_id, server_id, organization_id)"
        " SELECT application_id, server_id, a.organization_id FROM application a, server"
    ),
    (
        "INSERT INTO build (build_id, organization_id, application_id, version, title, reference,"
        " make_job_id) SELECT 'mine', organization_id, application_id, 9, '', 'x', 'mine'"
        " FROM application"
    ),
    (
        "INSERT INTO context (context_id, organization_id, application_id, size_bytes, sha256)"
        " SELECT 'mine', organization_id, application_id, 1, repeat('0', 64) FROM application"
    ),
    (
        "INSERT INTO context_token (job_id, attempt, context_id, token_hash)"
        " SELECT job_id, 1, 'mine', sha256('mine') FROM job"
    ),
    "UPDATE context_token SET token_hash = sha256('mine')",
    "SELECT gate FROM release_gate FOR UPDATE",
    "DELETE FROM release_gate",
    # To stop builds, to let jobs of a backup run, to answer in the place of the API.
    "UPDATE application SET last_version = 0",
    "UPDATE application SET last_version = 2147483647",
    "UPDATE application SET last_version = last_version + 1",
    "SELECT organization_resume(organization_id) FROM organization",
    "UPDATE api_key SET last_used_at = 'infinity'",
    "UPDATE api_key SET last_used_at = '-infinity'",
    (
        "INSERT INTO idempotency (actor_id, key, position, organization_id, request_hash, job_id)"
        " SELECT api_key_id, 'mine', 0, organization_id, sha256('mine'), 'mine' FROM api_key"
    ),
    """UPDATE idempotency SET answer = '{"shown": "true"}'""",
    "UPDATE idempotency SET created_at = '2001-01-01'",
    # To be notified, and to be called.
    (
        "INSERT INTO webhook (webhook_id, organization_id, url, events, secret)"
        " SELECT 'mine', organization_id, 'https://attacker.example', '{job.ended}', 'v1.mine'"
        " FROM organization"
    ),
    (
        "INSERT INTO deploy_hook (hook_id, organization_id, application_id, token_hash,"
        " sealed_secret, tag_filter, require_signature)"
        " SELECT 'mine', organization_id, application_id,"
        " sha256(sha256('mine')), '', '*', false FROM application"
    ),
    # To be nobody, or somebody else.
    (
        "INSERT INTO audit_event (audit_event_id, organization_id, actor_id, action)"
        " SELECT 'mine', organization_id, api_key_id, 'registry.remove' FROM api_key"
    ),
    (
        "INSERT INTO audit_event (audit_event_id, organization_id, action)"
        " SELECT 'mine', organization_id, 'registry.remove' FROM organization"
    ),
    "UPDATE audit_event SET actor_id = NULL",
    "DELETE FROM audit_event",
    # To do without the rules.
    "ALTER TABLE api_key DISABLE TRIGGER ALL",
    "DROP TRIGGER require_caller ON api_key",
    "SET session_replication_role = 'replica'",
    (
        "CREATE OR REPLACE FUNCTION public.caller(OUT id text, OUT organization_id text,"
        " OUT role text) RETURNS SETOF record LANGUAGE sql AS 'SELECT ''a'', ''b'', ''admin'''"
    ),
    "SET ROLE wharf_functions",
    "SET ROLE wharf_control",
    "SET SESSION AUTHORIZATION wharf_control",
]


@pytest.fixture
async def server(world: World) -> EnrolledServer:
    """A server with a job, and a row of each kind that an attack could change."""
    server = await world.add_server()
    await world.add_registry()
    await world.run(server)
    await world.owner.execute(
        "INSERT INTO application (application_id, organization_id, name, app_name, description,"
        " git_build_path, build_type, dockerfile, docker_context_path)"
        " VALUES ('app', %s, 'App', 'app', '', '/', 'dockerfile', 'Dockerfile', '.')",
        (world.organization_id,),
    )
    await world.owner.execute("UPDATE application SET last_version = 3")
    await world.owner.execute(
        "INSERT INTO idempotency (actor_id, key, position, organization_id, request_hash, job_id)"
        " SELECT api_key_id, 'theirs', 0, organization_id, sha256('theirs'), 'theirs' FROM api_key"
    )
    await world.owner.execute(
        "INSERT INTO server_token (token_hash, server_id, expires_at)"
        " VALUES (sha256(sha256('theirs')), %s, now() + interval '15 minutes')",
        (server.server_id,),
    )
    return server


@pytest.fixture
async def thief(world: World, server: EnrolledServer) -> Connection:
    """A session of the API's role that was shown no key."""
    connection = await world.connect("wharf_api")
    await connection.execute("SELECT set_config('wharf.proof', '', false)")
    return connection


async def read_all(world: World) -> dict[str, object]:
    tables = await world.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return {
        row["tablename"]: await world.rows(
            f"SELECT to_jsonb(t) FROM public.{row['tablename']} t ORDER BY 1"
        )
        for row in tables
    }


@pytest.mark.parametrize("shown", [None, "viewer"])
async def test_without_the_key_of_a_member_nothing_is_changed(
    world: World, thief: Connection, shown: str | None
) -> None:
    if shown is not None:
        await speak_for(thief, await world.add_key(shown))
    before, allowed = await read_all(world), []

    for attack in ATTACKS:
        try:
            await thief.execute(attack.encode())
        except REFUSALS:
            continue
        except psycopg.Error as error:
            allowed.append(f"{attack}: {type(error).__name__} {error}")
        else:
            allowed.append(attack)

    assert allowed == []
    assert await read_all(world) == before


async def test_no_proof_is_stored_anywhere(world: World, thief: Connection) -> None:
    stored = await (
        await thief.execute(
            "SELECT key_hash AS hash FROM api_key UNION ALL SELECT token_hash FROM server_token"
            " UNION ALL SELECT token_hash FROM deploy_hook"
        )
    ).fetchall()
    assert len(stored) == 2

    for row in stored:
        await thief.execute("SELECT set_config('wharf.proof', %s, false)", (row["hash"].hex(),))
        assert await (await thief.execute("SELECT * FROM caller()")).fetchall() == []
        enrolled = await thief.execute(
            "SELECT server_enroll(%s, 'mine', 'SCRAM-SHA-256$4096:x') AS server", (row["hash"],)
        )
        assert await enrolled.fetchall() == [{"server": None}]


async def test_a_second_organization_is_not_founded(world: World, thief: Connection) -> None:
    await thief.execute("SELECT organization_bootstrap('mine', 'mine', '', sha256(sha256('mine')))")

    assert await world.rows("SELECT 1 FROM organization WHERE organization_id = 'mine'") == []
    assert await world.rows("SELECT 1 FROM api_key WHERE api_key_id = 'mine'") == []


async def test_a_job_without_a_key_is_not_stored(
    world: World, server: EnrolledServer, thief: Connection
) -> None:
    registry_id = await world.add_registry()
    wanted = RegistryTest(
        host="registry.example", username="alice", repository="a", registry_id=registry_id
    )

    with pytest.raises(errors.InsufficientPrivilege):
        await submit(thief, Submission(world.organization_id, server.server_id, wanted))


@pytest.mark.parametrize(
    ("command", "allowed"),
    [
        (ImagePull(reference="registry.example/a:1"), pytest.raises(errors.InsufficientPrivilege)),
        (ApplicationLogs(application_id="app", name="web", tail=1), nullcontext()),
        (ImageInspect(reference="registry.example/a:1"), nullcontext()),
    ],
)
async def test_the_jobs_of_a_viewer_only_read(
    world: World,
    server: EnrolledServer,
    thief: Connection,
    command: ImagePull | ImageInspect | ApplicationLogs,
    allowed: AbstractContextManager[object],
) -> None:
    key = await world.add_key("viewer")
    proof = hashlib.sha256(key.encode()).hexdigest()
    [viewer] = await world.rows("SELECT api_key_id FROM api_key WHERE role = 'viewer'")
    wanted = Submission(
        world.organization_id, server.server_id, command, requested_by=viewer["api_key_id"]
    )

    with allowed:
        await submit(thief, wanted, proof=proof)


async def test_a_key_asks_in_no_other_name(
    world: World, server: EnrolledServer, thief: Connection
) -> None:
    key, [admin] = await world.add_key(), await world.rows("SELECT api_key_id FROM api_key LIMIT 1")
    proof = hashlib.sha256(key.encode()).hexdigest()
    forged = Submission(
        world.organization_id,
        server.server_id,
        ImagePull(reference="registry.example/a:1"),
        requested_by=admin["api_key_id"],
    )

    with pytest.raises(errors.InsufficientPrivilege):
        await submit(thief, forged, proof=proof)


async def test_actions_of_a_key_are_audited_under_its_own_name_and_time(
    world: World, thief: Connection
) -> None:
    [admin] = await world.rows("SELECT api_key_id FROM api_key")
    await speak_for(thief, await world.add_key())
    note = (
        "INSERT INTO audit_event (audit_event_id, organization_id, actor_id, action, at)"
        " SELECT %s, k.organization_id, k.api_key_id, 'x', '2001-01-01' FROM api_key k WHERE {}"
    )

    with pytest.raises(errors.InsufficientPrivilege):
        await thief.execute(
            note.format("k.api_key_id = %s").encode(), ("forged", admin["api_key_id"])
        )
    await thief.execute(note.format("k.api_key_id <> %s").encode(), ("true", admin["api_key_id"]))

    stored = await world.rows(
        "SELECT audit_event_id, at > now() - interval '1 minute' AS is_of_now FROM audit_event"
        " WHERE action = 'x'"
    )
    assert stored == [{"audit_event_id": "true", "is_of_now": True}]


async def test_a_proof_ends_with_its_transaction(
    world: World, server: EnrolledServer, thief: Connection
) -> None:
    """The API's connections go from caller to caller."""
    proof = hashlib.sha256(world.admin_key.encode()).hexdigest()
    wanted = ImagePull(reference="registry.example/a:1")
    job_id = await submit(
        thief, Submission(world.organization_id, server.server_id, wanted), proof=proof
    )
    assert await world.state(job_id) == "queued"

    assert await (await thief.execute("SELECT * FROM caller()")).fetchall() == []
    with pytest.raises(errors.InsufficientPrivilege):
        await submit(thief, Submission(world.organization_id, server.server_id, wanted))


@pytest.mark.parametrize("role", ["member", "viewer", "expired", "foreign"])
async def test_a_key_that_may_not_makes_no_other_key(
    world: World, thief: Connection, role: str
) -> None:
    key = await world.add_key(role if role in {"member", "viewer"} else "admin")
    if role == "expired":
        await world.owner.execute("UPDATE api_key SET expires_at = now()")
    if role == "foreign":
        await world.owner.execute("INSERT INTO organization VALUES ('theirs', 'theirs')")
        await world.owner.execute("UPDATE api_key SET organization_id = 'theirs'")
    await speak_for(thief, key)

    with pytest.raises(errors.InsufficientPrivilege):
        await thief.execute(
            "INSERT INTO api_key (api_key_id, organization_id, name, role, start, key_hash)"
            " VALUES ('mine', %s, 'mine', 'admin', '', 'mine')",
            (world.organization_id,),
        )


async def test_a_server_that_joins_again_is_not_approved_any_more(world: World) -> None:
    server = await world.add_server()

    await world.owner.execute(
        "UPDATE server_enrolment SET public_key = %s WHERE server_id = %s",
        (str(PrivateKey.generate().public), server.server_id),
    )

    assert await world.rows("SELECT approved_at FROM server") == [{"approved_at": None}]


async def test_a_server_that_is_not_approved_gets_no_job_and_no_login(world: World) -> None:
    server = await world.enrol_server(approved=False)
    await world.control.execute("SELECT server_role_create(%s)", (server.server_id,))
    assert (await server.register("first"))["status"] == "current"
    registry_id = await world.add_registry()
    job_id = await world.submit(
        server,
        ImagePull(reference="registry.example/a:1", registry_id=registry_id),
        job_id=make_id(),
        registry_id=registry_id,
    )

    assert await world.release() == []

    assert await world.state(job_id) == "queued"
    assert await world.rows("SELECT 1 FROM job_secret") == []
