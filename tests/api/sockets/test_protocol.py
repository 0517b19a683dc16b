"""Clients on real sockets that do not go on, or whose requests can be read in two ways."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from types import SimpleNamespace

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from api.__main__ import Server
from api.events.feed import Feeds
from api.events.waiter import Waiter
from api.sockets.connections import Connections, Patience
from tests.waiting import wait_until
from worker.local.processes import free_port, is_listening

SHORT = timedelta(milliseconds=100)
GET = b"GET / HTTP/1.1\r\nHost: api.test\r\n"
POST = b"POST / HTTP/1.1\r\nHost: api.test\r\n"
LARGE = 30_000_000
"""More than the kernel keeps of an answer."""


async def answer_nobody(_request: Request, _error: Exception) -> Response:
    return Response(status_code=499)


def make_app() -> Starlette:
    async def show(_request: Request) -> Response:
        return Response(b"shown")

    async def show_large(_request: Request) -> Response:
        return Response(bytes(LARGE))

    async def take(request: Request) -> Response:
        return Response(str(len(await request.body())))

    async def refuse(_request: Request) -> Response:
        return Response(status_code=401)

    app = Starlette(exception_handlers={ClientDisconnect: answer_nobody})
    app.add_route("/", show, methods=["GET"])
    app.add_route("/", take, methods=["POST"])
    app.add_route("/large", show_large, methods=["GET"])
    app.add_route("/early", refuse, methods=["POST"])
    return app


@asynccontextmanager
async def serving(
    *, limit: int = 100, patience: Patience | None = None
) -> AsyncIterator[tuple[Connections, int]]:
    connections = Connections(limit, limit, patience or Patience())
    app, port = make_app(), free_port()
    app.state.resources = SimpleNamespace(
        connections=connections,
        feeds=Feeds(None),  # type: ignore[arg-type]
        waiter=Waiter(),
    )
    config = uvicorn.Config(
        app, port=port, lifespan="off", log_config=None, ws="none", timeout_graceful_shutdown=1
    )
    server = Server(config, app)
    task = asyncio.create_task(server.serve())
    try:
        await wait_until(lambda: is_listening("127.0.0.1", port))
        yield connections, port
    finally:
        server.should_exit = True
        await task


async def message(port: int, *parts: bytes) -> bytes:
    """All that a connection answers to these bytes, up to its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
        async with asyncio.timeout(10):
            return await reader.read()
    except ConnectionResetError:
        return b"reset"
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", b""),
        (GET, b"HTTP/1.1 408"),
        (GET + b"\r\n" + b"G", b"HTTP/1.1 200"),
        (
            b"POST /early HTTP/1.1\r\nHost: x\r\ncontent-length: 9\r\n\r\nhalf",
            b"HTTP/1.1 401",
        ),
    ],
)
async def test_a_client_that_does_not_go_on_is_hung_up_on(sent: bytes, answer: bytes) -> None:
    async with serving(patience=Patience(head=SHORT, rest=SHORT)) as (connections, port):
        got = await message(port, sent)

        await wait_until(lambda: connections.count == 0)

    assert got == b"reset" or got.startswith(answer)
    assert connections.overdue == 1


async def test_a_reader_that_takes_nothing_of_its_answer_is_hung_up_on() -> None:
    async with serving(patience=Patience(window=SHORT)) as (connections, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(GET.replace(b"/ ", b"/large ", 1) + b"\r\n")
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"

        await wait_until(lambda: connections.count == 0)

        writer.close()
    assert connections.overdue == 1


async def test_a_reader_that_is_slow_and_goes_on_gets_all_of_its_answer() -> None:
    async with serving(patience=Patience(window=SHORT)) as (connections, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=65536)
        writer.write(GET.replace(b"/ ", b"/large ", 1) + b"Connection: close\r\n\r\n")
        got = 0
        while chunk := await reader.read(1_000_000):
            got += len(chunk)
            # Over several looks at the connection, each after a longer time than the window.
            await asyncio.sleep(0.01)
        writer.close()

    assert got > LARGE
    assert connections.overdue == 0


async def test_silent_connections_make_room_for_a_caller() -> None:
    async with serving(limit=20) as (connections, port):
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(60)]
        for number, (_, writer) in enumerate(silent):
            writer.write((b"G", GET, POST + b"content-length: 5\r\n\r\nab")[number % 3])

        answers = [await message(port, GET + b"Connection: close\r\n\r\n") for _ in range(10)]

        assert connections.count <= 20
        for _, writer in silent:
            writer.close()
    assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)
    assert connections.refused == 0


CHUNKED = b"transfer-encoding: chunked\r\n"
LENGTH = b"content-length: 5\r\n"


@pytest.mark.parametrize(
    "head",
    [
        CHUNKED + LENGTH,
        LENGTH + CHUNKED,
        LENGTH + LENGTH,
        LENGTH + b"content-length: 6\r\n",
        b"content-length: 5, 6\r\n",
        b"content-length: +5\r\n",
        b"content-length: 0x5\r\n",
        b"transfer-encoding: xchunked\r\n",
        b"transfer-encoding: chunked, identity\r\n",
        b"transfer-encoding : chunked\r\n",
        b" content-length: 5\r\n",
        b"x: a\r\n content-length: 5\r\n",
        b"x: a\x00\r\n",
        b"x: " + b"a" * 70_000 + b"\r\n",
    ],
)
async def test_a_request_that_two_readers_could_take_for_two_is_refused(head: bytes) -> None:
    smuggled = b"0\r\n\r\n" + GET + b"\r\n"
    async with serving() as (_, port):
        got = await message(port, POST + head + b"\r\n" + smuggled)

    # A connection is reset where bytes of it were not read any more.
    assert got == b"reset" or got.split(b" ", 2)[1] in {b"400", b"501"}
    assert got.count(b"HTTP/1.1") <= 1


async def test_a_damaged_body_ends_its_connection_without_an_error_of_ours(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving() as (_, port):
        late = await message(port, POST.replace(b"/", b"/early", 1) + CHUNKED + b"\r\n", b"zz\r\n")
        early = await message(port, POST + CHUNKED + b"\r\n5\r\nhello\r\nzz\r\n")

    assert early.count(b"HTTP/1.1") <= 1 and b" 200 " not in early
    assert late.count(b"HTTP/1.1") <= 1
    assert "Traceback" not in caplog.text and "Exception" not in caplog.text


async def test_a_request_that_has_arrived_and_is_not_read_yet_is_answered() -> None:
    async with serving(limit=2) as (connections, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET + b"\r\n")
        await reader.readuntil(b"shown")
        await wait_until(lambda: connections.count == 1)
        _, silent = await asyncio.open_connection("127.0.0.1", port)
        await wait_until(lambda: connections.count == 2)
        evicted = connections.evicted
        writer.write(GET + b"connection: close\r\n\r\n")

        is_admitted = connections.admit("127.0.0.1")
        answer = await reader.read()
        for each in (writer, silent):
            each.close()

    assert is_admitted and answer.startswith(b"HTTP/1.1 200")
    assert (connections.evicted, connections.refused) == (evicted + 1, 0)
