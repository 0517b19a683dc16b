"""The test of a registry beside an Engine that is slow, away, or behind a proxy of its socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from shared.faults import FaultCode
from shared.jobs.commands import RegistryTest
from shared.jobs.diagnosis import Outcome, ProbeReport, Stage
from shared.reference import Reference
from tests.fakes.scripted_registry import ScriptedRegistry
from tests.fakes.web import Answer, Fake, open_fake, says
from tests.worker.engine.parts import open_scripted_engine
from tests.worker.oci.parts import ALLOWED, make_login, outcomes, stage
from tests.worker.parts import make_tools
from worker.engine.transport.connection import Engine
from worker.jobs.attempt import NegativeResultError
from worker.jobs.engine_view import EngineView
from worker.jobs.tools import Tools
from worker.local.namespaces import Namespace
from worker.login import Grant, Grants
from worker.registries.diagnosis import run_test

FORBIDDEN = says(
    403,
    text="<html><body><h1>403 Forbidden</h1>\nRequest forbidden by administrative rules.\n"
    "</body></html>",
    kind="text/html",
)


async def _never(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    return web.Response()


class ScriptedEngine:
    """An Engine that lists private networks as insecure, until ``info`` is set."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.info: Answer | None = None
        self.ping: Answer = says(200, text="OK")
        self.auth: Answer = says(200, text='{"Status":"Login Succeeded"}', kind="application/json")

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.paths.append(request.path.rpartition("/")[2])
        if request.path.endswith("/auth"):
            return await self.auth(request)
        if request.path.endswith("/_ping"):
            return await self.ping(request)
        if request.path.endswith("/info"):
            listed = {"RegistryConfig": {"InsecureRegistryCIDRs": ["10.0.0.0/8"]}}
            return await self.info(request) if self.info else web.json_response(listed)
        return web.json_response({"message": "not here"}, status=404)


@pytest.fixture
def scripted() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
async def tools(scripted: ScriptedEngine, tmp_path: Path) -> AsyncIterator[Tools]:
    async with (
        open_scripted_engine(tmp_path, scripted.answer) as opened,
        Engine.open(opened.docker_host) as engine,
    ):
        made = make_tools(engine, "loopback,private", tmp_path)
        yield replace(made, engine_view=EngineView(first_seconds=0.3, again_seconds=0.3))
        await made.clean_ups.finish()


@asynccontextmanager
async def _open_registry(listen: str = "127.0.0.1") -> AsyncIterator[Fake]:
    async with open_fake(ScriptedRegistry().answer, listen=listen) as fake:
        yield fake


async def _test(host: str, tools: Tools) -> ProbeReport:
    grant = Grant(login=make_login(host), repository="team/app", rights=frozenset({"pull", "push"}))
    command = RegistryTest(host=host, username="alice", repository="team/app")
    return await run_test(command, Grants(grants=(grant,)), tools, engine_seconds=1.0)


async def test_the_engine_logs_in_too(tools: Tools) -> None:
    async with _open_registry() as fake:
        report = await _test(fake.host, tools)

    assert outcomes(report)[Stage.ENGINE] is Outcome.OK


async def test_a_proxy_before_the_socket_that_refuses_auth_skips_the_stage(
    tools: Tools, scripted: ScriptedEngine
) -> None:
    scripted.auth = FORBIDDEN

    async with _open_registry() as fake:
        report = await _test(fake.host, tools)

    result = stage(report, Stage.ENGINE)
    assert result.outcome is Outcome.SKIPPED and "POST /auth" in result.evidence
    assert "Docker on this server logs in there too" in report.not_verified


async def test_an_engine_that_hangs_fails_no_test(tools: Tools, scripted: ScriptedEngine) -> None:
    scripted.auth = scripted.info = scripted.ping = _never

    async with _open_registry() as fake:
        report = await _test(fake.host, tools)

    result = stage(report, Stage.ENGINE)
    assert (result.outcome, result.code) == (Outcome.WARNING, FaultCode.ENGINE_UNREACHABLE)
    assert "not asked" in result.evidence


async def test_an_engine_that_does_not_tell_its_settings_may_still_log_in(
    tools: Tools, scripted: ScriptedEngine
) -> None:
    scripted.info = _never

    async with _open_registry() as fake:
        report = await _test(fake.host, tools)

    assert outcomes(report)[Stage.ENGINE] is Outcome.OK


async def test_an_engine_that_cannot_reach_the_registry_fails_the_test(
    tools: Tools, scripted: ScriptedEngine
) -> None:
    scripted.auth = _never

    async with _open_registry() as fake:
        with pytest.raises(NegativeResultError) as caught:
            await _test(fake.host, tools)

    fault = caught.value.fault()
    assert (fault.code, fault.stage) == (FaultCode.CONN_TIMEOUT, Stage.ENGINE)


async def test_a_login_that_the_engine_cannot_make_fails_the_test(
    tools: Tools, scripted: ScriptedEngine
) -> None:
    text = '{"message":"Get \\"https://r/v2/\\": x509: certificate signed by unknown authority"}'
    scripted.auth = says(500, text=text, kind="application/json")

    async with _open_registry() as fake:
        with pytest.raises(NegativeResultError) as caught:
            await _test(fake.host, tools)

    fault = caught.value.fault()
    assert (fault.code, fault.stage) == (FaultCode.TLS_UNKNOWN_CA, Stage.ENGINE)


async def test_the_last_known_list_is_kept(
    tools: Tools, scripted: ScriptedEngine, namespace: Namespace
) -> None:
    async with _open_registry(namespace.our_address) as fake:
        before = await _test(fake.host, tools)
        scripted.info = _never
        after = await _test(fake.host, tools)

    assert "insecure" in stage(before, Stage.TLS).evidence
    assert "insecure" in stage(after, Stage.TLS).evidence


async def test_a_result_does_not_wait_until_the_upload_is_cancelled(tools: Tools) -> None:
    registry, may_end = ScriptedRegistry(), asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method == "DELETE":
            await may_end.wait()
        return await registry.answer(request)

    async with open_fake(answer) as fake:
        report = await _test(fake.host, tools)
        may_end.set()
        await tools.clean_ups.finish()

    assert "to be cancelled" in stage(report, Stage.PUSH).evidence
    assert [line.partition(" ")[0] for line in fake.lines].count("DELETE") == 1


async def test_the_engines_list_is_read_once_in_some_seconds(
    tools: Tools, scripted: ScriptedEngine
) -> None:
    async with _open_registry() as fake:
        for _ in range(3):
            await _test(fake.host, tools)

    assert scripted.paths.count("info") == 1


async def test_a_registry_that_was_just_added_to_the_engines_list_passes(
    tools: Tools, scripted: ScriptedEngine, namespace: Namespace
) -> None:
    scripted.info = says(200, text='{"RegistryConfig": {}}', kind="application/json")
    async with _open_registry(namespace.our_address) as fake:
        with pytest.raises(NegativeResultError) as before:
            await _test(fake.host, tools)
        scripted.info = None
        after = await _test(fake.host, tools)

    assert before.value.fault().code == FaultCode.TLS_NOT_OFFERED
    assert "insecure" in stage(after, Stage.TLS).evidence


@pytest.mark.parametrize("info", [_never, FORBIDDEN])
async def test_an_unknown_list_is_told_where_it_matters(
    info: Answer, tools: Tools, scripted: ScriptedEngine, namespace: Namespace
) -> None:
    scripted.info = info

    async with _open_registry(namespace.our_address) as fake:
        with pytest.raises(NegativeResultError) as caught:
            await _test(fake.host, tools)

    fault = caught.value.fault()
    assert (fault.code, fault.stage) == (FaultCode.ENGINE_UNREACHABLE, Stage.TLS)
    assert "insecure" in fault.message


async def test_a_test_pings_the_registry_once_for_itself_and_the_engine(tools: Tools) -> None:
    async with _open_registry() as fake:
        await _test(fake.host, tools)

    assert fake.lines.count("GET /v2/") == 1
    assert tools.destinations.is_known_safe(Reference(fake.host, "team/app", "1"), ALLOWED)


async def test_a_token_server_that_is_unsafe_for_the_engine_fails_the_test(tools: Tools) -> None:
    registry = ScriptedRegistry(
        challenge='Bearer realm="http://{{host}}/token", {}, Bearer realm="http://other.test/token"'
    )
    registry.auth = "bearer"
    async with open_fake(registry.answer) as fake:
        registry.challenge = registry.challenge.replace("{{host}}", fake.host)
        with pytest.raises(NegativeResultError) as caught:
            await _test(fake.host, tools)

    fault = caught.value.fault()
    assert (fault.code, fault.stage) == (FaultCode.AUTH_UNSAFE_REALM, Stage.AUTH)
    assert not tools.destinations.is_known_safe(Reference(fake.host, "team/app", "1"))
