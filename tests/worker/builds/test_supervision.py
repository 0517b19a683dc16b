"""A build whose Engine stops answering."""

import asyncio
from pathlib import Path

import pytest
from aiohttp import web

from shared.errors import EngineError
from shared.faults import FaultCode
from tests.worker.engine.parts import open_scripted_engine
from worker.builds.build import _supervised
from worker.engine.transport.connection import Engine


async def test_a_build_ends_when_its_engine_answers_no_ping_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.builds.build.PING_SECONDS", 0.02)

    async def hang_up(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def build() -> str:
        await asyncio.Event().wait()
        return ""

    async with (
        open_scripted_engine(tmp_path, hang_up) as scripted,
        Engine.open(scripted.docker_host) as engine,
    ):
        with pytest.raises(EngineError, match="stopped answering") as caught:
            await _supervised(engine, build())

    assert (caught.value.code, caught.value.retryable) == (FaultCode.ENGINE_UNREACHABLE, True)
