"""Check that every minter does the same, with its own fake."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from pydantic import ValidationError

from shared.credentials.kinds import AnySource, parse_source
from shared.errors import InvalidInputError, RegistryError
from tests.fakes.certificates import Authority
from tests.fakes.named import NamedHosts, open_named
from tests.fakes.names import Names
from tests.worker.control.providers.cases import CASES, LIFE, Case
from worker.control.providers.mint import Mint
from worker.control.providers.provider import HttpClient, Minted


@dataclass(frozen=True)
class Scenario:
    case: Case
    named: NamedHosts

    async def mint(self, source: AnySource | None = None) -> Minted:
        mint = Mint(self.named.client)
        return await mint.mint(source or self.case.source, self.case.host, datetime.now(UTC))

    async def fail(self, source: AnySource | None = None) -> RegistryError:
        """Return the error of a minting, whose texts hold no secret."""
        with pytest.raises(RegistryError) as caught:
            await self.mint(source)
        shown = json.dumps(caught.value.fault().model_dump(mode="json"))
        assert not [secret for secret in self.case.secrets if secret in shown]
        return caught.value


@pytest.fixture(params=sorted(CASES))
async def scenario(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Scenario]:
    case = CASES[request.param]()
    async with open_named(Authority(tmp_path), case.hosts) as named:
        yield Scenario(case, named)


async def test_a_login_opens_the_registry_and_lives_as_the_provider_says(
    scenario: Scenario,
) -> None:
    minted = await scenario.mint()

    assert scenario.case.accepts(minted.password.get_secret_value())
    assert LIFE - timedelta(seconds=10) < minted.lifetime <= LIFE


@pytest.mark.parametrize("minutes", [-90, -7, 3, 7, 90])
async def test_a_clock_that_is_wrong_changes_nothing(scenario: Scenario, minutes: int) -> None:
    scenario.case.turn_clock(timedelta(minutes=minutes))

    minted = await scenario.mint()

    assert LIFE - timedelta(seconds=10) < minted.lifetime <= LIFE


async def test_a_source_that_the_provider_does_not_know_is_refused_for_good(
    scenario: Scenario,
) -> None:
    error = await scenario.fail(scenario.case.refused)

    assert (error.code, error.retryable) == ("credential_refused", False)


async def test_a_source_without_the_permission_is_denied_for_good(scenario: Scenario) -> None:
    error = await scenario.fail(scenario.case.denied)

    assert (error.code, error.retryable) == ("credential_denied", False)


@pytest.mark.parametrize(
    ("status", "code"),
    [(429, "rate_limited"), (500, "registry_error"), (503, "registry_error")],
)
async def test_a_provider_that_fails_is_asked_again(
    scenario: Scenario, status: int, code: str
) -> None:
    scenario.case.fail(lambda: web.Response(status=status, text="try again"))

    error = await scenario.fail()

    assert (error.code, error.retryable) == (code, True)


@pytest.mark.parametrize(
    "body", ["", "<html>a proxy</html>", "[]", "{}", "null", "{" * 5000, "x" * 200_000]
)
async def test_an_answer_that_is_no_login_is_an_error_that_may_pass(
    scenario: Scenario, body: str
) -> None:
    scenario.case.fail(lambda: web.Response(text=body, content_type="application/json"))

    error = await scenario.fail()

    assert (error.code, error.retryable) == ("registry_error", True)


async def test_no_redirect_is_followed(scenario: Scenario) -> None:
    location = {"Location": f"https://{scenario.case.host}/elsewhere"}
    scenario.case.fail(lambda: web.Response(status=307, headers=location))

    error = await scenario.fail()

    assert error.code == "registry_error"
    assert not [line for line in scenario.named.requests if "elsewhere" in line]


async def test_a_provider_whose_name_does_not_resolve_is_named(scenario: Scenario) -> None:
    settings = replace(scenario.named.settings, resolver=Names())
    with pytest.raises(RegistryError) as caught:
        await Mint(HttpClient(settings)).mint(
            scenario.case.source, scenario.case.host, datetime.now(UTC)
        )

    assert (caught.value.code, caught.value.retryable) == ("auth_server_unreachable", True)
    assert "does not exist" in caught.value.message


async def test_a_provider_with_a_certificate_of_another_ca_gets_no_secret(
    scenario: Scenario, tmp_path: Path
) -> None:
    settings = replace(scenario.named.settings, certificates=tmp_path / "none")
    with pytest.raises(RegistryError) as caught:
        await Mint(HttpClient(settings)).mint(
            scenario.case.source, scenario.case.host, datetime.now(UTC)
        )

    assert caught.value.code == "auth_server_unreachable"
    assert scenario.named.requests == []


def test_every_kind_has_a_case() -> None:
    with pytest.raises(ValidationError) as caught:
        parse_source('{"kind": "none"}')

    expected = caught.value.errors()[0]["ctx"]["expected_tags"]
    assert expected == ", ".join(f"'{kind}'" for kind in sorted(CASES))


@pytest.mark.parametrize("kind", sorted(CASES))
def test_a_source_is_the_same_after_it_was_stored(kind: str) -> None:
    source = CASES[kind]().source

    assert parse_source(source.to_sealable_json()) == source


@pytest.mark.parametrize("kind", sorted(CASES))
def test_a_source_shows_no_secret(kind: str) -> None:
    case = CASES[kind]()
    shown = json.dumps([case.source.shown(), repr(case.source), str(case.source)])

    assert not [secret for secret in case.secrets if secret in shown]


@pytest.mark.parametrize("kind", sorted(CASES))
@pytest.mark.parametrize("host", ["docker.io", "registry.example.com", "quay.io", "ghcr.io"])
def test_a_host_of_another_provider_is_refused(kind: str, host: str) -> None:
    with pytest.raises(InvalidInputError, match=host):
        CASES[kind]().source.require_host(host)
