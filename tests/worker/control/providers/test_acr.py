"""Azure's refresh tokens: by a client secret or a federated token, in each of its clouds."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from shared.credentials.acr import AcrSource
from shared.errors import RegistryError
from tests.fakes.certificates import Authority
from tests.fakes.providers.acr import CLIENT, TENANT, Acr
from tests.fakes.providers.clients import find_address, make_client_settings
from tests.fakes.providers.cloud import open_clouds
from tests.worker.control.providers.login_cases import (
    Case,
    acr_source,
    mint,
    open_acr,
)
from worker.control.providers.provider import HttpClient

OTHER = "99998888-3333-4444-5555-666677778888"


@pytest.fixture
async def case(behind: str, authority: Authority, tmp_path: Path) -> AsyncIterator[Case]:
    async with open_acr(behind, authority, tmp_path / "certs.d") as opened:
        yield opened


def cloud_of(case: Case) -> Acr:
    assert isinstance(case.cloud, Acr)
    return case.cloud


async def fail(case: Case, source: AcrSource, *, allows_machine: bool = True) -> RegistryError:
    with pytest.raises(RegistryError) as raised:
        await mint(source, case.host, case.client, allows_machine=allows_machine)
    return raised.value


async def test_the_lifetime_is_the_tokens_own_by_azures_clock(case: Case) -> None:
    cloud_of(case).refreshes.life = timedelta(hours=2)
    cloud_of(case).clock.offset = timedelta(minutes=-5)

    minted = await mint(acr_source(cloud_of(case).secret), case.host, case.client)

    assert timedelta(hours=2, seconds=-2) <= minted.lifetime <= timedelta(hours=2, seconds=1)


@pytest.mark.parametrize(
    ("end", "authority_host"),
    [
        ("io", "login.microsoftonline.com"),
        ("cn", "login.partner.microsoftonline.cn"),
        ("us", "login.microsoftonline.us"),
    ],
)
async def test_each_cloud_has_its_own_login_host(
    behind: str, authority: Authority, tmp_path: Path, end: str, authority_host: str
) -> None:
    cloud = Acr(behind, host=f"myregistry.azurecr.{end}", authority=authority_host)
    async with open_clouds(cloud, authority=authority, listen=find_address(5)):
        client = HttpClient(make_client_settings(cloud, authority=authority, directory=tmp_path))
        await mint(acr_source(cloud.secret), cloud.host, client)

    assert cloud.lines == [
        f"POST {authority_host}/{TENANT}/oauth2/v2.0/token",
        f"POST myregistry.azurecr.{end}/oauth2/exchange",
    ]


async def test_a_federated_token_takes_the_place_of_the_secret(case: Case, tmp_path: Path) -> None:
    file = tmp_path / "azure-token"
    file.write_text(cloud_of(case).federated)
    source = AcrSource(
        kind="acr", tenant_id=TENANT, client_id=CLIENT, federated_token_file=str(file)
    )

    minted = await mint(source, case.host, case.client)
    refused = await fail(case, source, allows_machine=False)

    assert cloud_of(case).refreshes.find(minted.password.get_secret_value())
    assert refused.code == "machine_identity_off"


async def test_a_federated_token_that_is_not_trusted_names_what_has_to_fit(
    case: Case, tmp_path: Path
) -> None:
    file = tmp_path / "azure-token"
    file.write_text("other.claims.signature")
    source = AcrSource(
        kind="acr", tenant_id=TENANT, client_id=CLIENT, federated_token_file=str(file)
    )

    error = await fail(case, source)

    assert error.code == "credential_refused"
    assert error.evidence == "HTTP 401, invalid_client, AADSTS700213"
    assert "issuer, subject and audience" in error.remedy


@pytest.mark.parametrize(
    ("tenant", "client", "number", "words"),
    [
        (TENANT, CLIENT, 7000215, "not its id"),
        (TENANT, OTHER, 700016, "clientId and tenantId"),
        (OTHER, CLIENT, 90002, "no such tenant"),
    ],
)
async def test_a_refusal_of_entra_is_explained_by_its_number(
    case: Case, tenant: str, client: str, number: int, words: str
) -> None:
    source = AcrSource(
        kind="acr", tenant_id=tenant, client_id=client, client_secret=SecretStr("wrong~secret-1")
    )

    error = await fail(case, source)

    assert error.code == "credential_refused"
    assert error.evidence.endswith(f"AADSTS{number}")
    assert words in error.remedy
    assert "wrong~secret-1" not in f"{error.message} {error.evidence} {error.remedy}"


async def test_an_exchange_that_is_refused_names_the_roles(case: Case) -> None:
    cloud_of(case).sign_ins.life = timedelta(seconds=-1)

    error = await fail(case, acr_source(cloud_of(case).secret))

    assert error.code == "credential_refused"
    assert "Container Registry Repository Reader" in error.remedy


async def test_a_registry_that_is_down_is_not_the_fault_of_the_credential(case: Case) -> None:
    case.settings = replace(case.settings, certificates=Path("/nonexistent"))

    error = await fail(case, acr_source(cloud_of(case).secret))

    assert error.code == "auth_server_unreachable"
    assert error.retryable
