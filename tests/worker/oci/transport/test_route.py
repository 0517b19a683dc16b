"""Ports, addresses and certificates in `find_route` and its parts."""

import errno
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from shared.errors import RefusedNetworkError, RegistryError
from shared.faults import FaultCode
from shared.networks import parse_networks
from tests.fakes.certificates import Authority
from tests.fakes.names import Names
from tests.fakes.sockets import be_silent, open_socket
from tests.fakes.web import open_fake, says
from tests.worker.oci.parts import make_settings
from worker.local.namespaces import Namespace
from worker.oci.transport.address import SystemResolver, resolve
from worker.oci.transport.certificate import make_context, parse_certificate
from worker.oci.transport.endpoint import connect, find_endpoint
from worker.oci.transport.errors import make_connection_error
from worker.oci.transport.http import Transport
from worker.oci.transport.route import find_origin, find_route, find_route_to
from worker.oci.transport.settings import Deadlines

NAME = "registry.example.test"
OK = says(200)
END = "-----END CERTIFICATE-----\n"


async def test_the_system_resolver_knows_localhost() -> None:
    addresses = await resolve(
        "localhost", parse_networks("loopback"), SystemResolver(), timedelta(seconds=5)
    )

    assert "127.0.0.1" in addresses


async def test_a_name_without_addresses_does_not_exist() -> None:
    with pytest.raises(RegistryError) as caught:
        await find_endpoint(NAME, NAME, 443, make_settings(resolver=Names({NAME: ()})))

    assert caught.value.code == FaultCode.DNS_NOT_FOUND


async def test_a_mapped_address_is_converted_to_ipv4() -> None:
    names = Names({NAME: ("::ffff:127.0.0.1",)})

    endpoint = await find_endpoint(NAME, NAME, 443, make_settings(resolver=names))

    assert endpoint.addresses == ("127.0.0.1",) and endpoint.allows_plain_http


async def test_a_remote_registry_is_reached_by_tls_without_a_trial_connection() -> None:
    settings = make_settings(networks="public", resolver=Names({NAME: ("198.41.0.4",)}))

    route = await find_route(NAME, NAME, None, settings)

    assert route.origin == URL(f"https://{NAME}") and route.is_verified


async def test_an_insecure_registry_without_a_port_may_use_port_80(network: Namespace) -> None:
    names = Names({NAME: (network.our_address,)})
    listed = frozenset({NAME})
    settings = make_settings(networks="private", resolver=names, insecure=listed)
    async with open_socket(be_silent, listen=network.our_address, port=80):
        found = await connect(await find_endpoint(NAME, NAME, None, settings), settings)
        strict = make_settings(networks="private", resolver=names)
        endpoint = await find_endpoint(NAME, NAME, None, strict)
        with pytest.raises(RegistryError) as caught:
            await connect(endpoint, strict)

    assert found.port == 80 and caught.value.code == FaultCode.CONN_REFUSED


async def test_a_url_keeps_its_scheme_or_is_refused(network: Namespace) -> None:
    elsewhere = make_settings(networks="private,loopback")
    listed = make_settings(networks="private", insecure=frozenset({"10.77.0.0/16"}))
    async with open_fake(OK, listen=network.our_address) as fake:
        plain = await find_route_to(URL(f"http://{fake.host}"), listed)
        with pytest.raises(RegistryError) as refused:
            await find_route_to(URL(f"http://{fake.host}"), elsewhere)
        with pytest.raises(RegistryError) as downgraded:
            await find_route_to(URL(f"https://{fake.host}"), listed)

    assert plain.context is None
    assert refused.value.code == downgraded.value.code == FaultCode.TLS_NOT_OFFERED


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://127.0.0.1:443/token", "https://127.0.0.1"),
        ("http://127.0.0.1:80/token", "http://127.0.0.1"),
        ("https://127.0.0.1:80/token", "https://127.0.0.1:80"),
        ("https://xn--bcher-kva.example:443/", "https://xn--bcher-kva.example"),
    ],
)
async def test_the_default_port_of_a_scheme_makes_no_difference(url: str, origin: str) -> None:
    names = Names({"xn--bcher-kva.example": ("127.0.0.1",)})
    transport = Transport(make_settings(resolver=names))

    route = await transport.find_route(URL(url))

    assert route.origin == URL(origin) == find_origin(URL(url))
    assert await transport.find_route(URL(origin)) is route


async def test_a_url_to_a_refused_network_has_no_route() -> None:
    with pytest.raises(RefusedNetworkError):
        await find_route_to(URL("http://[fe80::1]/"), make_settings(networks="private"))


async def test_a_bundle_without_a_certificate_is_named(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / "ca.crt").write_text("nonsense")

    with pytest.raises(RegistryError) as caught:
        await make_context(NAME, tmp_path)

    assert caught.value.code == FaultCode.TLS_FAILED and "ca.crt" in caught.value.message


async def test_only_the_hosts_own_directory_is_trusted(
    authority: Authority, tmp_path: Path
) -> None:
    trusted = authority.trust(tmp_path, NAME)

    def authorities(context: ssl.SSLContext) -> int:
        return context.cert_store_stats()["x509_ca"]

    own = await make_context(NAME, trusted)
    other = await make_context("other.example.test", trusted)

    assert authorities(own) == authorities(other) + 1


async def test_a_new_ca_is_trusted_at_once(authority: Authority, tmp_path: Path) -> None:
    before = await make_context(NAME, tmp_path)
    again = await make_context(NAME, tmp_path)
    after = await make_context(NAME, authority.trust(tmp_path, NAME))

    assert again is before and after is not before


def test_a_certificate_shows_its_issuer_names_and_expiry(authority: Authority) -> None:
    chain, _ = authority.files("shown", *(f"n{number}.test" for number in range(7)), "127.0.0.1")
    encoded = ssl.PEM_cert_to_DER_cert(chain.read_text().split("-----END")[0] + END)

    certificate = parse_certificate(encoded)

    assert certificate and certificate.names[-1] == "127.0.0.1"
    assert "n0.test" in str(certificate) and str(certificate).count(".test") == 5
    assert "and more" in str(certificate)
    left = certificate.remaining_time(datetime.now(UTC))
    assert timedelta(days=89) < left <= timedelta(days=90)


@pytest.mark.parametrize("encoded", [None, b"", b"nonsense"])
def test_malformed_bytes_are_not_a_certificate(encoded: bytes | None) -> None:
    assert parse_certificate(encoded) is None


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TimeoutError(), FaultCode.CONN_TIMEOUT),
        (OSError(errno.ETIMEDOUT, ""), FaultCode.CONN_TIMEOUT),
        (OSError(errno.EHOSTUNREACH, ""), FaultCode.NO_ROUTE),
        (OSError(errno.ENETUNREACH, ""), FaultCode.NO_ROUTE),
        (OSError(errno.EINVAL, ""), FaultCode.NO_ROUTE),
        (ConnectionRefusedError(errno.ECONNREFUSED, ""), FaultCode.CONN_REFUSED),
        (OSError(errno.EACCES, ""), FaultCode.NO_ROUTE),
        (BrokenPipeError(errno.EPIPE, ""), FaultCode.CONN_RESET),
        (aiohttp.ServerDisconnectedError(), FaultCode.CONN_RESET),
        (aiohttp.ClientPayloadError(), FaultCode.CONN_RESET),
        (aiohttp.SocketTimeoutError(), FaultCode.CONN_TIMEOUT),
        (ssl.SSLEOFError(), FaultCode.CONN_RESET),
        (ssl.SSLError(), FaultCode.TLS_FAILED),
    ],
)
def test_an_exception_is_mapped_to_a_code(error: Exception, code: FaultCode) -> None:
    assert make_connection_error(error, "host:1").code == code


async def test_a_handshake_that_stalls_is_a_timeout() -> None:
    async with open_socket(be_silent) as host:
        settings = make_settings(deadlines=Deadlines(tls=timedelta(milliseconds=50)))
        with pytest.raises(RegistryError) as caught:
            await find_route(host, "127.0.0.1", int(host.rpartition(":")[2]), settings)

    assert caught.value.code == FaultCode.CONN_TIMEOUT and "0.05 s" in caught.value.evidence
