"""Attempts that each database role must not be able to make, tried as that role."""

import asyncio

import psycopg
import pytest
from psycopg import errors

from shared.database import Connection
from tests.world import World, call
from worker.control.access.database_roles import DatabaseRoles
from worker.local.cluster import SUPERUSER

REFUSALS = (errors.InsufficientPrivilege, errors.FeatureNotSupported, errors.InvalidSchemaName)

AS_A_SERVER = [
    "CREATE TEMP TABLE job (job_id text)",
    "CREATE TABLE public.mine (id integer)",
    "CREATE TABLE worker_v1.mine (id integer)",
    "CREATE SCHEMA mine",
    "CREATE FUNCTION public.mine() RETURNS void LANGUAGE sql AS 'SELECT'",
    "CREATE FUNCTION pg_temp.mine() RETURNS void LANGUAGE sql AS 'SELECT'",
    "CREATE FUNCTION worker_v1.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT NULL'",
    "CREATE OPERATOR pg_temp.= (leftarg = text, rightarg = text, function = texteq)",
    "CREATE TRIGGER mine AFTER UPDATE ON public.job EXECUTE FUNCTION public.job_after_change()",
    "ALTER FUNCTION worker_v1.claim(jsonb) SET search_path = pg_temp",
    "DROP FUNCTION worker_v1.finish(jsonb)",
    "SELECT worker_v1.me()",
    "SELECT worker_v1.is_current('first')",
    "SELECT public.job_cancel('a', 'b', '{}')",
    "SELECT public.server_role_create('a')",
    "SELECT public.server_role_drop('a')",
    "SELECT public.server_enroll('', 'a', 'SCRAM-SHA-256$', NULL)",
    "SET ROLE wharf_functions",
    "SET ROLE wharf_control",
    "SET SESSION AUTHORIZATION wharf_control",
    "CREATE ROLE mine",
    "SELECT * FROM pg_authid",
    "SELECT pg_read_file('/etc/hostname')",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "COPY (SELECT 1) TO '/tmp/mine'",
    "SELECT lo_export(1, '/tmp/mine')",
    "SET log_statement = 'all'",
    "SET session_replication_role = 'replica'",
    "LOAD 'plpgsql'",
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'wharf_control'",
]
AS_THE_API = [
    "INSERT INTO rollback (rollback_id) VALUES ('a')",
    "UPDATE rollback SET verified_at = now()",
    "DELETE FROM rollback",
    "SELECT sealed FROM job_secret",
    "DELETE FROM job_secret",
    "UPDATE server_enrolment SET public_key = 'mine'",
    "INSERT INTO server_enrolment VALUES ('a', 'mine', 'SCRAM-SHA-256$')",
    "DELETE FROM server_enrolment",
    "UPDATE server SET incarnation = 'mine'",
    "UPDATE server SET role_ready_at = now()",
    "DELETE FROM server",
    "UPDATE job SET state = 'cancelled'",
    "UPDATE job SET command = '{}'",
    "DELETE FROM job",
    "UPDATE job_attempt SET outcome = 'succeeded', ended_at = now()",
    "INSERT INTO job_attempt (job_id, attempt, server_id) VALUES ('a', 1, 'a')",
    "INSERT INTO job_event (job_id, seq, attempt, kind) VALUES ('a', 9, 1, 'log')",
    "DELETE FROM job_event",
    "DELETE FROM job_need",
    "UPDATE audit_event SET action = 'nothing'",
    "DELETE FROM audit_event",
    "TRUNCATE audit_event",
    "UPDATE api_key SET role = 'admin'",
    "UPDATE registry SET organization_id = 'mine'",
    "UPDATE application SET organization_id = 'mine'",
    "UPDATE application SET application_id = 'mine'",
    "UPDATE application_server SET server_id = 'mine'",
    "TRUNCATE application",
    "UPDATE deployment SET outcome = 'succeeded', finished_at = now()",
    "UPDATE deployment_server SET replace_job_id = 'mine'",
    "DELETE FROM deployment",
    "UPDATE context SET sha256 = ''",
    "DELETE FROM context",
    "INSERT INTO context_token VALUES ('a', 1, 'a', 'mine')",
    "UPDATE context_token SET token_hash = 'mine'",
    "UPDATE context_token SET attempt = attempt + 1",
    "DELETE FROM context_token",
    "INSERT INTO webhook_delivery (delivery_id) VALUES ('a')",
    "UPDATE webhook_delivery SET payload = '{}'",
    "DELETE FROM webhook_delivery",
    "UPDATE webhook SET organization_id = 'mine'",
    "UPDATE deploy_hook SET token_hash = 'mine'",
    "UPDATE deploy_hook_event SET deployment_id = 'mine'",
    "DELETE FROM deploy_hook_event",
    "SELECT webhook_add('a', 'job.ended', 'a', now(), '{}')",
    "UPDATE organization SET transfer_limit = 1",
    "SELECT gate FROM release_gate FOR UPDATE",
    "SELECT server_role_create('a')",
    "SELECT worker_v1.register('{}')",
    "SELECT worker_v1.finish('{}')",
    "SELECT job_close_attempt('a', 1, 'succeeded', NULL)",
    "CREATE TABLE mine (id integer)",
    "CREATE TEMP TABLE mine (id integer)",
    "ALTER TABLE job DISABLE TRIGGER ALL",
    "ALTER TABLE job_secret DISABLE ROW LEVEL SECURITY",
    "SET ROLE wharf_functions",
    "SET ROLE wharf_owner",
    "SET session_replication_role = 'replica'",
    "CREATE ROLE mine",
]
AS_CONTROL = [
    "DELETE FROM job",
    "INSERT INTO job_event (job_id, seq, attempt, kind) VALUES ('a', 9, 1, 'log')",
    "UPDATE registry SET host = 'mine'",
    "DELETE FROM registry",
    "INSERT INTO application (application_id) VALUES ('a')",
    "UPDATE application SET git_url = 'mine'",
    "UPDATE application SET env = 'v1.'",
    "DELETE FROM application",
    "DELETE FROM application_server",
    "DELETE FROM deployment",
    "UPDATE deployment SET settings = '{}'",
    "UPDATE deployment SET application_id = 'mine'",
    "UPDATE deployment_server SET server_id = 'mine'",
    "INSERT INTO context (context_id) VALUES ('a')",
    "UPDATE context SET sha256 = ''",
    "UPDATE context_token SET used_at = NULL",
    "DELETE FROM context_token",
    "INSERT INTO webhook (webhook_id) VALUES ('a')",
    "UPDATE webhook SET url = 'mine'",
    "UPDATE webhook SET secret = 'v1.'",
    "DELETE FROM webhook",
    "INSERT INTO webhook_delivery (delivery_id) VALUES ('a')",
    "UPDATE webhook_delivery SET payload = '{}'",
    "INSERT INTO deploy_hook (hook_id) VALUES ('a')",
    "UPDATE deploy_hook SET last_used_at = now()",
    "UPDATE server_enrolment SET public_key = 'mine'",
    "INSERT INTO server_enrolment VALUES ('a', 'mine', 'SCRAM-SHA-256$')",
    "UPDATE server SET incarnation = 'mine'",
    "UPDATE server SET removed_at = now()",
    "INSERT INTO api_key (api_key_id) VALUES ('a')",
    "UPDATE api_key SET role = 'admin'",
    "UPDATE audit_event SET action = 'nothing'",
    "DELETE FROM audit_event",
    "UPDATE job_secret SET purpose = 'password'",
    "SELECT worker_v1.claim('{}')",
    "SELECT server_enroll('', 'a', 'SCRAM-SHA-256$', NULL)",
    "CREATE ROLE mine",
    "DROP ROLE wharf_api",
    "CREATE TABLE mine (id integer)",
    "CREATE TEMP TABLE mine (id integer)",
    "ALTER TABLE job DISABLE TRIGGER ALL",
    "SET ROLE wharf_functions",
    "SET ROLE wharf_owner",
]


async def allowed(connection: Connection, statements: list[str]) -> list[str]:
    """Return the attempts that were not refused for a missing right; none has an effect."""
    found = []
    for statement in statements:
        try:
            async with connection.transaction(force_rollback=True):
                await connection.execute(statement.encode())
        except REFUSALS:
            continue
        except psycopg.Error as error:
            found.append(f"{statement}: {type(error).__name__}")
        else:
            found.append(statement)
    return found


async def test_a_server_may_do_nothing_beyond_its_functions(world: World) -> None:
    enrolled = await world.add_server()

    assert await allowed(await enrolled.connection(), AS_A_SERVER) == []


async def test_a_server_reads_and_writes_no_table(world: World) -> None:
    enrolled = await world.add_server()
    tables = await world.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    assert len(tables) > 10
    statements = [
        pattern.format(f"public.{row['tablename']}")
        for row in tables
        for pattern in ("SELECT 1 FROM {}", "DELETE FROM {}", "LOCK TABLE {}", "TRUNCATE {}")
    ]

    assert await allowed(await enrolled.connection(), statements) == []


async def test_a_server_may_execute_five_functions_two_of_which_have_a_former_name(
    world: World,
) -> None:
    enrolled = await world.add_server()

    rows = await world.rows(
        "SELECT oid::regprocedure::text AS name FROM pg_proc WHERE pronamespace IN"
        " ('public'::regnamespace, 'worker_v1'::regnamespace)"
        " AND has_function_privilege(%s, oid, 'EXECUTE')",
        enrolled.role,
    )

    assert {row["name"] for row in rows} == {
        f"worker_v1.{name}(jsonb)"
        for name in ("register", "claim", "heartbeat", "event", "finish", "hello", "beat")
    }


INLINED = {"server_is_online", "server_is_available"}
"""They run as their caller and name no table: PostgreSQL makes them a part of the statement."""


async def test_every_function_that_runs_as_somebody_else_has_a_fixed_search_path(
    world: World,
) -> None:
    rows = await world.rows(
        "SELECT proname AS name, proconfig, prosecdef FROM pg_proc WHERE pronamespace IN"
        " ('public'::regnamespace, 'worker_v1'::regnamespace)"
    )
    fixed = [row for row in rows if row["name"] not in INLINED]
    inlined = [row for row in rows if row["name"] in INLINED]

    assert len(fixed) > 12 and len(inlined) == len(INLINED)
    assert {tuple(row["proconfig"] or ()) for row in fixed} == {
        ("search_path=pg_catalog, pg_temp",)
    }
    assert {row["prosecdef"] for row in inlined} == {False}


async def test_a_search_path_of_its_own_does_not_help_a_server(world: World) -> None:
    enrolled, other = await world.add_server(), await world.add_server()
    connection = await enrolled.connection()
    await connection.execute("SET search_path = pg_temp, worker_v1, public")
    await connection.execute("SET ROLE wharf_servers")

    answer = await enrolled.register("second", predecessor="first")

    assert answer["server_id"] == enrolled.server_id
    assert (await other.call("heartbeat", "first"))["status"] == "current"


async def test_a_server_sees_no_statement_of_others(world: World) -> None:
    enrolled = await world.add_server()
    await world.control.execute("SELECT 'what control does'")

    rows = await (
        await (await enrolled.connection()).execute(
            "SELECT query FROM pg_stat_activity WHERE usename = 'wharf_control'"
        )
    ).fetchall()

    assert {row["query"] for row in rows} == {"<insufficient privilege>"}


async def test_a_server_has_three_connections(world: World) -> None:
    enrolled = await world.add_server(None)
    for _ in range(3):
        await enrolled.connect()

    with pytest.raises(psycopg.OperationalError, match="too many connections for role"):
        await enrolled.connect()


@pytest.mark.parametrize("name", ["postgres", "template1"])
async def test_a_server_enters_no_database_that_is_not_ours(world: World, name: str) -> None:
    enrolled = await world.add_server(None)

    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        await enrolled.connect(dbname=name)


async def test_nobody_unnamed_may_connect_or_make_temporary_tables(world: World) -> None:
    rows = await world.rows(
        "SELECT has_database_privilege('public', current_database(), right_) AS has"
        " FROM unnest(ARRAY['CONNECT', 'TEMP', 'CREATE']) AS right_"
    )

    assert [row["has"] for row in rows] == [False] * 3


async def test_the_api_may_not_do_what_is_others_business(world: World) -> None:
    await world.run(await world.add_server())

    assert await allowed(world.api, AS_THE_API) == []


async def test_the_api_may_not_plant_a_login(world: World) -> None:
    enrolled = await world.add_server()
    job_id = await world.dispatch(enrolled)

    with pytest.raises(errors.InsufficientPrivilege):
        await world.api.execute(
            "INSERT INTO job_secret VALUES (%s, 'login', 1, 'v1.forged')", (job_id,)
        )


async def test_the_api_may_not_submit_a_job_that_has_begun(world: World) -> None:
    enrolled = await world.add_server()

    with pytest.raises(errors.CheckViolation):
        await world.api.execute(
            "INSERT INTO job (job_id, organization_id, server_id, kind, version, job_class,"
            " command, max_failures, timeout_seconds, state, attempt, incarnation, lease_until)"
            " VALUES ('forged', %s, %s, 'image.tag', 1, 'quick', '{}', 1, 1, 'running', 1, 'first',"
            " 'infinity')",
            (world.organization_id, enrolled.server_id),
        )


async def test_control_may_not_do_what_is_others_business(world: World) -> None:
    await world.run(await world.add_server())
    await world.add_registry()

    assert await allowed(world.control, AS_CONTROL) == []


async def test_control_renews_logins_and_changes_no_other_secret_of_a_job(world: World) -> None:
    job_id = await world.dispatch(await world.add_server(), sealed={"password": "v1.given"})
    await world.control.execute(
        "INSERT INTO job_secret VALUES (%s, 'login', 1, 'v1.first')", (job_id,)
    )

    await world.control.execute("UPDATE job_secret SET sealed = 'v1.second'")

    rows = await world.rows("SELECT purpose, sealed FROM job_secret ORDER BY purpose")
    assert [(row["purpose"], row["sealed"]) for row in rows] == [
        ("login", "v1.second"),
        ("password", "v1.given"),
    ]


async def test_control_makes_roles_for_enrolled_servers_only_and_keeps_those_in_use(
    world: World,
) -> None:
    enrolled = await world.add_server()

    with pytest.raises(errors.RaiseException, match="not enrolled"):
        await world.control.execute("SELECT server_role_create('nobody')")
    with pytest.raises(errors.RaiseException, match="not removed"):
        await world.control.execute("SELECT server_role_drop(%s)", (enrolled.server_id,))

    assert (await enrolled.call("heartbeat", "first"))["status"] == "current"


async def test_no_role_of_ours_is_more_than_it_has_to_be(world: World) -> None:
    enrolled = await world.add_server()

    rows = await world.rows(
        "SELECT rolname, rolcanlogin FROM pg_roles WHERE rolname = ANY(%s) AND"
        " NOT (rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls)",
        ["wharf_api", "wharf_control", "wharf_functions", "wharf_servers", enrolled.role],
    )

    assert {row["rolname"] for row in rows if row["rolcanlogin"]} == {
        "wharf_api",
        "wharf_control",
        enrolled.role,
    }
    assert len(rows) == 5


# Control looks after the roles


async def test_an_enrolled_server_gets_its_role_and_logs_in_with_its_own_password(
    world: World,
) -> None:
    enrolled = await world.enrol_server()

    await DatabaseRoles().reconcile(world.control)
    await DatabaseRoles().reconcile(world.control)

    assert (await enrolled.register("first"))["status"] == "current"
    [row] = await world.rows("SELECT role_ready_at FROM server")
    assert row["role_ready_at"] is not None


async def test_a_removed_server_is_disconnected_and_cannot_come_back(world: World) -> None:
    enrolled = await world.add_server()
    connection = await enrolled.connection()
    await world.api.execute("UPDATE server SET removed_at = now()")

    await DatabaseRoles().reconcile(world.control)

    with pytest.raises(psycopg.OperationalError):
        await connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        await enrolled.connect()
    assert await world.rows("SELECT 1 FROM pg_roles WHERE rolname = %s", enrolled.role) == []


async def test_a_server_cannot_make_large_objects_in_an_embedded_database(world: World) -> None:
    enrolled = await world.add_server()
    connection = await enrolled.connection()

    with pytest.raises(errors.InsufficientPrivilege):
        await connection.execute("SELECT lo_from_bytea(0, 'mine')")


async def test_a_removed_server_cannot_stay_by_owning_something(world: World) -> None:
    enrolled = await world.add_server()
    superuser = await world.connect(SUPERUSER)
    await superuser.execute("GRANT EXECUTE ON FUNCTION lo_from_bytea(oid, bytea) TO PUBLIC")
    connection = await enrolled.connection()
    await connection.execute("SELECT lo_from_bytea(0, 'mine')")
    await world.api.execute("UPDATE server SET removed_at = now()")

    await DatabaseRoles().reconcile(world.control)

    assert await world.rows("SELECT 1 FROM pg_roles WHERE rolname = %s", enrolled.role) == []
    assert await world.rows("SELECT 1 FROM pg_largeobject_metadata") == []


async def test_a_removed_server_cannot_stay_by_holding_locks(world: World) -> None:
    enrolled = await world.add_server()
    await world.api.execute("UPDATE server SET removed_at = now()")
    connection = await enrolled.connection()
    await connection.execute("SELECT pg_advisory_lock(hashtext('wharf_server_roles'))")
    await world.control.execute("SET lock_timeout = '1s'")

    await DatabaseRoles().reconcile(world.control)

    assert await world.rows("SELECT 1 FROM pg_roles WHERE rolname = %s", enrolled.role) == []


async def test_a_server_in_a_long_transaction_keeps_no_job_from_being_submitted(
    world: World,
) -> None:
    enrolled = await world.add_server()
    await world.api.execute("SET lock_timeout = '1s'")

    async with (await enrolled.connection()).transaction():
        await enrolled.register("second", predecessor="first")
        job_id = await world.submit(enrolled)

    assert [job.job_id for job in await world.release()] == [job_id]


async def test_a_server_that_stays_in_a_transaction_is_ended(world: World) -> None:
    enrolled, other = await world.add_server(), await world.add_server()
    idle, busy, good = await enrolled.connect(), await enrolled.connect(), await other.connection()
    for connection in (idle, busy):
        await connection.execute("SET idle_in_transaction_session_timeout = 0")
        await connection.execute("SET statement_timeout = 0")
        await connection.execute("BEGIN")
    asleep = asyncio.create_task(busy.execute("SELECT pg_sleep(60)"))

    await world.control.execute("SELECT server_sessions_end(interval '0')")

    with pytest.raises(psycopg.OperationalError):
        await asleep
    with pytest.raises(psycopg.OperationalError):
        await idle.execute("SELECT 1")
    assert (await call(good, "heartbeat", "first"))["status"] == "current"


async def test_a_server_idling_in_a_transaction_is_ended_by_itself(world: World) -> None:
    enrolled = await world.add_server(None)
    connection = await enrolled.connection()

    rows = await (
        await connection.execute(
            "SELECT name, setting FROM pg_settings WHERE name LIKE '%%statement_timeout'"
            " OR name LIKE 'idle_in_transaction%%'"
        )
    ).fetchall()

    assert {row["name"]: row["setting"] for row in rows} == {
        "idle_in_transaction_session_timeout": "5000",
        "statement_timeout": "10000",
    }


async def test_a_server_whose_role_cannot_be_made_is_in_nobodys_way(world: World) -> None:
    # Names of roles are cut at 63 bytes, so that these two would have the same one.
    bad = [await world.enrol_server(server_id="x" * 60 + end) for end in "ab"]
    good = await world.enrol_server()

    await DatabaseRoles().reconcile(world.control)

    assert (await good.register("first"))["status"] == "current"
    ready = await world.rows("SELECT server_id FROM server WHERE role_ready_at IS NULL")
    [left] = [row["server_id"] for row in ready]
    assert left in {enrolled.server_id for enrolled in bad}
    with world.database.server.administer() as superuser:
        superuser.execute(f'DROP ROLE "{bad[0].role[:63]}"'.encode())
