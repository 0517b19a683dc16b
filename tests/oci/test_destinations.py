"""What a registry is asked before an Engine gets a login, how often, and what is kept of it."""

import pytest
from aiohttp import web

from shared.errors import RefusedNetworkError, RegistryError
from shared.faults import FaultCode
from shared.reference import Reference
from tests.fakes.certificates import Authority
from tests.fakes.web import Answer, Fake, open_fake, says
from tests.oci.parts import make_login, make_settings
from worker.oci.destinations import KEPT, Destinations
from worker.oci.settings import ConnectionSettings

API = {"Docker-Distribution-Api-Version": "registry/2.0"}
BASIC = says(401, headers={"WWW-Authenticate": 'Basic realm="x"', **API})
OPEN = says(200, text="{}", kind="application/json", headers=API)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def names(realm: str) -> Answer:
    return says(401, headers={"WWW-Authenticate": f'Bearer realm="{realm}",service="r"', **API})


async def look(
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


async def test_a_registry_is_asked_once_a_minute_and_without_the_login(
    settings: ConnectionSettings,
) -> None:
    clock = Clock()
    destinations = Destinations(clock)
    async with open_fake(BASIC) as fake:
        for repository in ("team/app", "team/app", "other"):
            await look(destinations, fake, settings, repository)
        asked = list(fake.lines)
        clock.now += KEPT.total_seconds()
        await look(destinations, fake, settings)

    assert asked == ["GET /v2/"]
    assert fake.lines == ["GET /v2/", "GET /v2/"]
    assert fake.authorizations == []


async def test_of_a_registry_that_lets_everybody_in_each_repository_is_asked_for(
    settings: ConnectionSettings,
) -> None:
    destinations = Destinations(Clock())
    async with open_fake(OPEN) as fake:
        for repository in ("team/app", "team/app", "other"):
            await look(destinations, fake, settings, repository)

    assert fake.lines == [
        *("GET /v2/", "HEAD /v2/team/app/manifests/1"),
        *("GET /v2/", "HEAD /v2/other/manifests/1"),
    ]


async def test_what_is_unsafe_or_unknown_is_asked_for_again(settings: ConnectionSettings) -> None:
    destinations = Destinations(Clock())
    answers = [says(503), names("http://192.0.2.1/token"), BASIC]

    async def answer(request: web.Request) -> web.StreamResponse:
        return await answers.pop(0)(request)

    async with open_fake(answer) as fake:
        with pytest.raises(RegistryError) as broken:
            await look(destinations, fake, settings)
        with pytest.raises(RegistryError) as unsafe:
            await look(destinations, fake, settings)
        await look(destinations, fake, settings)

    codes = (broken.value.code, unsafe.value.code)
    assert codes == (FaultCode.REGISTRY_ERROR, FaultCode.AUTH_UNSAFE_REALM)
    assert len(fake.lines) == 3


@pytest.mark.parametrize("realm", ["https", "http"])
async def test_a_certificate_that_only_the_engine_knows_does_not_hide_the_token_server(
    realm: str, authority: Authority, settings: ConnectionSettings
) -> None:
    tls = authority.context("127.0.0.1")
    async with open_fake(names(f"{realm}://127.0.0.1:9/token"), tls=tls) as fake:
        if realm == "https":
            await look(Destinations(), fake, settings)
        else:
            with pytest.raises(RegistryError) as caught:
                await look(Destinations(), fake, settings)
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
async def test_a_registry_that_does_not_say_it_is_not_safe(
    answer: Answer, code: FaultCode, settings: ConnectionSettings
) -> None:
    async with open_fake(answer) as fake:
        with pytest.raises(RegistryError) as caught:
            await look(Destinations(), fake, settings)

    assert caught.value.code == code


async def test_a_registry_at_an_address_that_it_may_not_have_is_not_safe() -> None:
    async with open_fake(BASIC) as fake:
        with pytest.raises(RefusedNetworkError):
            await look(Destinations(), fake, make_settings(networks="public"))

    assert fake.requests == []
