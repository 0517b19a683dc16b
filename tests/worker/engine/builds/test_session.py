"""The resources of a build in its session, and the start and end of a session."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from shared.errors import EngineError
from shared.faults import FaultCode
from worker.engine.builds.grpc import CallError, Status
from worker.engine.builds.protobuf import read_text, write_bytes
from worker.engine.builds.session import CREDENTIALS, HEALTH, SECRET, SessionResources, open_session
from worker.login import EngineLogin

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

RESOURCES = SessionResources(
    {"npm": SecretStr("npm_canary")},
    (
        EngineLogin(host="ghcr.io", username="alice", secret=SecretStr("ghp_canary")),
        EngineLogin(host="docker.io", username="bob", secret=SecretStr("hub_canary")),
    ),
)
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def credentials(host: str) -> tuple[str, str]:
    answer = RESOURCES.methods()[CREDENTIALS](write_bytes(1, host.encode()))
    return read_text(answer, 1), read_text(answer, 2)


def test_a_secret_is_returned_only_for_its_id() -> None:
    get = RESOURCES.methods()[SECRET]

    assert read_text(get(write_bytes(1, b"npm")), 1) == "npm_canary"
    with pytest.raises(CallError, match="secret pip not found") as caught:
        get(write_bytes(1, b"pip"))
    assert caught.value.status == Status.NOT_FOUND


@pytest.mark.parametrize(
    ("host", "username"),
    [
        ("ghcr.io", "alice"),
        ("registry-1.docker.io", "bob"),
        ("https://index.docker.io/v1/", "bob"),
        ("docker.io", "bob"),
    ],
)
def test_a_login_is_returned_for_its_own_host(host: str, username: str) -> None:
    assert credentials(host)[0] == username


@pytest.mark.parametrize(
    "host", ["evil.example", "ghcr.io:80", "evil.example/ghcr.io", "x@ghcr.io", "ghcr.io.", "\0"]
)
def test_a_login_is_returned_for_no_other_host(host: str) -> None:
    assert credentials(host) == ("", "")


def test_a_session_is_healthy_and_hides_its_secrets() -> None:
    assert RESOURCES.methods()[HEALTH](b"") == b"\x08\x01"
    assert "canary" not in f"{RESOURCES!r}"


@asynccontextmanager
async def open_engine(directory: Path, serve: Serve) -> AsyncIterator[str]:
    """Open the socket of a fake Engine."""
    path = directory / "engine.sock"
    async with await asyncio.start_unix_server(serve, path):
        yield f"unix://{path}"


async def test_an_engine_that_disconnects_is_unreachable(tmp_path: Path) -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with open_engine(tmp_path, hang_up) as docker_host:
        with pytest.raises(EngineError) as caught:
            async with open_session(docker_host, RESOURCES):
                pass

    assert caught.value.code == FaultCode.ENGINE_UNREACHABLE


async def test_a_client_that_violates_the_protocol_gets_an_error_and_is_disconnected(
    tmp_path: Path,
) -> None:
    received = asyncio.get_running_loop().create_future()

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCHED + PREFACE + b"\0\0\x01" + bytes(6) + b"x")
        received.set_result((head, await reader.read()))
        writer.close()

    async with (
        asyncio.timeout(10),
        open_engine(tmp_path, babble) as docker_host,
        open_session(docker_host, RESOURCES) as session_id,
    ):
        head, response = await received

    assert session_id.encode() in head
    assert SECRET.encode() in head
    goaway = 7
    assert goaway in {frame[3] for frame in frames(response)}


def frames(content: bytes) -> list[bytes]:
    """Split HTTP/2 frames (RFC 9113, 4.1): three bytes of length, one of type, five, payload."""
    found = []
    while content:
        end = 9 + int.from_bytes(content[:3], "big")
        found.append(content[:end])
        content = content[end:]
    return found


async def test_a_session_ends_with_its_block(tmp_path: Path) -> None:
    ended = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCHED)
        await reader.read()
        ended.set()
        writer.close()

    async with open_engine(tmp_path, listen) as docker_host, asyncio.timeout(10):
        async with open_session(docker_host, RESOURCES):
            assert not ended.is_set()
        await ended.wait()
