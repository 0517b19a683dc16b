"""A connection to an Engine: versions, limits, malformed responses; scripted and real Engines."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from pydantic import JsonValue

from shared.errors import EngineError, SetupError
from shared.faults import FaultCode
from tests.worker.engine.parts import open_scripted_engine
from worker.engine import containers
from worker.engine.swarm import services
from worker.engine.transport.connection import Engine
from worker.engine.transport.stream import JsonLines
from worker.local.engines import LocalEngine

LONG_LINE_BYTES = 5 * 1024 * 1024
SOON = timedelta(milliseconds=300)


async def test_a_real_engine_describes_itself(engine: Engine, local_engine: LocalEngine) -> None:
    await engine.ping()
    version = await engine.version()
    info = await engine.info()

    assert (version.os, version.architecture) == (info.os, info.architecture)
    assert info.os == "linux"
    assert "_" not in info.architecture
    assert info.engine_version == version.engine
    assert info.api_version == min(version.api, "1.51", key=lambda api: int(api[2:]))
    assert (info.oldest_api_version, info.newest_api_version) == (version.minimum_api, version.api)
    assert info.image_store in {"graph", "containerd"}
    assert info.storage_driver
    assert "10.77.0.0/16" in info.insecure_registries
    assert info.data_root == str(local_engine.directory / "data")
    assert info.name


async def test_an_engine_is_reached_over_tcp_too(local_engine: LocalEngine, tmp_path: Path) -> None:
    path = local_engine.docker_host.removeprefix("unix://")
    writers = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inside_reader, inside_writer = await asyncio.open_unix_connection(path)
        writers.extend([writer, inside_writer])
        inside_writer.write(await reader.readuntil(b"\r\n\r\n"))
        writer.write(await inside_reader.read(65536))
        await writer.drain()

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    async with Engine.open(f"tcp://127.0.0.1:{port}") as engine:
        await engine.ping()

    server.close()
    for writer in writers:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("docker_host", ["", "/var/run/docker.sock", "ssh://x", "unix://relative"])
async def test_other_addresses_are_refused(docker_host: str) -> None:
    with pytest.raises(SetupError, match="DOCKER_HOST"):
        Engine.open(docker_host)


async def test_an_absent_engine_is_unreachable_and_retryable(
    tmp_path: Path,
) -> None:
    async with Engine.open(f"unix://{tmp_path}/none.sock") as engine:
        with pytest.raises(EngineError) as caught:
            await engine.version()
        with pytest.raises(EngineError) as caught_streaming:
            async with engine.stream("GET", "events", idle=SOON):
                pass

    assert caught.value.code == caught_streaming.value.code == FaultCode.ENGINE_UNREACHABLE
    assert caught.value.retryable


async def test_twenty_concurrent_first_calls_request_the_version_once(tmp_path: Path) -> None:
    async with (
        open_scripted_engine(tmp_path, _empty) as scripted,
        Engine.open(scripted.docker_host) as engine,
    ):
        await asyncio.gather(*(engine.request("GET", "images/json") for _ in range(20)))

    assert scripted.count_version_requests() == 1
    assert scripted.requested_paths.count("/v1.41/images/json") == 20


async def test_the_newest_tested_api_version_is_the_newest_used(tmp_path: Path) -> None:
    async with (
        open_scripted_engine(tmp_path, _empty) as scripted,
        Engine.open(scripted.docker_host) as engine,
    ):
        scripted.api = "1.99"
        await engine.request("GET", "images/json")

    assert scripted.requested_paths[-1] == "/v1.51/images/json"


async def test_a_downgraded_engine_is_asked_for_its_version_again(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.startswith(f"/v{scripted.api}/"):
            return web.json_response([])
        words = f"client version 1.51 is too new. Maximum supported API version is {scripted.api}"
        return web.json_response({"message": words}, status=400)

    async with (
        open_scripted_engine(tmp_path, answer) as scripted,
        Engine.open(scripted.docker_host) as engine,
    ):
        scripted.api = "1.51"
        await engine.request("GET", "images/json")
        scripted.api = "1.41"
        await engine.request("GET", "images/json")

    assert scripted.count_version_requests() == 2
    assert scripted.requested_paths[-1] == "/v1.41/images/json"


async def test_a_streamed_body_is_not_sent_twice(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        await request.read()
        return web.json_response({"message": "client version 1.41 is too new."}, status=400)

    async def body() -> AsyncIterator[bytes]:
        yield b"tar"

    async with (
        open_scripted_engine(tmp_path, answer) as scripted,
        Engine.open(scripted.docker_host) as engine,
    ):
        with pytest.raises(EngineError) as caught:
            async with engine.stream("POST", "build", data=body(), idle=SOON):
                pass

    assert caught.value.code == FaultCode.ENGINE_API_VERSION
    assert scripted.requested_paths.count("/v1.41/build") == 1


async def test_an_engine_that_no_longer_supports_our_api_is_reported(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response({})

    async with (
        open_scripted_engine(tmp_path, answer) as scripted,
        Engine.open(scripted.docker_host) as engine,
    ):
        scripted.api, scripted.minimum_api = "1.70", "1.60"
        with pytest.raises(EngineError, match=r"requires API 1\.60 or newer") as caught:
            await engine.request("GET", "images/json")

    assert caught.value.code == FaultCode.ENGINE_API_VERSION


async def test_a_line_of_five_megabytes_is_read(tmp_path: Path) -> None:
    document = json.dumps({"stream": "x" * LONG_LINE_BYTES}).encode() + b"\n"

    async def answer(request: web.Request) -> web.StreamResponse:
        return await _stream(request, document, b'{"stream": "end"}\n')

    async with (
        open_scripted_engine(tmp_path, answer) as scripted,
        Engine.open(scripted.docker_host) as engine,
        engine.stream("POST", "build", idle=timedelta(seconds=5)) as lines,
    ):
        seen = [line["stream"] async for line in lines]

    assert [len(str(text)) for text in seen] == [LONG_LINE_BYTES, 3]


async def test_a_stream_that_breaks_off_is_truncated(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = await _begin(request, b'{"status": "Downloading"}\n')
        assert request.transport is not None
        request.transport.abort()
        return response

    async with (
        open_scripted_engine(tmp_path, answer) as scripted,
        Engine.open(scripted.docker_host) as engine,
        engine.stream("POST", "images/create", idle=SOON) as lines,
    ):
        with pytest.raises(EngineError) as caught:
            _ = [line async for line in lines]

    assert caught.value.code == FaultCode.ENGINE_STREAM_TRUNCATED
    assert caught.value.retryable


@pytest.mark.parametrize("begins", [True, False], ids=["after a line", "before any answer"])
async def test_a_stream_that_stalls_fails(tmp_path: Path, begins: bool) -> None:  # noqa: FBT001 - a case
    async def answer(request: web.Request) -> web.StreamResponse:
        if begins:
            await _begin(request, b'{"status": "Downloading"}\n')
        await asyncio.Event().wait()
        return web.Response()

    async with (
        open_scripted_engine(tmp_path, answer) as scripted,
        Engine.open(scripted.docker_host) as engine,
    ):
        with pytest.raises(EngineError) as caught:
            async with engine.stream("POST", "images/create", idle=SOON) as lines:
                _ = [line async for line in lines]

    assert caught.value.code == FaultCode.ENGINE_STALLED


async def test_a_limit_of_whole_seconds_is_a_limit(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        return web.Response()

    async with (
        open_scripted_engine(tmp_path, answer) as scripted,
        Engine.open(scripted.docker_host) as engine,
    ):
        async with asyncio.timeout(3):
            with pytest.raises(EngineError, match="within 1 s") as caught:
                await engine.request("GET", "info", limit=timedelta(seconds=1))

    assert caught.value.code == FaultCode.ENGINE_UNREACHABLE


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"<html>", "text/html", 200),
        (b"{", "application/json", 200),
        (b"{}", "application/json", 200),
        (b"{}", "application/json", 500),
        (b"no", "application/json", 502),
        (b"\xff\xfe", "text/plain", 500),
    ],
)
async def test_a_server_that_is_not_an_engine_is_an_error_with_a_code(
    tmp_path: Path, body: bytes, content_type: str, status: int
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type=content_type, status=status)

    async with (
        open_scripted_engine(tmp_path, answer) as scripted,
        Engine.open(scripted.docker_host) as engine,
    ):
        scripted.is_sane = False
        with pytest.raises(EngineError):
            await engine.version()


@pytest.mark.parametrize("content", [{}, [{}], [{"ID": "1", "Version": {"Index": 1}, "Spec": {}}]])
@pytest.mark.parametrize("ask", [containers.find, services.find])
async def test_a_list_of_another_shape_is_an_error_with_a_code(
    tmp_path: Path, ask: Callable[..., Awaitable[object]], content: JsonValue
) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response(content)

    async with (
        open_scripted_engine(tmp_path, answer) as scripted,
        Engine.open(scripted.docker_host) as engine,
    ):
        with pytest.raises(EngineError) as caught:
            await ask(engine, "label", "value")

    assert caught.value.code == FaultCode.ENGINE_REFUSED


async def test_a_hundred_open_streams_do_not_delay_a_call(engine: Engine) -> None:
    async with AsyncExitStack() as stack:
        streams = [engine.stream("GET", "events", idle=timedelta(seconds=30)) for _ in range(120)]
        await asyncio.gather(*(_open_events(stack, stream) for stream in streams))
        async with asyncio.timeout(3):
            await asyncio.gather(engine.version(), _one_more_stream(engine))


async def test_a_frozen_engine_is_unreachable_until_it_continues(own_engine: LocalEngine) -> None:
    async with Engine.open(own_engine.docker_host) as engine:
        await engine.version()
        own_engine.freeze()
        try:
            with pytest.raises(EngineError) as caught:
                await engine.request("GET", "images/json", limit=timedelta(seconds=1))
        finally:
            own_engine.thaw()
        await engine.ping()

    assert caught.value.code == FaultCode.ENGINE_UNREACHABLE
    assert caught.value.retryable


async def _empty(request: web.Request) -> web.StreamResponse:
    return web.json_response([])


async def _begin(request: web.Request, *chunks: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    for chunk in chunks:
        await response.write(chunk)
    return response


async def _stream(request: web.Request, *chunks: bytes) -> web.StreamResponse:
    response = await _begin(request, *chunks)
    await response.write_eof()
    return response


async def _open_events(
    stack: AsyncExitStack, stream: AbstractAsyncContextManager[JsonLines]
) -> None:
    await stack.enter_async_context(stream)


async def _one_more_stream(engine: Engine) -> None:
    async with engine.stream("GET", "events", idle=timedelta(seconds=3)):
        pass
