"""The Engine's list of insecure registries, as it is last known."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from shared.networks import parse_networks
from tests.waiting import wait_until
from tests.worker.engine.parts import open_scripted_engine
from worker.engine.transport.connection import Engine
from worker.engine.transport.information import EngineInfo
from worker.jobs.engine_view import RECENT_SECONDS, EngineView
from worker.oci.transport.settings import ConnectionSettings

NETWORKS = parse_networks("loopback")


class SlowEngine:
    """An Engine that answers ``/info`` once ``may_answer`` is set."""

    def __init__(self) -> None:
        self.asked = 0
        self.may_answer = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if not request.path.endswith("/info"):
            return web.json_response({"message": "not here"}, status=404)
        self.asked += 1
        await self.may_answer.wait()
        return web.json_response({"RegistryConfig": {"InsecureRegistryCIDRs": ["10.0.0.0/8"]}})


@pytest.fixture
def slow() -> SlowEngine:
    return SlowEngine()


@pytest.fixture
async def engine(slow: SlowEngine, tmp_path: Path) -> AsyncIterator[Engine]:
    async with (
        open_scripted_engine(tmp_path, slow.answer) as opened,
        Engine.open(opened.docker_host) as engine,
    ):
        yield engine
        slow.may_answer.set()


async def test_all_who_ask_at_once_share_one_answer(slow: SlowEngine, engine: Engine) -> None:
    view = EngineView()
    asking = [asyncio.create_task(view.settings(engine, NETWORKS)) for _ in range(10)]
    await wait_until(lambda: slow.asked == 1)
    slow.may_answer.set()

    found = await asyncio.gather(*asking)

    assert slow.asked == 1
    assert all("10.0.0.0/8" in settings.insecure for settings in found)


class AnnouncingEngine(Engine):
    """An Engine that wakes others in the moment in which its settings are known."""

    answered: asyncio.Event

    async def info(self) -> EngineInfo:
        info = await super().info()
        self.answered.set()
        return info


async def test_the_list_is_known_to_one_who_asks_in_the_moment_of_the_first_answer(
    slow: SlowEngine, engine: Engine
) -> None:
    view = EngineView()
    announcing = AnnouncingEngine(engine.docker_host)
    announcing.answered = asyncio.Event()

    async def ask_at_the_answer() -> ConnectionSettings:
        await announcing.answered.wait()
        return await view.settings(announcing, NETWORKS)

    async with announcing:
        late = asyncio.create_task(ask_at_the_answer())
        first = asyncio.create_task(view.settings(announcing, NETWORKS))
        slow.may_answer.set()
        found = await asyncio.gather(first, late)

    assert slow.asked == 1
    assert all("10.0.0.0/8" in settings.insecure for settings in found)


async def test_a_late_answer_is_kept_for_the_next_one(slow: SlowEngine, engine: Engine) -> None:
    view = EngineView(first_seconds=0.1, again_seconds=5)

    before = await view.settings(engine, NETWORKS)
    slow.may_answer.set()
    await wait_until(lambda: view.known is not None)
    after = await view.settings(engine, NETWORKS)

    assert "did not answer" in before.engine_problem and not before.insecure
    assert not after.engine_problem and "10.0.0.0/8" in after.insecure


async def test_the_last_answer_counts_while_the_engine_is_away(
    slow: SlowEngine, engine: Engine
) -> None:
    view = EngineView(again_seconds=0.1)
    slow.may_answer.set()
    await view.settings(engine, NETWORKS)
    slow.may_answer.clear()

    settings = await view.settings(engine, NETWORKS)

    assert not settings.engine_problem and "10.0.0.0/8" in settings.insecure


async def test_an_answer_is_recent_for_some_seconds(slow: SlowEngine, engine: Engine) -> None:
    now = 100.0
    view = EngineView(clock=lambda: now)
    before = view.recent(NETWORKS)
    slow.may_answer.set()
    await view.settings(engine, NETWORKS)

    soon = view.recent(NETWORKS)
    now += RECENT_SECONDS + 0.1
    late = view.recent(NETWORKS)

    assert (before, late) == (None, None)
    assert soon is not None and "10.0.0.0/8" in soon.insecure
