"""TLS in front of a server without: who gets through, what passes, which certificate is shown."""

import asyncio
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from shared.errors import SetupError
from shared.tls import ServerCertificate
from tests.waiting import wait_until
from worker.local.processes import free_port
from worker.local.tls.authority import Authority
from worker.local.tls.certificates import issue_to
from worker.local.tls.relay import (
    GSS_REQUEST,
    SSL_REQUEST,
    Address,
    Negotiate,
    Relay,
    after_ssl_request,
    at_once,
)

HOST = "127.0.0.1"
LIFE = timedelta(hours=1)
LARGE = b"a line of a result\n" * 100_000
STARTUP = struct.pack("!II", 16, 196608) + b"user\0x\0\0"


@dataclass
class Served:
    """A relay before a server that answers what it receives."""

    relay: Relay
    authority: Authority
    port: int

    @property
    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self._pem)

    @property
    def _pem(self) -> str:
        return (self.relay.certificate.certificate.parent / "ca.pem").read_text()

    def renew(self) -> bool:
        issue_to(self.relay.certificate.certificate, self.authority, [HOST], LIFE)
        return self.relay.certificate.refresh()

    async def connect(
        self, source: str = HOST
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(
            HOST, self.port, ssl=self.context, local_addr=(source, 0)
        )

    async def has_room(self) -> bool:
        """Return whether one more connection of `HOST` is served."""
        try:
            _, writer = await self.connect()
        except OSError:
            return False
        writer.close()
        return True


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        if data == b"end":
            break
        writer.write(data)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def serving(directory: Path, negotiate: Negotiate) -> AsyncIterator[Served]:
    authority = Authority.create(directory)
    issue_to(directory / "server.pem", authority, [HOST], LIFE)
    certificate = ServerCertificate.load(directory / "server.pem", directory / "server.pem")
    async with await asyncio.start_server(echo, HOST, 0) as behind:
        target = Address(HOST, behind.sockets[0].getsockname()[1])
        relay, port = Relay(target, certificate, negotiate), free_port(HOST)
        async with relay.listening(Address(HOST, port)):
            yield Served(relay, authority, port)


async def test_all_bytes_pass_both_ways_and_an_end_is_passed_on(tmp_path: Path) -> None:
    async with serving(tmp_path, at_once) as served, asyncio.timeout(20):
        reader, writer = await served.connect()
        writer.write(LARGE)
        received = await reader.readexactly(len(LARGE))
        await asyncio.sleep(0)
        writer.write(b"end")
        end = await reader.read()
        writer.close()

    assert received == LARGE
    assert end == b""


async def test_a_renewed_certificate_is_shown_and_open_connections_go_on(tmp_path: Path) -> None:
    async with serving(tmp_path, at_once) as served, asyncio.timeout(20):
        before = await served.connect()
        is_new = served.renew()
        after = await served.connect()
        before[1].write(b"still there")
        answer = await before[0].readexactly(11)
        shown = [one[1].get_extra_info("peercert")["serialNumber"] for one in (before, after)]
        for _, writer in (before, after):
            writer.close()

    assert is_new
    assert answer == b"still there"
    assert shown[0] != shown[1]


async def test_one_address_leaves_room_for_others_and_is_in_the_log_once_a_minute(
    tmp_path: Path,
) -> None:
    now = 0.0
    async with serving(tmp_path, at_once) as served, asyncio.timeout(20):
        served.relay.per_address, served.relay.clock = 2, lambda: now
        writers = [(await served.connect())[1] for _ in range(2)]
        with capture_logs() as logs:
            refused = [not await served.has_room() for _ in range(3)]
            once = len(logs)
            now = 60.0
            refused.append(not await served.has_room())
        writers.append((await served.connect("127.0.0.2"))[1])
        writers[0].close()
        await wait_until(served.has_room)
        for writer in writers:
            writer.close()

    assert refused == [True] * 4
    assert (once, len(logs)) == (1, 2)
    event = {"event": "relay_full", "log_level": "warning", "connections": 2}
    assert logs[0] == {**event, "address": HOST, "of_address": 2}


async def test_a_client_that_begins_no_handshake_loses_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.local.tls.relay.HANDSHAKE_SECONDS", 0.1)
    async with serving(tmp_path, after_ssl_request) as served, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(HOST, served.port)
        assert await reader.read() == b""
        writer.close()


async def test_a_client_that_speaks_no_tls_reaches_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path, at_once) as served, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(HOST, served.port)
        writer.write(b"PING\r\n")
        answer = await reader.read()
        writer.close()

    assert b"PING" not in answer


async def test_postgresql_clients_ask_for_tls_and_then_get_it(tmp_path: Path) -> None:
    async with serving(tmp_path, after_ssl_request) as served, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(HOST, served.port)
        writer.write(struct.pack("!II", 8, GSS_REQUEST))
        assert await reader.readexactly(1) == b"N"
        writer.write(struct.pack("!II", 8, SSL_REQUEST))
        assert await reader.readexactly(1) == b"S"
        await writer.start_tls(served.context, server_hostname=HOST)
        writer.write(STARTUP)
        answer = await reader.readexactly(len(STARTUP))
        writer.close()

    assert answer == STARTUP


async def test_a_postgresql_client_without_tls_is_told_so(tmp_path: Path) -> None:
    async with serving(tmp_path, after_ssl_request) as served, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(HOST, served.port)
        writer.write(STARTUP)
        answer = await reader.read()
        writer.close()

    assert answer.startswith(b"E")
    assert b"accepts TLS only" in answer


async def test_bytes_in_clear_after_the_request_for_tls_end_the_connection(tmp_path: Path) -> None:
    async with serving(tmp_path, after_ssl_request) as served, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(HOST, served.port)
        writer.write(struct.pack("!II", 8, SSL_REQUEST) + STARTUP)
        answer = await reader.read()
        writer.close()

    assert answer.startswith(b"S")
    assert STARTUP not in answer


async def test_a_taken_port_is_named(tmp_path: Path) -> None:
    async with serving(tmp_path, at_once) as served:
        with pytest.raises(SetupError, match=f"port {served.port}"):
            async with served.relay.listening(Address(HOST, served.port)):
                pass


@pytest.mark.parametrize("text", ["", "10.0.0.5", ":5432", "host:port"])
def test_an_address_has_a_host_and_a_port(text: str) -> None:
    with pytest.raises(ValueError, match=r"HOST:PORT|invalid literal"):
        Address.parse(text)


def test_an_ipv6_address_stands_in_brackets() -> None:
    assert Address.parse("[fd00::5]:5432") == Address("fd00::5", 5432)
