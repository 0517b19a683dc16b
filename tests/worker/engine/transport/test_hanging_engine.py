"""A transfer that stands still, beside an Engine that answers or hangs itself."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web

from shared.errors import EngineError
from shared.faults import FaultCode
from shared.reference import Reference
from tests.worker.engine.parts import open_scripted_engine
from tests.worker.engine.test_images import ignore
from worker.engine import images
from worker.engine.transport.connection import Engine

SOON = timedelta(seconds=0.2)
APP = Reference("r.example", "team/app", "1")


@pytest.mark.parametrize(
    ("hangs", "code"),
    [(False, FaultCode.ENGINE_STALLED), (True, FaultCode.ENGINE_UNREACHABLE)],
)
@pytest.mark.parametrize(("verb", "transfer"), [("pull", images.pull), ("push", images.push)])
async def test_a_transfer_that_stands_still_is_told_from_an_engine_that_hangs(
    tmp_path: Path,
    verb: str,
    transfer: Callable[..., Awaitable[object]],
    code: FaultCode,
    *,
    hangs: bool,
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/_ping" and not hangs:
            return web.Response(text="OK")
        if request.path == "/_ping":
            assert request.transport is not None
            request.transport.abort()
        await asyncio.Event().wait()
        return web.Response()

    async with (
        open_scripted_engine(tmp_path, answer) as scripted,
        Engine.open(scripted.docker_host) as engine,
    ):
        with pytest.raises(EngineError) as caught:
            await transfer(engine, APP, None, ignore, SOON)

    assert (caught.value.code, caught.value.retryable) == (code, True)
    assert caught.value.message.startswith(f"cannot {verb} {APP}: ")
