"""How control sees the broker, and tells the API."""

from pathlib import Path

import redis

from tests.waiting import wait_until
from tests.worker.control.plane import Plane
from tests.world import World
from worker.broker_users import ADMIN
from worker.control.access.broker_state import (
    BrokerState,
    judge_memory,
    observe_broker,
    open_broker,
)
from worker.local.valkey import LocalValkey


def test_a_broker_is_full_before_it_refuses_messages() -> None:
    assert judge_memory(89, 100) == BrokerState(None, 0.89)
    assert judge_memory(91, 100) == BrokerState("full", 0.91)
    assert judge_memory(91, 0) == BrokerState()


async def test_the_state_of_the_broker_is_in_the_database(world: World, tmp_path: Path) -> None:
    broker = LocalValkey.start(tmp_path / "valkey")
    plane = Plane(world, broker)

    async def has_error(error: str | None) -> bool:
        rows = await world.rows("SELECT broker_error, broker_memory FROM control")
        return bool(rows) and rows[0]["broker_error"] == error

    async with plane.open_control(makes_users=True):
        await wait_until(lambda: has_error(None))
        with redis.Redis.from_url(broker.url(ADMIN)) as admin:
            admin.config_set("maxmemory", "1mb")
        await wait_until(lambda: has_error("full"))
        broker.kill()
        await wait_until(lambda: has_error("away"), seconds=20)


async def test_control_may_ask_with_its_own_user(broker: LocalValkey) -> None:
    async with open_broker(broker.url("control")) as client:
        state = await observe_broker(client)

    assert state.error is None
    assert state.memory is not None
    assert state.memory < 0.5


async def test_a_user_that_may_not_ask_is_no_error(broker: LocalValkey) -> None:
    async with open_broker(broker.url("api")) as client:
        assert await observe_broker(client) == BrokerState()
