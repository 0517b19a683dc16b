"""Streams in which an Engine repeats the same state while nothing moves; scripted Engines."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web

from shared.errors import EngineError
from shared.faults import FaultCode
from shared.reference import Reference
from tests.worker.engine.parts import Answer, open_scripted_engine
from worker.engine import images
from worker.engine.builds.builder import BuildRequest, build
from worker.engine.builds.files import BuildFiles
from worker.engine.builds.protobuf import write_bytes, write_number
from worker.engine.transport.connection import Engine
from worker.progress import TransferProgress

IDLE = timedelta(milliseconds=400)
APP = Reference("registry.example:5000", "team/app", "1")

# Recorded from Engine 28.5 with the containerd image store, while its registry stood still: these
# two lines ten times a second.
PUSHING = (
    b'{"status":"Pushing","progressDetail":{"current":8388608,"total":12011520},"progress":'
    b'"[==================>      ]  8.389MB/12.01MB","id":"11cd2adceb27"}\r\n'
    b'{"status":"Pushing","progressDetail":{"current":4194304,"total":12011520},"progress":'
    b'"[=========>               ]  4.194MB/12.01MB","id":"e11375195737"}\r\n'
)
PULLING = PUSHING.replace(b"Pushing", b"Downloading")


@pytest.mark.parametrize(
    ("transfer", "lines"), [(images.pull, PULLING), (images.push, PUSHING)], ids=["pull", "push"]
)
async def test_a_transfer_that_repeats_its_state_has_stalled(
    tmp_path: Path, transfer: Callable[..., object], lines: bytes
) -> None:
    answer = repeat(lambda: lines)

    async with scripted_engine(tmp_path, answer) as engine, asyncio.timeout(10):
        with pytest.raises(EngineError) as caught:
            await transfer(engine, APP, None, ignore, IDLE)  # type: ignore[misc]

    assert caught.value.code == FaultCode.ENGINE_STALLED
    assert caught.value.retryable


async def test_a_slow_transfer_has_not_stalled(tmp_path: Path) -> None:
    counts = iter(range(1, 10))
    lines = (
        b'{"status":"Downloading","progressDetail":{"current":%d,"total":99},"id":"a"}\n' % count
        for count in counts
    )
    answer = repeat(lambda: next(lines, None), seconds=0.15)

    async with scripted_engine(tmp_path, answer) as engine:
        with pytest.raises(EngineError) as caught:
            await images.pull(engine, APP, None, ignore, IDLE)

    assert caught.value.code == FaultCode.ENGINE_STREAM_TRUNCATED, "the script ends, unstalled"


async def test_a_build_that_repeats_the_progress_of_its_base_has_stalled(tmp_path: Path) -> None:
    moments = iter(range(1, 1_000_000))
    answer = repeat(lambda: trace(next(moments)))
    request = BuildRequest(APP, use_buildkit=True)
    (tmp_path / "context.tar").write_bytes(bytes(1024))
    files = BuildFiles(tmp_path / "context.tar", b"FROM scratch\n")

    async with scripted_engine(tmp_path, answer) as engine, asyncio.timeout(10):
        with pytest.raises(EngineError) as caught:
            await build(engine, request, files, [], on_line=ignore, idle=IDLE)

    assert caught.value.code == FaultCode.ENGINE_STALLED


@asynccontextmanager
async def scripted_engine(directory: Path, answer: Answer) -> AsyncIterator[Engine]:
    """Open a connection to a scripted Engine."""
    async with (
        open_scripted_engine(directory, answer) as scripted,
        Engine.open(scripted.docker_host) as engine,
    ):
        yield engine


def trace(seconds: int) -> bytes:
    """A line of BuildKit; the time of the report (field 6) is another one each time."""
    layer = write_bytes(1, b"sha256:1b930d010525") + write_bytes(2, b"sha256:77")
    moved = write_number(4, 1_048_576) + write_number(5, 12_000_000)
    status = layer + write_bytes(3, b"downloading") + moved
    message = write_bytes(2, status + write_bytes(6, write_number(1, seconds)))
    return b'{"id":"moby.buildkit.trace","aux":"%s"}\n' % base64.b64encode(message)


def repeat(make_lines: Callable[[], bytes | None], seconds: float = 0.02) -> Answer:
    """Answer every long call with these lines, over and over."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/session"):
            return web.json_response({"message": "not here"}, status=404)
        if request.path.endswith("/_ping"):
            return web.Response(text="OK")
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        while (lines := make_lines()) is not None:
            await response.write(lines)
            await asyncio.sleep(seconds)
        return response

    return answer


def ignore(_: TransferProgress | str) -> None:
    """Take a line or progress."""
