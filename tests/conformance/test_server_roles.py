"""The rights of a server's role: the same on every kind of PostgreSQL."""

import psycopg
import pytest
from psycopg import errors

from tests.databases import Server
from tests.shared.migrations.test_roles import AS_A_SERVER, allowed
from tests.world import EnrolledServer, World
from worker.control.access.database_roles import DatabaseRoles

BOUNDS = {
    "statement_timeout": "10s",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "5s",
    "idle_session_timeout": "1min",
    "work_mem": "4MB",
    "temp_file_limit": "64MB",
}


async def test_a_server_does_its_work(world: World) -> None:
    server = await world.add_server()
    job_id = await world.run(server)

    answer = await server.call(
        "finish", "first", job_id=job_id, attempt=1, outcome="succeeded", result={}
    )

    assert answer["state"] == "succeeded"


async def test_a_server_does_nothing_else(world: World) -> None:
    server = await world.add_server()
    large = ["SELECT lo_from_bytea(0, 'x')", "SELECT lo_create(0)", "SELECT lo_creat(-1)"]

    assert await allowed(await server.connection(), [*AS_A_SERVER, *large]) == []


@pytest.mark.parametrize("database", ["postgres", "template1"])
async def test_a_server_connects_to_no_other_database(
    world: World, kind_server: Server, database: str
) -> None:
    server = await world.add_server()

    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        await psycopg.AsyncConnection.connect(
            kind_server.network_url(database),
            user=server.role,
            password=server.password.get_secret_value(),
        )


async def test_a_servers_sessions_begin_with_bounds(world: World) -> None:
    server = await world.add_server()
    connection = await server.connection()

    for name, value in BOUNDS.items():
        [row] = await (await connection.execute(f"SHOW {name}".encode())).fetchall()
        assert (name, row[name]) == (name, value)
    for _ in range(2):
        await server.connect()
    with pytest.raises(psycopg.OperationalError, match="too many connections"):
        await server.connect()


async def test_a_server_cannot_fill_the_disk_with_a_cursor(world: World) -> None:
    server = await world.add_server()
    connection = await server.connection()
    await connection.execute("SET statement_timeout = 0")
    await connection.execute("SET work_mem = '1MB'")

    with pytest.raises(errors.InsufficientPrivilege):
        await connection.execute("SET temp_file_limit = -1")
    await connection.execute("ALTER ROLE CURRENT_USER RESET ALL")
    with pytest.raises(errors.ConfigurationLimitExceeded):
        await connection.execute(
            "DECLARE c CURSOR WITH HOLD FOR SELECT repeat('x', 1000) FROM generate_series(1, 80000)"
        )
    assert await temp_file_limit_of_next_session(server) == "64MB"


async def temp_file_limit_of_next_session(server: EnrolledServer) -> str:
    connection = await server.connect()
    [row] = await (await connection.execute("SHOW temp_file_limit")).fetchall()
    return str(row["temp_file_limit"])


async def test_a_removed_servers_role_goes(world: World) -> None:
    server = await world.add_server()
    await world.api.execute("UPDATE server SET removed_at = now()")

    await DatabaseRoles().reconcile(world.control)

    assert await world.rows("SELECT FROM pg_roles WHERE rolname = %s", server.role) == []
