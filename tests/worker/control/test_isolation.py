"""One server's directory, database role and broker user in hand: nothing of another's is reached.

Every table, every function, every key of the other server, and every command of the broker.
"""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from psycopg import errors, sql

from shared.errors import CredentialError
from tests.waiting import wait_until
from tests.worker.control.access.test_broker_users import connect, is_let_in, wait_for
from tests.worker.control.plane import Plane
from tests.world import HOST, PASSWORD, PULL, EnrolledServer, World
from worker.broker_users import ADMIN, server_user
from worker.local.valkey import LocalValkey
from worker.login import login_context
from worker.server.identity import StateDirectory

MESSAGE = "the other server's message"
KEYLESS = {
    *("auth", "hello", "ping", "quit", "reset", "select", "publish"),
    *("client|setinfo", "client|setname"),
}
"""Commands without a key that a server may send; channels are tried apart."""

# Arguments that make a command of this name well-formed, with the key where it belongs.
SHAPES: dict[str, list[str]] = {
    "brpop": ["{key}", "0.01"],
}


@pytest.fixture
async def pair(plane: Plane) -> AsyncIterator[tuple[EnrolledServer, EnrolledServer]]:
    """The thief and the other one, whose key at the broker hold what a worker leaves there."""
    thief, other = await plane.world.add_server(), await plane.world.add_server()
    async with plane.open_control(makes_users=True):
        for enrolled in (thief, other):
            await wait_for(partial(is_let_in, plane.broker, enrolled))
        fill_keys(plane.broker, other)
        yield thief, other


def keys_of(enrolled: EnrolledServer) -> tuple[str, ...]:
    own = enrolled.server_id
    queue = f"server.{own}"
    return (queue, f"_kombu.binding.{queue}", f"_kombu.binding_permanent.{queue}")


def fill_keys(broker: LocalValkey, enrolled: EnrolledServer) -> None:
    queue, binding, permanent = keys_of(enrolled)
    with redis.Redis.from_url(broker.url(ADMIN)) as admin:
        admin.lpush(queue, MESSAGE)
        admin.sadd(binding, MESSAGE)
        admin.sadd(permanent, MESSAGE)


@contextmanager
def clients(
    broker: LocalValkey, enrolled: EnrolledServer
) -> Iterator[tuple[redis.Redis, redis.Redis]]:
    with redis.Redis.from_url(broker.url(ADMIN)) as admin, connect(broker, enrolled) as client:
        yield admin, client


# At the broker


async def test_no_command_reaches_a_key_of_another_server(
    plane: Plane, pair: tuple[EnrolledServer, EnrolledServer]
) -> None:
    thief, other = pair
    with clients(plane.broker, thief) as (admin, client):
        before = {key: admin.dump(key) for key in keys_of(other)}
        commands = permitted(admin, thief.server_id)
        taken = [
            (name, key)
            for name in sorted(commands - KEYLESS)
            for key in keys_of(other)
            for words in [SHAPES.get(name, ["{key}"])]
            if obeys(client, name, *(word.format(key=key) for word in words))
        ]

        assert taken == []
        assert {key: admin.dump(key) for key in keys_of(other)} == before
        assert all(before.values())


async def test_a_server_may_only_use_the_commands_that_its_worker_needs(
    plane: Plane, pair: tuple[EnrolledServer, EnrolledServer]
) -> None:
    with clients(plane.broker, pair[0]) as (admin, _):
        commands = permitted(admin, pair[0].server_id)

    assert commands == KEYLESS | SHAPES.keys()


async def test_a_server_may_run_no_script(
    plane: Plane, pair: tuple[EnrolledServer, EnrolledServer]
) -> None:
    with clients(plane.broker, pair[0]) as (_, client):
        assert not obeys(client, "SCRIPT", "LOAD", "return 1")
        assert not obeys(client, "EVAL", "return 1", "0")
        assert not obeys(client, "FCALL", "any", "0")


async def test_a_server_listens_to_nobody_and_commands_nobody(
    plane: Plane, pair: tuple[EnrolledServer, EnrolledServer]
) -> None:
    thief, other = pair
    with clients(plane.broker, thief) as (_, client):
        assert not obeys(client, "PSUBSCRIBE", "*")
        assert not obeys(client, "SUBSCRIBE", "/0.celeryev/task.multi")
        for channel in ("/0.celery.pidbox", f"server.{other.server_id}", "__redis__:invalidate"):
            assert not obeys(client, "PUBLISH", channel, "shutdown")
        assert not obeys(client, "AUTH", server_user(other.server_id), "any")
        assert not obeys(client, "CLIENT", "LIST")


def permitted(admin: redis.Redis, server_id: str) -> set[str]:
    """All commands of this broker, with their subcommands, that the server's user may use."""
    user = server_user(server_id)
    arities = dict(commands(admin.execute_command("COMMAND INFO")))  # type: ignore[no-untyped-call]
    assert len(arities) > 300
    return {name for name, arity in arities.items() if may_use(admin, user, name, arity)}


def commands(infos: list[Any]) -> Iterator[tuple[str, int]]:
    """Each command, or subcommand where there are some, and how many words it has at least."""
    for info in infos:
        name, arity, subcommands = info[0].decode(), abs(info[1]), info[9]
        if subcommands:
            yield from commands(subcommands)
        else:
            yield name, arity


def may_use(admin: redis.Redis, user: str, name: str, arity: int) -> bool:
    words = name.split("|")
    words += ["1"] * (arity - len(words))
    message = admin.execute_command("ACL DRYRUN", user, *words)  # type: ignore[no-untyped-call]
    return b"permissions to run the" not in message


def obeys(client: redis.Redis, *words: str) -> bool:
    """Return whether the broker did it, or failed for another reason than a missing right."""
    try:
        client.execute_command(*words)  # type: ignore[no-untyped-call]
    except (redis.exceptions.NoPermissionError, redis.AuthenticationError):
        return False
    except redis.ResponseError as error:
        return "ACL" not in str(error) and "permission" not in str(error)
    return True


# In the database


async def test_no_function_takes_a_job_of_another_server(
    plane: Plane, pair: tuple[EnrolledServer, EnrolledServer]
) -> None:
    world = plane.world
    thief, other = pair
    job_id = await dispatch_pull(world, other)
    unclaimed = await world.job(job_id)
    named = {"job_id": job_id, "attempt": 1}

    claimed = await thief.call("claim", "first", **named)
    answers = await forge(thief, named)
    assert (await other.call("claim", "first", **named))["status"] == "claimed"
    running = await world.job(job_id)
    later = await forge(thief, named)

    assert claimed["status"] == "fenced"
    assert [answer["status"] for answer in answers + later] == ["fenced", "fenced"] * 2
    assert unclaimed["state"] == "dispatched"
    assert await world.job(job_id) == running
    assert "secrets" not in claimed


async def forge(thief: EnrolledServer, named: dict[str, Any]) -> list[dict[str, Any]]:
    heartbeat = await thief.call("heartbeat", "first", jobs=[{**named, "progress": {"layers": {}}}])
    assert (heartbeat["status"], heartbeat["jobs"]) == ("current", [])
    return [
        await thief.call("event", "first", **named, kind="log", data={}),
        await thief.call("finish", "first", **named, outcome="succeeded", result={}),
    ]


async def test_a_server_cannot_say_hello_for_another(
    plane: Plane, pair: tuple[EnrolledServer, EnrolledServer]
) -> None:
    thief, other = pair

    answer = await thief.call(
        "register", "forged", predecessor="first", server_id=other.server_id, kinds=[], engine={}
    )

    assert answer["server_id"] == thief.server_id
    assert (await other.call("heartbeat", "first"))["status"] == "current"


async def test_no_table_of_the_database_is_read_or_written(
    plane: Plane, pair: tuple[EnrolledServer, EnrolledServer]
) -> None:
    world = plane.world
    connection = await pair[0].connection()
    tables = await world.rows(
        "SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('public', 'worker_v1')"
    )

    for table in tables:
        name = sql.Identifier(table["schemaname"], table["tablename"])
        for statement in ("SELECT * FROM {}", "DELETE FROM {}", "INSERT INTO {} DEFAULT VALUES"):
            with pytest.raises(errors.InsufficientPrivilege):
                await connection.execute(sql.SQL(statement).format(name))
    assert len(tables) > 10


async def test_one_servers_password_is_not_anothers(
    plane: Plane, pair: tuple[EnrolledServer, EnrolledServer]
) -> None:
    thief, other = pair

    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        await psycopg.AsyncConnection.connect(
            other.url, user=other.role, password=thief.password.get_secret_value()
        )


# With its key


async def test_a_login_of_another_server_does_not_open(
    plane: Plane, pair: tuple[EnrolledServer, EnrolledServer], tmp_path: Path
) -> None:
    world = plane.world
    thief, other = pair
    job_id = await dispatch_pull(world, other)
    claimed = await other.call("claim", "first", job_id=job_id, attempt=1)
    [secret] = claimed["secrets"]
    state = StateDirectory.open(tmp_path / "thief")
    try:
        for server_id in (thief.server_id, other.server_id):
            context = login_context(
                organization_id=world.organization_id,
                job_id=job_id,
                attempt=1,
                server_id=server_id,
                hosts=[HOST],
            )
            with pytest.raises(CredentialError):
                state.key_ring().open(secret["sealed"], context)
    finally:
        state.close()
    assert PASSWORD not in json.dumps(claimed)


async def dispatch_pull(world: World, enrolled: EnrolledServer) -> str:
    """A job with a login; released by the control that runs."""
    registry_id = await world.add_registry()
    command = PULL.model_copy(update={"registry_id": registry_id})
    job_id = await world.submit(enrolled, command, registry_id=registry_id)

    async def is_dispatched() -> bool:
        return await world.state(job_id) == "dispatched"

    await wait_until(is_dispatched)
    return job_id
