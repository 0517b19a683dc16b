"""A server was taken over: its database role hurts that server alone.

Its sessions may run any SQL and set their own time-outs, so control ends them by what they do.
"""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import errors

from api.limits.disk import DiskWatch
from api.operations.health import answer_ready
from shared.database import Connection, open_pool
from shared.migrations.schema import migrate
from tests.databases import Database, Server, start_postgres
from tests.waiting import wait_until
from tests.world import EnrolledServer, World, open_world
from worker.control.access.database_roles import DatabaseRoles
from worker.local.postgres import OWNER, LocalPostgres

UNBOUND = (
    "SET statement_timeout = 0",
    "SET lock_timeout = 0",
    "SET idle_in_transaction_session_timeout = 0",
    "SET idle_session_timeout = 0",
)
ENDLESS = "DO $$ BEGIN LOOP PERFORM pg_sleep(0.01); COMMIT; END LOOP; END $$"
FLOOD = "SELECT count(pg_notify('x', i || repeat('x', 7900))) FROM generate_series(1, 20) i"


async def steal(enrolled: EnrolledServer, **options: object) -> Connection:
    """A session of the server's role without its time-outs."""
    connection = await enrolled.connect(**options)
    for statement in UNBOUND:
        await connection.execute(statement.encode())
    return connection


@asynccontextmanager
async def running(connection: Connection, statement: str) -> AsyncIterator[asyncio.Task[object]]:
    task = asyncio.create_task(connection.execute(statement.encode()))
    try:
        yield task
    finally:
        await connection.close()
        await asyncio.gather(task, return_exceptions=True)


async def end_sessions(world: World, age: str = "0", session_age: str = "1 minute") -> list[str]:
    """Why control ends which sessions now."""
    cursor = await world.control.execute(
        "SELECT reason FROM server_sessions_end(%s::interval, %s::interval)", (age, session_age)
    )
    return sorted(row["reason"] for row in await cursor.fetchall())


async def is_over(connection: Connection) -> bool:
    try:
        await connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return True
    return False


async def is_running(world: World, enrolled: EnrolledServer) -> bool:
    return bool(
        await world.rows(
            "SELECT FROM pg_stat_activity WHERE usename = %s AND state = 'active'", enrolled.role
        )
    )


async def test_a_statement_that_commits_within_does_not_go_on(world: World) -> None:
    enrolled = await world.add_server()
    connection = await steal(enrolled)
    await connection.execute("LISTEN wharf_job")

    async with running(connection, ENDLESS) as attack:
        await wait_until(lambda: is_running(world, enrolled))
        await wait_for_end(world, "statement_too_long")
        with pytest.raises(psycopg.OperationalError):
            await attack


async def wait_for_end(world: World, reason: str) -> None:
    async def is_ended() -> bool:
        return reason in await end_sessions(world, "100 milliseconds")

    await wait_until(is_ended)


async def test_a_session_ends_with_its_age_whatever_it_does(world: World) -> None:
    enrolled = await world.add_server()
    connection = await steal(enrolled)
    await connection.execute("LISTEN wharf_job")

    assert await end_sessions(world, "1 minute", "0") == ["session_too_long"] * 2
    assert await is_over(connection)


async def test_a_session_that_reads_nothing_is_ended(world: World) -> None:
    enrolled = await world.add_server()
    deaf = await steal(enrolled)
    # An answer that is not read fills the socket: the session waits in the middle of it.
    deaf.pgconn.send_query(b"SELECT repeat('x', 1000) FROM generate_series(1, 100000)")
    deaf.pgconn.flush()

    async def waits() -> bool:
        return bool(
            await world.rows(
                "SELECT FROM pg_stat_activity WHERE usename = %s AND wait_event = 'ClientWrite'",
                enrolled.role,
            )
        )

    await wait_until(waits)
    assert await end_sessions(world, "0") == ["transaction_too_long"]


async def test_a_session_that_listens_and_takes_nothing_in_is_ended(world: World) -> None:
    enrolled = await world.add_server()
    deaf, talker = await steal(enrolled), await steal(enrolled)
    await deaf.execute("LISTEN x")
    with socket.socket(fileno=os.dup(deaf.fileno())) as ear:
        ear.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

    async def is_stuck() -> bool:
        # Few at a time: the session passes each on, and is idle again, until its socket is full.
        for _ in range(10):
            await talker.execute("SELECT pg_notify('x', repeat('x', 7900))")
        return bool(
            await world.rows(
                "SELECT FROM pg_stat_activity WHERE pid = %s AND wait_event = 'ClientWrite'",
                deaf.info.backend_pid,
            )
        )

    await wait_until(is_stuck)
    [reason] = await end_sessions(world, "0", "1 hour")
    assert reason in {"does_not_read", "transaction_too_long"}


async def test_control_ends_a_statement_that_lasts_and_lets_the_worker_go_on(world: World) -> None:
    enrolled, roles = await world.add_server(), DatabaseRoles()
    connection = await steal(enrolled)

    async with running(connection, ENDLESS) as attack:

        async def is_ended() -> bool:
            await roles.reconcile(world.control)
            return attack.done()

        await wait_until(is_ended, seconds=30)
        with pytest.raises(psycopg.OperationalError):
            await attack
    assert (await enrolled.call("heartbeat", "first"))["status"] == "current"


async def test_a_session_in_another_database_is_ended_at_once(
    world: World, attacked_server: Server
) -> None:
    enrolled = await world.add_server()
    with open_elsewhere(attacked_server):
        connection = await psycopg.AsyncConnection.connect(
            attacked_server.network_url("template1"),
            user=enrolled.role,
            password=enrolled.password.get_secret_value(),
            autocommit=True,
        )

        assert await end_sessions(world, "1 hour", "1 hour") == ["other_database"]

        with pytest.raises(psycopg.OperationalError):
            await connection.execute("SELECT 1")
        await connection.close()


@contextlib.contextmanager
def open_elsewhere(server: Server) -> Iterator[None]:
    """Let everybody connect to another database for a while, as initdb does."""
    with server.administer() as superuser:
        superuser.execute("GRANT CONNECT ON DATABASE template1 TO PUBLIC")
    try:
        yield
    finally:
        with server.administer() as superuser:
            superuser.execute("REVOKE CONNECT ON DATABASE template1 FROM PUBLIC")


async def test_a_worker_goes_on_when_its_sessions_are_ended(world: World) -> None:
    enrolled = await world.add_server()
    functions = enrolled.functions("first")
    assert (await functions.heartbeat([])).status == "current"

    await end_sessions(world, "1 hour", "0")
    with pytest.raises(psycopg.OperationalError):
        await functions.heartbeat([])

    assert (await functions.heartbeat([])).status == "current"


async def test_a_removed_server_loses_its_login_although_its_role_cannot_be_dropped(
    world: World, attacked_server: Server
) -> None:
    enrolled = await world.add_server()
    connection = await enrolled.connection()
    await world.api.execute("UPDATE server SET removed_at = now()")

    with keep_role(attacked_server, enrolled):
        await DatabaseRoles().reconcile(world.control)

        assert await is_over(connection)
        with pytest.raises(psycopg.OperationalError, match="authentication failed"):
            await enrolled.connect()
        [row] = await world.rows(
            "SELECT rolcanlogin FROM pg_roles WHERE rolname = %s", enrolled.role
        )
        assert row["rolcanlogin"] is False

    await end_pauses(world)
    await DatabaseRoles().reconcile(world.control)
    assert not await has_role(world, enrolled)


async def test_a_removed_server_does_not_stay_by_what_any_role_may_leave_behind(
    world: World,
) -> None:
    enrolled = await world.add_server()
    connection = await enrolled.connection()
    # It takes no right to say what others may do with what one never makes.
    await connection.execute("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC")
    await world.api.execute("UPDATE server SET removed_at = now()")

    await DatabaseRoles().reconcile(world.control)

    assert not await has_role(world, enrolled)


async def test_objects_of_a_removed_server_elsewhere_are_dropped_by_the_next_migration(
    world: World, attacked_server: Server
) -> None:
    enrolled = await world.add_server()
    with let_make_objects(attacked_server):
        connection = await psycopg.AsyncConnection.connect(
            attacked_server.network_url("template1"),
            user=enrolled.role,
            password=enrolled.password.get_secret_value(),
            autocommit=True,
        )
        await connection.execute("SELECT lo_from_bytea(0, 'x')")
        await world.api.execute("UPDATE server SET removed_at = now()")

        await DatabaseRoles().reconcile(world.control)
        assert await has_role(world, enrolled)
        with pytest.raises(psycopg.OperationalError):
            await connection.execute("SELECT 1")
        await connection.close()

        await asyncio.to_thread(migrate, world.database.url(OWNER))
        await end_pauses(world)
        await DatabaseRoles().reconcile(world.control)
        assert not await has_role(world, enrolled)


async def end_pauses(world: World) -> None:
    """Let what was set aside be tried again now."""
    await world.owner.execute("UPDATE set_aside SET next_at = now()")


@contextlib.contextmanager
def let_make_objects(server: Server) -> Iterator[None]:
    """Open another database to everybody, with the rights that it has after initdb."""
    function = "FUNCTION lo_from_bytea(oid, bytea)"
    with open_elsewhere(server):
        with server.administer("template1") as superuser:
            superuser.execute(f"GRANT EXECUTE ON {function} TO PUBLIC".encode())
        yield
        with server.administer("template1") as superuser:
            superuser.execute(f"REVOKE EXECUTE ON {function} FROM PUBLIC".encode())


async def test_a_role_that_cannot_be_dropped_is_tried_ever_more_seldom(
    world: World, attacked_server: Server
) -> None:
    enrolled = await world.add_server()
    await world.api.execute("UPDATE server SET removed_at = now()")
    pauses = []

    with keep_role(attacked_server, enrolled):
        for _ in range(3):
            await end_pauses(world)
            await DatabaseRoles().reconcile(world.control)
            [row] = await world.rows(
                "SELECT code, next_at - now() AS pause FROM set_aside WHERE row_id = %s",
                enrolled.server_id,
            )
            assert row["code"] == "database_error"
            pauses.append(row["pause"])
    await DatabaseRoles().reconcile(world.control)
    assert await has_role(world, enrolled)

    await end_pauses(world)
    await DatabaseRoles().reconcile(world.control)
    assert not await has_role(world, enrolled)
    assert pauses == sorted(pauses)
    assert pauses[2] > 2 * pauses[0]


@contextlib.contextmanager
def keep_role(server: Server, enrolled: EnrolledServer) -> Iterator[None]:
    """Give the role something in a database where the owner of ours may do nothing."""
    with server.administer() as superuser:
        superuser.execute(f'GRANT CREATE ON DATABASE postgres TO "{enrolled.role}"'.encode())
    try:
        yield
    finally:
        with server.administer() as superuser:
            superuser.execute(f'REVOKE ALL ON DATABASE postgres FROM "{enrolled.role}"'.encode())


async def has_role(world: World, enrolled: EnrolledServer) -> bool:
    return bool(await world.rows("SELECT FROM pg_roles WHERE rolname = %s", enrolled.role))


async def test_large_objects_of_a_server_are_removed(world: World, attacked_server: Server) -> None:
    enrolled = await world.add_server()
    connection = await enrolled.connection()
    try:
        await connection.execute("SELECT lo_from_bytea(0, 'x')")
    except errors.InsufficientPrivilege:
        return

    await DatabaseRoles().reconcile(world.control)

    assert await world.rows("SELECT FROM pg_largeobject_metadata") == []


async def test_a_copied_state_directory_is_noticed_and_a_restart_is_none(world: World) -> None:
    enrolled = await world.add_server()
    await enrolled.register("second", predecessor="first")
    await enrolled.call("heartbeat", "second")
    restarted = await world.rows("SELECT second_worker_at FROM server")

    # The thief proves by its copy that "second" is dead, and that one is heard of again.
    await enrolled.register("thief", predecessor="second")
    answer = await enrolled.call("heartbeat", "second")

    [after] = await world.rows("SELECT second_worker_at FROM server")
    assert answer["status"] == "superseded"
    assert restarted == [{"second_worker_at": None}]
    assert after["second_worker_at"] is not None


async def test_a_role_that_changed_its_own_bounds_and_password_gets_them_anew(world: World) -> None:
    enrolled = await world.add_server()
    connection = await enrolled.connection()
    await connection.execute("ALTER ROLE CURRENT_USER PASSWORD 'mine'")
    await connection.execute("ALTER ROLE CURRENT_USER SET statement_timeout = 0")
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        await enrolled.connect()

    await world.owner.execute("UPDATE server SET role_ready_at = now() - interval '61 minutes'")
    await DatabaseRoles().reconcile(world.control)

    renewed = await enrolled.connect()
    [row] = await (await renewed.execute("SHOW statement_timeout")).fetchall()
    assert row["statement_timeout"] == "10s"


# A full queue of notifications


@pytest.fixture(scope="module")
def small_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPostgres]:
    """An embedded server whose queue of notifications holds half a megabyte."""
    directory: Path = tmp_path_factory.mktemp("small")
    first = start_postgres(directory)
    with first.administer() as superuser:
        superuser.execute("ALTER SYSTEM SET max_notify_queue_pages = 64")
    first.stop()
    server = LocalPostgres.start(directory, listen="127.0.0.1", durable=False)
    yield server
    server.stop()


@pytest.fixture
async def small_world(small_postgres: LocalPostgres) -> AsyncIterator[World]:
    database = Database.create(small_postgres)
    async with open_world(database) as opened:
        yield opened
    database.drop()


async def test_a_full_queue_of_notifications_keeps_nobody_from_submitting(
    small_world: World,
) -> None:
    world = small_world
    thief, other = await world.add_server(), await world.add_server()
    listener, flooder = await steal(thief), await steal(thief)
    await listener.execute("LISTEN x")

    async with running(listener, ENDLESS):
        await wait_until(lambda: is_running(world, thief))
        with pytest.raises(psycopg.Error, match="too many notifications"):
            await flood(flooder)
        assert await degraded(world) == ["notifications"]
        job_id = await world.run(other)
        finished = await other.call(
            "finish", "first", job_id=job_id, attempt=1, outcome="succeeded", result={}
        )
        assert finished["status"] == "recorded"
        # Whoever is older than a second is ended, and the queue is free again.
        assert "notifications_pile_up" in await end_sessions(world, "0", "1 hour")
    await wait_until(lambda: is_empty(world))


async def degraded(world: World) -> list[str]:
    """Return the database's line of ``/readyz``, without the one of the absent control."""
    async with open_pool(world.database.url("wharf_api")) as pool:
        answer = await answer_ready(pool, DiskWatch(None))
    message: list[str] = json.loads(bytes(answer.body))["degraded"]
    return message


async def flood(connection: Connection) -> None:
    """Fill the queue up to the error that says so."""
    while True:
        await connection.execute(FLOOD.encode())


async def is_empty(world: World) -> bool:
    [row] = await world.rows("SELECT pg_notification_queue_usage() AS usage")
    return bool(row["usage"] < 0.01)
