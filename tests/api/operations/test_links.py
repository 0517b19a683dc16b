"""The protection of the links of servers: measured at their addresses, shown by the doctor."""

import asyncio
import socket
import struct
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client.exposition import generate_latest

from api.cli.commands.operation.certificate import describe_links
from api.operations.links import Link, look_at_links, make_link_families
from api.operations.metrics import _Found
from shared.tls import ServerCertificate
from worker.local.processes import free_port
from worker.local.tls.authority import Authority
from worker.local.tls.certificates import issue_to
from worker.local.tls.relay import Address, Relay, after_ssl_request, at_once

LIFE = timedelta(days=3)
NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def address() -> str:
    """Return an address of this machine that is not loopback's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


def resources(database: str | None, broker: str | None) -> Any:
    return cast("Any", SimpleNamespace(server_database_url=database, server_broker_url=broker))


async def test_links_with_tls_show_the_life_of_their_certificates(
    address: str, tmp_path: Path
) -> None:
    issue_to(tmp_path / "one.pem", Authority.create(tmp_path), [address], LIFE, NOW)
    certificate = ServerCertificate.load(tmp_path / "one.pem", tmp_path / "one.pem")
    ports = [free_port(address), free_port(address)]
    async with AsyncExitStack() as stack:
        for port, negotiate in zip(ports, (after_ssl_request, at_once), strict=True):
            relay = Relay(Address(address, 1), certificate, negotiate)
            await stack.enter_async_context(relay.listening(Address(address, port)))
        found = await look_at_links(
            resources(f"postgresql://{address}:{ports[0]}/w", f"rediss://{address}:{ports[1]}/0")
        )

    assert [(link.name, link.life and link.life[1]) for link in found] == [
        ("database", NOW + LIFE),
        ("broker", NOW + LIFE),
    ]


async def test_links_without_tls_are_named_and_loopback_is_left_out(address: str) -> None:
    async def refuse_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(struct.calcsize("!II"))
        writer.write(b"N")
        writer.close()

    async with await asyncio.start_server(refuse_tls, address, 0) as server:
        port = server.sockets[0].getsockname()[1]
        found = await look_at_links(resources(f"postgresql://{address}:{port}/w", None))
        nothing = await look_at_links(resources("postgresql://127.0.0.1/w", "redis://[::1]/0"))

    assert found == [Link("database", None)]
    assert nothing == []


def test_the_doctor_shows_each_link_and_warns_before_a_certificate_ends() -> None:
    links = [Link("database", (NOW, NOW + LIFE)), Link("broker", None)]
    page = generate_latest(_Found(list(make_link_families(links)))).decode()

    good = list(describe_links(page, NOW))
    late = list(describe_links(page, NOW + LIFE * 0.9))

    assert [name for name, _, _ in good] == [
        "link of servers to the database",
        "link of servers to the broker",
    ]
    assert good[0][1] == "TLS, its certificate is valid until 2030-01-04 00:00 UTC"
    assert good[1][1].startswith("without TLS")
    assert [remedy for _, _, remedy in good] == ["", ""]
    assert "wharf ca serve" in late[0][2]
