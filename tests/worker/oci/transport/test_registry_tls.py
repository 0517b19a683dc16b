"""Registries with a CA of their own, with client certificates, and over plain HTTP."""

import asyncio
import ssl
from dataclasses import replace

import pytest
from aiohttp import web
from pydantic import SecretStr
from yarl import URL

from shared.errors import RegistryError
from shared.faults import FaultCode
from shared.jobs.diagnosis import Outcome, Stage
from tests.fakes.certificates import Authority
from tests.fakes.names import Names
from tests.fakes.sockets import be_silent, open_socket, reset
from tests.fakes.token_server import SigningKey, open_token_server
from tests.fakes.web import open_fake, says
from tests.worker.oci.parts import (
    ALLOWED,
    API,
    PASSWORDS,
    make_login,
    make_settings,
    open_client,
    stage,
)
from worker.local.namespaces import Namespace
from worker.oci.probe import ProbeRequest, probe
from worker.oci.transport.endpoint import connect, find_endpoint
from worker.oci.transport.route import find_route, find_route_to
from worker.registry_tls import PUBLIC, RegistryTls

OPEN = says(200, text="{}", kind="application/json", headers=API)
LISTED = frozenset({"10.77.0.0/16"})
NAME = "registry.example.test"


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("other"), "Another CA")


def identity(authority: Authority, ca: Authority) -> RegistryTls:
    """Return a client certificate of one authority, and the CA of the registry."""
    certificate, key = authority.files("client", "robot.example.test")
    return RegistryTls(
        ca_certificate=ca.file.read_text(),
        client_certificate=certificate.read_text(),
        client_key=SecretStr(key.read_text()),
    )


async def test_a_ca_that_is_stored_with_a_registry_is_trusted_for_it_alone(
    authority: Authority, other: Authority
) -> None:
    tls = RegistryTls(ca_certificate=authority.file.read_text())
    foreign = RegistryTls(ca_certificate=other.file.read_text())
    async with open_fake(OPEN, tls=authority.context("127.0.0.1")) as fake:
        login = make_login(fake.host, tls=tls)
        async with open_client(fake.host, make_settings(), login) as client:
            assert await client.ping()
        for unknown in (PUBLIC, foreign):
            login = make_login(fake.host, tls=unknown)
            async with open_client(fake.host, make_settings(), login) as client:
                with pytest.raises(RegistryError) as caught:
                    await client.ping()
            assert caught.value.code == FaultCode.TLS_UNKNOWN_CA


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_client_certificate_that_is_stored_with_a_registry_is_shown_to_it(
    authority: Authority, other: Authority, version: ssl.TLSVersion
) -> None:
    async with open_fake(OPEN, tls=authority.context_for_clients("127.0.0.1", version)) as fake:
        right = make_login(fake.host, tls=identity(authority, authority))
        async with open_client(fake.host, make_settings(), right) as client:
            assert await client.ping()
        found = []
        ours = RegistryTls(ca_certificate=authority.file.read_text())
        for tls in (ours, identity(other, authority)):
            login = make_login(fake.host, tls=tls)
            async with open_client(fake.host, make_settings(), login) as client:
                with pytest.raises(RegistryError) as caught:
                    await client.ping()
            found.append((caught.value.code, caught.value.message.partition(" ")[2]))

    assert found == [
        (FaultCode.TLS_CLIENT_CERT, "requires a client certificate"),
        (
            FaultCode.TLS_CLIENT_CERT,
            "does not accept the client certificate of this registry",
        ),
    ]


async def test_other_hosts_get_the_ca_and_no_client_certificate(authority: Authority) -> None:
    tls = identity(authority, authority)
    settings = make_settings().for_registry(NAME, tls)

    elsewhere = settings.tls_of("auth.example.test")

    assert settings.tls_of(NAME) == tls
    assert elsewhere.ca_certificate == tls.ca_certificate
    assert not (elsewhere.client_certificate or elsewhere.client_key.get_secret_value())


async def test_a_token_server_is_trusted_by_its_registrys_ca(
    authority: Authority, signing_key: SigningKey
) -> None:
    names = Names({NAME: ("127.0.0.1",), "auth.example.test": ("127.0.0.1",)})
    context = authority.context(NAME, "auth.example.test")
    async with open_token_server(signing_key, PASSWORDS, tls=context) as server:
        realm = f"https://auth.example.test:{server.fake.port}/token"
        wants = says(401, headers={"WWW-Authenticate": f'Bearer realm="{realm}"', **API})
        async with open_fake(wants, tls=context) as fake:
            host = f"{NAME}:{fake.port}"
            login = make_login(host, tls=RegistryTls(ca_certificate=authority.file.read_text()))
            async with open_client(host, make_settings(resolver=names), login) as client:
                await client.ping()
                await client.require_safe_realms()


async def test_a_certificate_that_cannot_be_loaded_is_named(authority: Authority) -> None:
    broken = RegistryTls(ca_certificate=authority.file.read_text(), client_certificate="half")
    async with open_fake(OPEN, tls=authority.context("127.0.0.1")) as fake:
        login = make_login(fake.host, tls=broken)
        async with open_client(fake.host, make_settings(), login) as client:
            with pytest.raises(RegistryError) as caught:
                await client.ping()

    assert caught.value.code == FaultCode.TLS_FAILED and "registry.update" in caught.value.remedy


def test_a_private_key_is_not_shown(authority: Authority) -> None:
    tls = identity(authority, authority)

    assert tls.client_key.get_secret_value() not in repr(tls)
    assert tls.client_key.get_secret_value() not in str(make_login("h", tls=tls))


async def test_plain_http_needs_the_permission_and_the_engines_list(network: Namespace) -> None:
    found = {}
    async with open_fake(OPEN, listen=network.our_address) as fake:
        for listed in (LISTED, frozenset[str]()):
            for tls in (ALLOWED, PUBLIC):
                settings = make_settings(networks="private", insecure=listed)
                login = make_login(fake.host, tls=tls)
                async with open_client(fake.host, settings, login) as client:
                    try:
                        await client.ping()
                        code = None
                    except RegistryError as error:
                        code = FaultCode(error.code)
                found[bool(listed), tls.plain_http] = code
        sent = list(fake.requests)

    assert found == {
        (True, True): None,
        (True, False): FaultCode.PLAIN_HTTP_REFUSED,
        (False, True): FaultCode.TLS_NOT_OFFERED,
        (False, False): FaultCode.TLS_NOT_OFFERED,
    }
    assert len(sent) == 1


async def test_without_a_login_plain_http_goes_no_further_than_loopback(
    network: Namespace,
) -> None:
    settings = make_settings(networks="private,loopback", insecure=LISTED, tls=PUBLIC)
    async with open_fake(OPEN, listen=network.our_address) as fake, open_fake(OPEN) as near:
        async with open_client(near.host, settings) as client:
            assert await client.ping()
        async with open_client(fake.host, settings) as client:
            with pytest.raises(RegistryError) as caught:
                await client.ping()
        with pytest.raises(RegistryError) as named:
            await find_route_to(URL(f"http://{fake.host}"), settings)

    assert caught.value.code == named.value.code == FaultCode.PLAIN_HTTP_REFUSED
    assert fake.requests == []


async def test_port_80_alone_is_plain_http_that_is_refused(network: Namespace) -> None:
    names = Names({NAME: (network.our_address,)})
    listed = frozenset({NAME})
    settings = make_settings(networks="private", resolver=names, insecure=listed, tls=PUBLIC)
    async with open_socket(be_silent, listen=network.our_address, port=80):
        with pytest.raises(RegistryError) as caught:
            await connect(await find_endpoint(NAME, NAME, None, settings), settings)

    assert caught.value.code == FaultCode.PLAIN_HTTP_REFUSED


async def answer_http_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Cut every handshake, and answer requests of plain HTTP."""
    if (await reader.read(5)).startswith(b"GET"):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()


async def test_a_registry_that_cuts_handshakes_is_reached_by_plain_http_where_allowed(
    network: Namespace,
) -> None:
    async with open_socket(answer_http_only, listen=network.our_address) as host:
        name, _, port = host.partition(":")
        allowed = make_settings(networks="private", insecure=LISTED)
        route = await find_route(host, name, int(port), allowed)
        with pytest.raises(RegistryError) as refused:
            await find_route(host, name, int(port), replace(allowed, tls=PUBLIC))

    assert route.context is None
    assert refused.value.code == FaultCode.CONN_RESET


async def test_a_server_that_cuts_every_connection_stays_cut(network: Namespace) -> None:
    async with open_socket(reset, listen=network.our_address) as host:
        name, _, port = host.partition(":")
        settings = make_settings(networks="private", insecure=LISTED)
        with pytest.raises(RegistryError) as caught:
            await find_route(host, name, int(port), settings)

    assert caught.value.code == FaultCode.CONN_RESET


async def test_the_test_of_a_registry_shows_plain_http_and_its_refusal(
    network: Namespace,
) -> None:
    async def wants_login(request: web.Request) -> web.StreamResponse:
        return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="r"', **API})

    settings = make_settings(networks="private", insecure=LISTED)
    async with open_fake(wants_login, listen=network.our_address) as fake:
        allowed, refused = [
            await probe(ProbeRequest(fake.host, make_login(fake.host, tls=tls)), settings)
            for tls in (ALLOWED, PUBLIC)
        ]

    shown = stage(allowed, Stage.TLS)
    assert shown.outcome is Outcome.WARNING and "plain HTTP" in shown.evidence
    fault = refused.fault()
    assert fault and (fault.code, fault.stage) == (FaultCode.PLAIN_HTTP_REFUSED, Stage.TLS)
    assert "plainHttp" in fault.remedy and stage(refused, Stage.AUTH).outcome is Outcome.NOT_RUN
