"""A credential is sent to its registry and to that registry's token server, to no other host."""

from pathlib import Path

import pytest
from aiohttp import web

from shared.errors import RefusedNetworkError, RegistryError
from shared.faults import FaultCode
from shared.jobs.diagnosis import Stage
from tests.fakes.certificates import Authority
from tests.fakes.names import Names
from tests.fakes.token_server import SigningKey, open_token_server
from tests.fakes.web import Answer, open_fake, says
from tests.worker.oci.parts import PASSWORDS, make_login, make_settings, open_client, stage
from worker.local.namespaces import Namespace
from worker.oci.probe import ProbeRequest, probe
from worker.oci.registry.listing import list_tags
from worker.oci.registry.uploads import Uploads
from worker.oci.transport.settings import ConnectionSettings

API = {"Docker-Distribution-Api-Version": "registry/2.0"}
TAGS = says(200, text='{"tags":["1"]}', kind="application/json", headers=API)
NAME = "registry.example.test"


def require_basic(then: Answer) -> Answer:
    """Require Basic, then respond as ``then``."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if "Authorization" in request.headers:
            return await then(request)
        return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"', **API})

    return answer


def redirect_to(location: str, status: int = 307) -> Answer:
    return says(status, headers={"Location": location})


def bearer_challenge(realm: str) -> Answer:
    return says(401, headers={"WWW-Authenticate": f'Bearer realm="{realm}",service="r"', **API})


async def test_a_redirect_to_another_host_gets_no_login(settings: ConnectionSettings) -> None:
    async with open_fake(TAGS) as other:
        away = require_basic(redirect_to(f"http://{other.host}/v2/x/tags/list"))
        async with (
            open_fake(away) as fake,
            open_client(fake.host, settings, make_login(fake.host)) as client,
        ):
            assert await list_tags(client, "x", 1) == ("1",)

    assert fake.authorizations and other.lines == ["GET /v2/x/tags/list"]
    assert other.authorizations == []


async def test_another_host_that_asks_for_a_login_gets_none(settings: ConnectionSettings) -> None:
    async with open_fake(require_basic(TAGS)) as other:
        away = require_basic(redirect_to(f"http://{other.host}/v2/x/tags/list"))
        async with (
            open_fake(away) as fake,
            open_client(fake.host, settings, make_login(fake.host)) as client,
        ):
            with pytest.raises(RegistryError) as caught:
                await list_tags(client, "x", 1)

    assert caught.value.code == FaultCode.REGISTRY_ERROR
    assert other.authorizations == []


async def test_a_redirect_within_the_registry_keeps_the_login(
    settings: ConnectionSettings,
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/v2/x/tags/list":
            return web.Response(status=308, headers={"Location": "/v2/y/tags/list"})
        return await TAGS(request)

    async with (
        open_fake(require_basic(answer)) as fake,
        open_client(fake.host, settings, make_login(fake.host)) as client,
    ):
        assert await list_tags(client, "x", 1) == ("1",)

    assert len(fake.authorizations) == 2


async def test_endless_redirects_are_an_error(settings: ConnectionSettings) -> None:
    async with open_fake(redirect_to("/v2/")) as fake, open_client(fake.host, settings) as client:
        with pytest.raises(RegistryError) as caught:
            await client.ping()

    assert caught.value.code == FaultCode.NOT_A_REGISTRY
    assert len(fake.requests) == 4


@pytest.mark.parametrize("method_status", [301, 302, 303, 307, 308])
async def test_a_redirected_upload_is_not_followed(
    method_status: int, settings: ConnectionSettings
) -> None:
    async with open_fake(TAGS) as other:
        away = redirect_to(f"http://{other.host}/v2/x/blobs/uploads/", method_status)
        async with (
            open_fake(require_basic(away)) as fake,
            open_client(fake.host, settings, make_login(fake.host)) as client,
        ):
            with pytest.raises(RegistryError):
                await Uploads(client, "x").start()

    assert other.requests == []


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_redirect_to_the_metadata_service_is_refused(
    scheme: str, settings: ConnectionSettings
) -> None:
    away = redirect_to(f"{scheme}://169.254.169.254/latest/meta-data/")
    async with open_fake(away) as fake, open_client(fake.host, settings) as client:
        with pytest.raises(RefusedNetworkError):
            await list_tags(client, "x", 1)


@pytest.mark.parametrize(
    ("url", "addresses"),
    [
        ("169.254.169.254", ()),
        ("169.254.169.254:5000", ()),
        ("0.0.0.0:5000", ()),
        (NAME, ("169.254.169.254",)),
        (NAME, ("fd00:ec2::254",)),
        (NAME, ("::ffff:169.254.169.254",)),
        (NAME, ("10.0.0.1", "169.254.169.254")),
    ],
)
async def test_addresses_that_no_registry_may_have_are_refused(
    url: str, addresses: tuple[str, ...]
) -> None:
    names = Names({NAME: addresses})
    settings = make_settings(networks="public,private,loopback", resolver=names)

    report = await probe(ProbeRequest(url), settings)

    fault = report.fault()
    assert fault and fault.code == FaultCode.NETWORK_REFUSED
    assert fault.stage == (Stage.DNS if addresses else Stage.POLICY)


@pytest.mark.parametrize("by_name", [True, False])
async def test_a_forbidden_loopback_address_gets_no_connection(*, by_name: bool) -> None:
    async with open_fake(TAGS) as fake:
        host = f"{NAME}:{fake.port}" if by_name else fake.host
        settings = make_settings(networks="public,private", resolver=Names({NAME: ("127.0.0.1",)}))
        report = await probe(ProbeRequest(host, make_login(host)), settings)

    fault = report.fault()
    assert fault and fault.code == FaultCode.NETWORK_REFUSED
    assert fake.requests == []


@pytest.mark.parametrize("host", ["127.1:5000", "2130706433.0:5000"])
async def test_ambiguous_numeric_addresses_are_refused(
    host: str, settings: ConnectionSettings
) -> None:
    report = await probe(ProbeRequest(host), settings)

    fault = report.fault()
    assert fault and fault.code == FaultCode.REF_INVALID and fault.stage == Stage.POLICY


async def test_a_credential_of_another_registry_is_not_sent(settings: ConnectionSettings) -> None:
    async with open_fake(require_basic(TAGS)) as fake:
        report = await probe(ProbeRequest(fake.host, make_login("ghcr.io")), settings)

    fault = report.fault()
    assert fault and fault.code == FaultCode.AUTH_MISSING and fault.stage == Stage.POLICY
    assert fake.requests == []


async def test_an_http_realm_of_an_https_registry_is_refused(
    authority: Authority, signing_key: SigningKey, tmp_path: Path
) -> None:
    async with open_token_server(signing_key, PASSWORDS) as tokens:
        tls = authority.context("127.0.0.1")
        async with open_fake(bearer_challenge(tokens.realm), tls=tls) as fake:
            settings = make_settings(certificates=authority.trust(tmp_path, fake.host))
            report = await probe(ProbeRequest(fake.host, make_login(fake.host)), settings)

    fault = report.fault()
    assert fault and fault.code == FaultCode.AUTH_UNSAFE_REALM and fault.stage == Stage.AUTH
    assert tokens.fake.requests == []


async def test_an_https_realm_of_an_https_registry_is_used(
    authority: Authority, signing_key: SigningKey, tmp_path: Path
) -> None:
    tls = authority.context("127.0.0.1")
    async with (
        open_token_server(signing_key, PASSWORDS, tls=tls) as tokens,
        open_fake(bearer_challenge(tokens.realm), tls=tls) as fake,
    ):
        authority.trust(tmp_path, tokens.fake.host)
        settings = make_settings(certificates=authority.trust(tmp_path, fake.host))
        report = await probe(ProbeRequest(fake.host, make_login(fake.host)), settings)

    assert tokens.scopes == ["repository:connection-test:pull,push,delete"]
    fault = report.fault()
    assert fault and "token server" in fault.remedy  # this fake accepts no token


async def test_a_realm_on_another_host_without_tls_is_refused(
    network: Namespace, signing_key: SigningKey
) -> None:
    settings = make_settings(networks="loopback,private")
    async with (
        open_fake(TAGS, listen=network.our_address) as elsewhere,
        open_fake(bearer_challenge(f"http://{elsewhere.host}/token")) as fake,
    ):
        report = await probe(ProbeRequest(fake.host, make_login(fake.host)), settings)

    fault = report.fault()
    assert fault and fault.code == FaultCode.AUTH_UNSAFE_REALM
    assert elsewhere.requests == []


@pytest.mark.parametrize(
    "realm", ["", "token", "//x/token", "ftp://a.b/", "http://u:p@127.0.0.1/", "http://[", "http:"]
)
async def test_a_malformed_realm_is_refused(realm: str, settings: ConnectionSettings) -> None:
    async with open_fake(bearer_challenge(realm)) as fake:
        report = await probe(ProbeRequest(fake.host, make_login(fake.host)), settings)

    fault = report.fault()
    assert fault and fault.code == FaultCode.AUTH_UNSAFE_REALM


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_realm_at_another_port_of_a_registry_without_tls_gets_no_password(
    scheme: str, settings: ConnectionSettings, authority: Authority
) -> None:
    tls = authority.context("127.0.0.1") if scheme == "https" else None
    async with (
        open_fake(TAGS, tls=tls) as elsewhere,
        open_fake(bearer_challenge(f"{scheme}://{elsewhere.host}/token")) as fake,
    ):
        report = await probe(ProbeRequest(fake.host, make_login(fake.host)), settings)

    fault = report.fault()
    assert fault and fault.code == FaultCode.AUTH_UNSAFE_REALM
    assert elsewhere.requests == []


async def test_a_realm_at_the_metadata_service_is_refused(
    authority: Authority, tmp_path: Path
) -> None:
    tls = authority.context("127.0.0.1")
    async with open_fake(bearer_challenge("https://169.254.169.254/token"), tls=tls) as fake:
        settings = make_settings(certificates=authority.trust(tmp_path, fake.host))
        report = await probe(ProbeRequest(fake.host, make_login(fake.host)), settings)

    fault = report.fault()
    assert fault and fault.code == FaultCode.NETWORK_REFUSED and fault.stage == Stage.AUTH


async def test_an_unverified_realm_gets_no_password_of_a_verified_registry(
    authority: Authority, signing_key: SigningKey, tmp_path: Path
) -> None:
    other_authority = Authority(tmp_path, "Another CA")
    async with (
        open_token_server(
            signing_key, PASSWORDS, tls=other_authority.context("127.0.0.1")
        ) as tokens,
        open_fake(bearer_challenge(tokens.realm), tls=authority.context("127.0.0.1")) as fake,
    ):
        settings = make_settings(
            insecure=frozenset({tokens.fake.host}),
            certificates=authority.trust(tmp_path / "trusted", fake.host),
        )
        report = await probe(ProbeRequest(fake.host, make_login(fake.host)), settings)

    fault = report.fault()
    assert fault and fault.code == FaultCode.AUTH_UNSAFE_REALM
    assert tokens.fake.requests == []


async def test_a_token_server_on_another_host_is_named(
    signing_key: SigningKey, authority: Authority, tmp_path: Path
) -> None:
    names = Names({NAME: ("127.0.0.1",)})
    tls = authority.context("127.0.0.1", NAME)
    async with open_token_server(signing_key, PASSWORDS, tls=tls) as tokens:

        async def answer(request: web.Request) -> web.StreamResponse:
            known = "Authorization" in request.headers
            return await (TAGS if known else bearer_challenge(tokens.realm))(request)

        async with open_fake(answer, tls=tls) as fake:
            host = f"{NAME}:{fake.port}"
            authority.trust(tmp_path, tokens.fake.host)
            settings = make_settings(resolver=names, certificates=authority.trust(tmp_path, host))
            request = ProbeRequest(host, make_login(host), rights=frozenset({"pull"}))
            report = await probe(request, settings)

    assert report.fault() is None
    assert "another host" in stage(report, Stage.AUTH).evidence


async def test_a_token_server_that_redirects_is_not_followed(
    settings: ConnectionSettings,
) -> None:
    async with open_fake(TAGS) as other:

        async def answer(request: web.Request) -> web.StreamResponse:
            if request.path == "/token":
                return await redirect_to(f"http://{other.host}/token")(request)
            return await bearer_challenge(f"http://{request.host}/token")(request)

        async with open_fake(answer) as fake:
            report = await probe(ProbeRequest(fake.host, make_login(fake.host)), settings)

    fault = report.fault()
    assert fault and fault.code == FaultCode.AUTH_SERVER_UNREACHABLE
    assert other.requests == []


async def test_a_host_without_a_route_is_unknown_to_the_connector(
    settings: ConnectionSettings,
) -> None:
    """An unchecked host cannot be connected to, whatever a URL contains."""
    names = Names({NAME: ("127.0.0.1",)})
    async with open_fake(TAGS) as fake:
        host = f"{NAME}:{fake.port}"
        async with open_client(host, make_settings(resolver=names)) as client:
            await list_tags(client, "x", 1)
            await list_tags(client, "x", 1)

    assert names.queries == [NAME]
