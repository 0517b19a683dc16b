"""Connections that fail: the test, a pull and a push of our own client tell the same cause."""

import asyncio
import os
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web

from shared.faults import FaultCode
from tests.fakes.certificates import Authority
from tests.fakes.sockets import Behaviour, be_silent, open_socket, reset, say
from tests.fakes.web import open_fake, says
from tests.worker.oci.faults.asking import ask, everywhere, fail_pull, probe_registry
from tests.worker.oci.parts import API, make_login, make_settings
from worker.local.namespaces import Namespace
from worker.oci.transport.settings import Deadlines

OK = says(200, text="{}", kind="application/json", headers=API)
SHORT = Deadlines(
    tcp=timedelta(milliseconds=200),
    tls=timedelta(milliseconds=200),
    response=timedelta(milliseconds=200),
)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_required_client_certificate_is_told(
    version: ssl.TLSVersion, authority: Authority, tmp_path: Path
) -> None:
    tls = authority.context_for_clients("127.0.0.1", version)
    async with open_fake(OK, tls=tls) as fake:
        settings = make_settings(certificates=authority.trust(tmp_path, fake.host))
        found = await ask(fake.host, settings)

    assert found == everywhere(FaultCode.TLS_CLIENT_CERT)


async def test_a_required_client_certificate_is_told_after_a_reset(
    authority: Authority, tmp_path: Path
) -> None:
    tls = authority.context("127.0.0.1")
    tls.verify_mode = ssl.CERT_OPTIONAL  # it asks, and then cuts the connection
    tls.load_verify_locations(authority.file)
    server = await asyncio.start_server(_cut, "127.0.0.1", 0, ssl=tls)
    async with server:
        host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        settings = make_settings(certificates=authority.trust(tmp_path, host))
        found = await ask(host, settings)

    assert found == everywhere(FaultCode.TLS_CLIENT_CERT)


async def test_a_page_about_a_missing_client_certificate_is_told(
    authority: Authority, tmp_path: Path
) -> None:
    page = (
        "<html><head><title>400 No required SSL certificate was sent</title></head><body>"
        "<center><h1>400 Bad Request</h1></center></body></html>"
    )
    answer = says(400, text=page, kind="text/html")
    async with open_fake(answer, tls=authority.context("127.0.0.1")) as fake:
        settings = make_settings(certificates=authority.trust(tmp_path, fake.host))
        found = await ask(fake.host, settings, make_login(fake.host))

    assert found == everywhere(FaultCode.TLS_CLIENT_CERT)


async def test_a_common_name_alone_is_not_the_registrys_name(
    authority: Authority, tmp_path: Path
) -> None:
    async with open_fake(OK, tls=authority.context_of_common_name("127.0.0.1")) as fake:
        settings = make_settings(certificates=authority.trust(tmp_path, fake.host))
        found = await ask(fake.host, settings)
        fault = (await probe_registry(fake.host, settings)).fault()

    assert found == everywhere(FaultCode.TLS_NAME_MISMATCH)
    assert fault and "SAN" in fault.remedy and "common name" in fault.remedy


async def test_an_incomplete_chain_is_told(authority: Authority, tmp_path: Path) -> None:
    async with open_fake(OK, tls=authority.without_intermediate("127.0.0.1")) as fake:
        settings = make_settings(certificates=authority.trust(tmp_path, fake.host))
        found = await ask(fake.host, settings)
        error = await fail_pull(fake.host, settings)

    assert found == everywhere(FaultCode.TLS_UNKNOWN_CA)
    assert "chain is incomplete" in error.remedy
    assert "sends no certificate of this issuer" in error.evidence


async def test_a_server_with_old_tls_alone_is_told(authority: Authority, tmp_path: Path) -> None:
    async with open_fake(OK, tls=authority.context_of_old_version("127.0.0.1")) as fake:
        settings = make_settings(certificates=authority.trust(tmp_path, fake.host))
        found = await ask(fake.host, settings)

    assert found == everywhere(FaultCode.TLS_FAILED)


async def test_a_cut_in_the_handshake_is_told(network: Namespace) -> None:
    async with open_socket(reset, listen=network.our_address) as host:
        found = await ask(host, make_settings(networks="private"))

    assert found == everywhere(FaultCode.CONN_RESET)


@pytest.mark.parametrize("kind", ["blackhole", "prohibit", "unreachable"])
async def test_an_address_without_a_route_is_told(kind: str, no_route: dict[str, str]) -> None:
    found = await ask(f"{no_route[kind]}:5000", make_settings(networks="203.0.113.0/24"))

    assert found == everywhere(FaultCode.NO_ROUTE)


@pytest.mark.parametrize(
    "banner", [b"SSH-2.0-OpenSSH_9.2\r\n", b"-ERR unknown command\r\n", b"220 mail ESMTP\r\n"]
)
async def test_another_service_is_not_a_registry(banner: bytes, network: Namespace) -> None:
    async with open_socket(say(banner), listen=network.our_address) as host:
        found = await ask(host, make_settings(networks="private"))

    assert found == everywhere(FaultCode.NOT_A_REGISTRY)


async def test_plain_http_is_told_as_a_registry_without_tls(network: Namespace) -> None:
    async with open_fake(OK, listen=network.our_address) as fake:
        found = await ask(fake.host, make_settings(networks="private"))

    assert found == everywhere(FaultCode.TLS_NOT_OFFERED)


async def _talk_no_http(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read(1)
    await asyncio.Event().wait()


@pytest.mark.parametrize("behaviour", [be_silent, _talk_no_http])
async def test_a_silent_server_is_a_timeout(behaviour: Behaviour, network: Namespace) -> None:
    settings = make_settings(networks="private", deadlines=SHORT)
    async with open_socket(behaviour, listen=network.our_address) as host:
        found = await ask(host, settings)

    assert found == everywhere(FaultCode.CONN_TIMEOUT)


async def test_a_server_that_is_silent_after_its_handshake_is_a_timeout(
    authority: Authority, tmp_path: Path
) -> None:
    async def never(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        return web.Response()

    async with open_fake(never, tls=authority.context("127.0.0.1")) as fake:
        trusted = authority.trust(tmp_path, fake.host)
        found = await ask(fake.host, make_settings(certificates=trusted, deadlines=SHORT))

    assert found == everywhere(FaultCode.CONN_TIMEOUT)


@pytest.fixture
def no_route() -> Iterator[dict[str, str]]:
    """Addresses of documentation to which this machine has no route."""
    kinds = ("blackhole", "prohibit", "unreachable")
    first = os.getpid() % 80 * 3 + 1  # several test processes share the routes of a machine
    addresses = {kind: f"203.0.113.{number}" for number, kind in enumerate(kinds, first)}
    with ExitStack() as added:
        try:
            for kind, address in addresses.items():
                subprocess.run(["ip", "route", "add", kind, address], check=True)
                delete = ["ip", "route", "del", kind, address]
                added.callback(subprocess.run, delete, check=True)
        except (OSError, subprocess.CalledProcessError):
            missing = pytest.fail if os.environ.get("CI") else pytest.skip
            missing("routes need root and ip")
        yield addresses


async def _cut(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
