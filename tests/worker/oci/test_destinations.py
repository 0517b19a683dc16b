"""Checks of a registry before an Engine gets a login, and their cached results."""

import shutil
import ssl
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from shared.errors import RefusedNetworkError, RegistryError
from shared.faults import FaultCode
from shared.reference import Reference
from tests.fakes.certificates import Authority
from tests.fakes.connect_proxy import open_connect_proxy
from tests.fakes.web import Answer, Fake, open_fake, says
from tests.worker.oci.parts import make_login, make_settings
from worker.oci.destinations import CACHE_LIFETIME, Destinations
from worker.oci.transport.settings import ConnectionSettings, EngineProxy

API = {"Docker-Distribution-Api-Version": "registry/2.0"}
BASIC = says(401, headers={"WWW-Authenticate": 'Basic realm="x"', **API})
OPEN = says(200, text="{}", kind="application/json", headers=API)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def bearer_challenge(realm: str) -> Answer:
    return says(401, headers={"WWW-Authenticate": f'Bearer realm="{realm}",service="r"', **API})


async def check_destination(
    destinations: Destinations,
    fake: Fake,
    settings: ConnectionSettings,
    repository: str = "team/app",
) -> None:
    async def find() -> ConnectionSettings:
        return settings

    login = make_login(fake.host)
    target = Reference(fake.host, repository, "1")

    given = await destinations.require_safe(login, target, find)

    assert (given.host, given.username, given.secret) == (login.host, "alice", login.secret)


async def test_a_registry_is_checked_once_a_minute_without_the_login(
    settings: ConnectionSettings,
) -> None:
    clock = Clock()
    destinations = Destinations(clock)
    async with open_fake(BASIC) as fake:
        for repository in ("team/app", "team/app", "other"):
            await check_destination(destinations, fake, settings, repository)
        requested = list(fake.lines)
        clock.now += CACHE_LIFETIME.total_seconds()
        await check_destination(destinations, fake, settings)

    assert requested == ["GET /v2/"]
    assert fake.lines == ["GET /v2/", "GET /v2/"]
    assert fake.authorizations == []


async def test_each_repository_of_an_open_registry_is_checked(
    settings: ConnectionSettings,
) -> None:
    destinations = Destinations(Clock())
    async with open_fake(OPEN) as fake:
        for repository in ("team/app", "team/app", "other"):
            await check_destination(destinations, fake, settings, repository)

    assert fake.lines == [
        *("GET /v2/", "HEAD /v2/team/app/manifests/1"),
        *("GET /v2/", "HEAD /v2/other/manifests/1"),
    ]


async def test_an_unsafe_or_failed_check_is_repeated(settings: ConnectionSettings) -> None:
    destinations = Destinations(Clock())
    answers = [says(503), bearer_challenge("http://192.0.2.1/token"), BASIC]

    async def answer(request: web.Request) -> web.StreamResponse:
        return await answers.pop(0)(request)

    async with open_fake(answer) as fake:
        with pytest.raises(RegistryError) as broken:
            await check_destination(destinations, fake, settings)
        with pytest.raises(RegistryError) as unsafe:
            await check_destination(destinations, fake, settings)
        await check_destination(destinations, fake, settings)

    codes = (broken.value.code, unsafe.value.code)
    assert codes == (FaultCode.REGISTRY_ERROR, FaultCode.AUTH_UNSAFE_REALM)
    assert len(fake.lines) == 3


@pytest.mark.parametrize("realm", ["https", "http"])
async def test_a_certificate_that_only_the_engine_trusts_does_not_hide_the_token_server(
    realm: str, authority: Authority, settings: ConnectionSettings
) -> None:
    tls = authority.context("127.0.0.1")
    async with open_fake(bearer_challenge(f"{realm}://127.0.0.1:9/token"), tls=tls) as fake:
        if realm == "https":
            await check_destination(Destinations(), fake, settings)
        else:
            with pytest.raises(RegistryError) as caught:
                await check_destination(Destinations(), fake, settings)
            assert caught.value.code == FaultCode.AUTH_UNSAFE_REALM

    assert fake.lines == ["GET /v2/"]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (says(404, text="<html></html>", kind="text/html"), FaultCode.NOT_A_REGISTRY),
        (says(307, headers={"Location": "https://192.0.2.1/v2/"}), FaultCode.NOT_A_REGISTRY),
        (says(429), FaultCode.RATE_LIMITED),
    ],
)
async def test_a_registry_without_a_usable_response_is_not_safe(
    answer: Answer, code: FaultCode, settings: ConnectionSettings
) -> None:
    async with open_fake(answer) as fake:
        with pytest.raises(RegistryError) as caught:
            await check_destination(Destinations(), fake, settings)

    assert caught.value.code == code


async def test_a_registry_at_a_forbidden_address_is_not_safe() -> None:
    async with open_fake(BASIC) as fake:
        with pytest.raises(RefusedNetworkError):
            await check_destination(Destinations(), fake, make_settings(networks="public"))

    assert fake.requests == []


NAME = "registry.example.test"


async def check_destination_through_proxy(
    proxy: EngineProxy, answer: Answer, authority: Authority, directory: Path
) -> list[str]:
    """Check a registry whose name only the proxy resolves, and return its requests."""

    async def find() -> ConnectionSettings:
        certificates = authority.trust(directory, host)
        return replace(make_settings(certificates=certificates), proxy=proxy)

    async with open_fake(answer, tls=authority.context(NAME)) as fake:
        host = f"{NAME}:{fake.port}"
        target = Reference(host, "team/app", "1")
        await Destinations().require_safe(make_login(host), target, find)
        assert fake.authorizations == []
        return fake.lines


@pytest.mark.parametrize(
    ("answer", "lines"),
    [
        (BASIC, ["GET /v2/"]),
        (bearer_challenge("https://auth.example.test/token"), ["GET /v2/"]),
        (OPEN, ["GET /v2/", "HEAD /v2/team/app/manifests/1"]),
    ],
    ids=["Basic", "a token server", "open"],
)
async def test_a_registry_behind_the_engines_proxy_is_checked_through_it(
    answer: Answer, lines: list[str], authority: Authority, tmp_path: Path
) -> None:
    async with open_connect_proxy() as proxy:
        requested = await check_destination_through_proxy(
            EngineProxy(proxy.url), answer, authority, tmp_path
        )

    assert requested == lines
    assert {target.partition(":")[0] for target in proxy.targets} == {NAME}


@pytest.mark.parametrize(
    ("proxy_settings", "answer", "code"),
    [
        (("200 OK", ""), bearer_challenge(f"http://{NAME}/token"), FaultCode.AUTH_UNSAFE_REALM),
        (("200 OK", "example.test"), BASIC, FaultCode.DNS_NOT_FOUND),
        (("407 Proxy Authentication Required", ""), BASIC, FaultCode.PROXY_ERROR),
        (("503 Service Unavailable", ""), BASIC, FaultCode.PROXY_ERROR),
        (("403 Forbidden", ""), BASIC, FaultCode.PROXY_ERROR),
        (("200 OK", ""), says(503), FaultCode.REGISTRY_ERROR),
    ],
    ids=["unsafe", "no proxy for it", "wants a login", "broken", "closed", "down"],
)
async def test_an_unsafe_registry_behind_a_proxy_is_refused(
    proxy_settings: tuple[str, str],
    answer: Answer,
    code: FaultCode,
    authority: Authority,
    tmp_path: Path,
) -> None:
    status, without = proxy_settings
    async with open_connect_proxy(status) as proxy:
        engine_proxy = EngineProxy(proxy.url, without)
        with pytest.raises(RegistryError) as caught:
            await check_destination_through_proxy(engine_proxy, answer, authority, tmp_path)

    assert caught.value.code == code


@pytest.mark.parametrize(
    ("hostname", "without", "applies"),
    [
        ("ghcr.io", "", True),
        ("ghcr.io", "localhost, .example.test", True),
        ("ghcr.io", "*", False),
        ("a.example.test", ".example.test", False),
        ("a.example.test", "EXAMPLE.test", False),
        ("aexample.test", "example.test", True),
        ("10.1.2.3", "10.0.0.0/8", False),
        ("10.1.2.3", "10.1.2.3", False),
        ("10.1.2.3", "192.0.2.0/24,x", True),
        ("127.0.0.1", "", False),
        ("localhost", "", False),
    ],
)
def test_a_proxy_applies_to_hosts_outside_no_proxy(
    hostname: str, without: str, *, applies: bool
) -> None:
    assert EngineProxy("http://proxy:3128", without).applies_to(hostname) is applies
    assert not EngineProxy("", without).applies_to(hostname)


@pytest.mark.parametrize("has_certificate", [True, False])
async def test_a_registry_that_requires_a_certificate_gets_the_servers_own(
    authority: Authority, tmp_path: Path, *, has_certificate: bool
) -> None:
    tls = authority.context("127.0.0.1")
    tls.load_verify_locations(authority.file)
    tls.verify_mode = ssl.CERT_REQUIRED
    async with open_fake(BASIC, tls=tls) as fake:
        settings = make_settings(certificates=authority.trust(tmp_path, fake.host))
        if has_certificate:
            chain, key = authority.files("client", "client.test")
            shutil.copy(chain, tmp_path / fake.host / "client.cert")
            shutil.copy(key, tmp_path / fake.host / "client.key")
            await check_destination(Destinations(), fake, settings)
        else:
            with pytest.raises(RegistryError):
                await check_destination(Destinations(), fake, settings)

    assert bool(fake.lines) is has_certificate
