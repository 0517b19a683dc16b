"""The finished stages of a test are the progress of its attempt, unless it is quick."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web

from shared.jobs.commands import RegistryTest
from shared.jobs.diagnosis import Outcome, Stage, StageResult
from tests.fakes.scripted_registry import ScriptedRegistry
from tests.fakes.web import open_fake
from tests.waiting import wait_until
from tests.worker.engine.parts import open_scripted_engine
from tests.worker.oci.parts import make_login
from tests.worker.parts import make_tools
from worker.engine.transport.connection import Engine
from worker.jobs.attempt import Attempt
from worker.jobs.tools import Tools
from worker.login import Grant, Grants
from worker.registries.live_test import run_live_test, showing_stages


class SlowEngine:
    """An Engine whose login is answered once it may be."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/auth"):
            await self.may_answer.wait()
            return web.json_response({"Status": "Login Succeeded"})
        return web.json_response({"RegistryConfig": {"InsecureRegistryCIDRs": ["127.0.0.0/8"]}})


@pytest.fixture
def slow() -> SlowEngine:
    return SlowEngine()


@pytest.fixture
async def tools(slow: SlowEngine, tmp_path: Path) -> AsyncIterator[Tools]:
    async with (
        open_scripted_engine(tmp_path, slow.answer) as opened,
        Engine.open(opened.docker_host) as engine,
    ):
        made = make_tools(engine, "loopback,private", tmp_path)
        yield made
        await made.clean_ups.finish()


def shown(attempt: Attempt) -> list[str]:
    return [each["stage"] for each in (attempt.progress or {}).get("stages", ())]


async def test_a_slow_test_shows_the_stages_that_have_ended(tools: Tools, slow: SlowEngine) -> None:
    reports: list[list[str]] = []
    attempt = Attempt("job", 1, on_progress=lambda: reports.append(shown(attempt)))
    async with open_fake(ScriptedRegistry().answer) as fake:
        rights = frozenset({"pull", "push"})
        grant = Grant(login=make_login(fake.host), repository="team/app", rights=rights)
        command = RegistryTest(host=fake.host, username="alice", repository="team/app")
        running = asyncio.create_task(
            run_live_test(command, Grants(grants=(grant,)), attempt, tools)
        )
        await wait_until(lambda: shown(attempt)[-1:] == ["catalog"])
        slow.may_answer.set()
        report = await running

    assert reports[-1] == [each.stage for each in report.stages]
    assert [each.stage for each in report.stages][-1] is Stage.ENGINE


async def test_a_quick_test_shows_nothing() -> None:
    attempt = Attempt("job", 1)
    with showing_stages(attempt) as on_stage:
        on_stage(StageResult(stage=Stage.PARSE, outcome=Outcome.OK))

    assert attempt.progress is None


async def test_a_second_run_begins_with_its_first_stage() -> None:
    attempt = Attempt("job", 1)
    with showing_stages(attempt, quiet=timedelta(0)) as on_stage:
        for stage in (Stage.PARSE, Stage.POLICY, Stage.DNS, Stage.PARSE):
            on_stage(StageResult(stage=stage, outcome=Outcome.OK))
        await wait_until(lambda: shown(attempt) == ["parse"])
        on_stage(StageResult(stage=Stage.POLICY, outcome=Outcome.OK))

        assert shown(attempt) == ["parse", "policy"]
        attempt.reported_progress = attempt.progress

    assert not attempt.has_new_progress


async def test_progress_that_was_not_reported_by_the_end_is_left_to_the_report() -> None:
    attempt = Attempt("job", 1)
    with showing_stages(attempt, quiet=timedelta(0)) as on_stage:
        on_stage(StageResult(stage=Stage.PARSE, outcome=Outcome.OK))
        await wait_until(lambda: shown(attempt) == ["parse"])

    assert attempt.progress is None and not attempt.has_new_progress
