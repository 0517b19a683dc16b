"""Each server's own user at the broker: made from the database, restored, taken away."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import redis

from tests.waiting import wait_until
from tests.worker.control.plane import Plane
from tests.world import EnrolledServer, World
from worker.broker_users import ADMIN, SERVER_PREFIX, server_user
from worker.local.valkey import LocalValkey


def connect(broker: LocalValkey, server: EnrolledServer) -> redis.Redis:
    password = server.broker_password.get_secret_value()
    login = f"://{server_user(server.server_id)}:{password}@"
    return redis.Redis.from_url(broker.network_url().replace("://", login))


def is_let_in(broker: LocalValkey, server: EnrolledServer) -> bool:
    with connect(broker, server) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False


async def wait_for(condition: Callable[[], bool], *, seconds: float = 10) -> None:
    async def holds() -> bool:
        return condition()

    await wait_until(holds, seconds=seconds)


async def test_a_server_is_let_in_with_its_own_password_before_it_can_say_hello(
    plane: Plane,
) -> None:
    server = await plane.world.enrol_server()

    async def has_role() -> bool:
        return bool(await plane.world.rows("SELECT 1 FROM server WHERE role_ready_at IS NOT NULL"))

    async with plane.open_control(makes_users=True):
        await wait_until(has_role)

    with connect(plane.broker, server) as client:
        assert client.brpop([f"server.{server.server_id}"], timeout=0.01) is None


async def test_a_removed_server_is_cut_off(plane: Plane) -> None:
    server, other = await plane.world.add_server(), await plane.world.add_server()
    clients = [connect(plane.broker, one) for one in (server, other)]

    async with plane.open_control(makes_users=True):
        await wait_for(lambda: all(is_let_in(plane.broker, one) for one in (server, other)))
        assert all(client.ping() for client in clients)
        await plane.world.api.execute(
            "UPDATE server SET removed_at = now() WHERE server_id = %s", (server.server_id,)
        )
        await wait_for(lambda: not is_let_in(plane.broker, server))

    assert users_connected(plane.broker) == {server_user(other.server_id)}
    for client in clients:
        client.close()


def users_connected(broker: LocalValkey) -> set[str]:
    """The servers' users that have a connection."""
    with redis.Redis.from_url(broker.url(ADMIN)) as admin:
        users = {str(client["user"]) for client in admin.client_list()}
    return {user for user in users if user.startswith(SERVER_PREFIX)}


async def test_a_broker_that_was_emptied_knows_its_servers_within_a_moment(
    world: World, tmp_path: Path
) -> None:
    broker = LocalValkey.start(tmp_path / "valkey")
    plane = Plane(world, broker)
    server = await world.add_server()

    async with plane.open_control(makes_users=True):
        await wait_for(partial(is_let_in, broker, server))
        plane.lose_messages()
        assert is_let_in(broker, server)
        broker.kill()
        again = LocalValkey.start(tmp_path / "valkey", port=broker.port)
        await wait_for(partial(is_let_in, again, server), seconds=3)

    again.stop()


async def test_rights_that_somebody_gave_by_hand_are_taken_back(plane: Plane) -> None:
    server = await plane.world.add_server()
    name = server_user(server.server_id)

    async with plane.open_control(makes_users=True) as control:
        await wait_for(partial(is_let_in, plane.broker, server))
        with redis.Redis.from_url(plane.broker.url(ADMIN)) as admin:
            admin.execute_command("ACL SETUSER", name, "+@all", "~*")
            users = control.broker_users
            assert users is not None

            def is_denied_a_minute_later() -> bool:
                users.set_again_at = 0
                return is_denied(client, "KEYS", "*")

            with connect(plane.broker, server) as client:
                await wait_for(is_denied_a_minute_later)


def is_denied(client: redis.Redis, *command: str) -> bool:
    try:
        client.execute_command(*command)  # type: ignore[no-untyped-call]
    except redis.exceptions.NoPermissionError:
        return True
    return False


async def test_users_that_are_nobodys_here_are_left_alone(plane: Plane) -> None:
    server = await plane.world.add_server()
    with redis.Redis.from_url(plane.broker.url(ADMIN), decode_responses=True) as admin:
        admin.execute_command("ACL SETUSER", "server-of-others", "on")

        async with plane.open_control(makes_users=True):
            await wait_for(partial(is_let_in, plane.broker, server))

        assert "server-of-others" in admin.acl_users()


async def test_a_server_that_enrolled_without_a_password_gets_no_user(plane: Plane) -> None:
    old, new = await plane.world.add_server(), await plane.world.add_server()
    await plane.world.owner.execute(
        "UPDATE server_enrolment SET broker_hash = NULL WHERE server_id = %s", (old.server_id,)
    )

    async with plane.open_control(makes_users=True):
        await wait_for(partial(is_let_in, plane.broker, new))

    with redis.Redis.from_url(plane.broker.url(ADMIN), decode_responses=True) as admin:
        assert server_user(old.server_id) not in admin.acl_users()


async def test_control_goes_on_while_the_broker_is_away(world: World, tmp_path: Path) -> None:
    broker = LocalValkey.start(tmp_path / "valkey")
    plane = Plane(world, broker)

    async with plane.open_control(makes_users=True):
        broker.kill()
        server = await world.enrol_server()

        async def has_role() -> bool:
            return bool(await world.rows("SELECT 1 FROM server WHERE role_ready_at IS NOT NULL"))

        await wait_until(has_role)

    assert (await server.register("first"))["status"] == "current"
