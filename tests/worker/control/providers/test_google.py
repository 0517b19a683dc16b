"""Google's access tokens: by a service account's key, and by another token of this machine."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp import web
from pydantic import SecretStr

from shared.credentials.google import GoogleSource
from shared.credentials.google_files import ServiceAccountKey
from shared.errors import RegistryError
from tests.fakes.certificates import Authority
from tests.fakes.providers.google import (
    AUDIENCE,
    IMPERSONATION_URL,
    STS_URL,
    TOKEN_URL,
    Google,
    ServiceAccount,
)
from tests.fakes.web import open_fake, says
from tests.worker.control.providers.login_cases import Case, google_source, mint, open_google
from worker.control.providers.google import SCOPE, sign
from worker.control.providers.provider import Minted

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


@pytest.fixture
async def case(behind: str, authority: Authority, tmp_path: Path) -> AsyncIterator[Case]:
    async with open_google(behind, authority, tmp_path / "certs.d") as opened:
        yield opened


def cloud_of(case: Case) -> Google:
    assert isinstance(case.cloud, Google)
    return case.cloud


def federated(location: dict[str, Any], **changes: Any) -> GoogleSource:
    document = {
        "type": "external_account",
        "audience": AUDIENCE,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": STS_URL,
        "credential_source": location,
        **changes,
    }
    return GoogleSource(kind="google", external_account=SecretStr(json.dumps(document)))


async def mint_from(case: Case, source: GoogleSource, *, allows_machine: bool = True) -> Minted:
    return await mint(source, case.host, case.client, allows_machine=allows_machine)


def test_a_request_is_signed_as_google_verifies_it() -> None:
    account = ServiceAccount()
    key = ServiceAccountKey.model_validate(account.file)

    signed = sign(key, NOW)

    claims = jwt.decode(
        signed,
        account.key.public_key(),
        algorithms=["RS256"],
        audience=TOKEN_URL,
        options={"verify_exp": False, "verify_iat": False},
    )
    issued = int(NOW.timestamp())
    assert claims == {
        "iss": account.email,
        "scope": SCOPE,
        "aud": TOKEN_URL,
        "iat": issued,
        "exp": issued + 3600,
    }
    header = jwt.get_unverified_header(signed)
    assert header == {"alg": "RS256", "typ": "JWT", "kid": account.file["private_key_id"]}


async def test_the_lifetime_is_the_one_that_google_says(case: Case) -> None:
    cloud_of(case).access.life = timedelta(seconds=10)

    minted = await mint_from(case, google_source(cloud_of(case).account))

    assert timedelta(seconds=5) < minted.lifetime <= timedelta(seconds=10)


async def test_a_right_clock_sends_one_request(case: Case) -> None:
    await case.log_in()

    assert case.cloud.lines == ["POST oauth2.googleapis.com/token"]


async def test_a_wrong_clock_sends_a_second_request_with_googles_time(case: Case) -> None:
    case.cloud.clock.offset = timedelta(hours=3)

    minted = await mint_from(case, google_source(cloud_of(case).account))

    assert timedelta(minutes=59) < minted.lifetime <= timedelta(hours=1)
    assert case.cloud.lines == ["POST oauth2.googleapis.com/token"] * 2


async def test_a_refused_key_is_not_sent_a_second_time(case: Case) -> None:
    with pytest.raises(RegistryError) as raised:
        await case.log_in(is_right=False)

    assert case.cloud.lines == ["POST oauth2.googleapis.com/token"]
    assert raised.value.evidence == "HTTP 400, invalid_grant"
    assert "new key" in raised.value.remedy


async def test_a_token_in_a_file_is_exchanged(case: Case, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{cloud_of(case).subject}\n")

    minted = await mint_from(case, federated({"file": str(file)}))

    assert cloud_of(case).access.find(minted.password.get_secret_value())
    assert case.cloud.lines == ["POST sts.googleapis.com/v1/token"]


async def test_a_token_in_a_field_of_json_is_exchanged(case: Case, tmp_path: Path) -> None:
    file = tmp_path / "token.json"
    file.write_text(json.dumps({"value": cloud_of(case).subject}))
    form = {"type": "json", "subject_token_field_name": "value"}

    minted = await mint_from(case, federated({"file": str(file), "format": form}))

    assert timedelta(minutes=59) < minted.lifetime <= timedelta(hours=1)


async def test_a_token_of_the_machines_identity_service_is_exchanged(case: Case) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        is_right = request.headers.get("Metadata") == "True"
        return web.json_response({"access_token": cloud_of(case).subject if is_right else ""})

    form = {"type": "json", "subject_token_field_name": "access_token"}
    async with open_fake(answer) as service:
        location = {
            "url": f"http://{service.host}/identity",
            "headers": {"Metadata": "True"},
            "format": form,
        }
        minted = await mint_from(case, federated(location))

    assert cloud_of(case).access.find(minted.password.get_secret_value())


async def test_a_service_account_is_impersonated(case: Case, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(cloud_of(case).subject)
    cloud_of(case).access.life = timedelta(minutes=30)
    cloud_of(case).clock.offset = timedelta(minutes=5)
    source = federated({"file": str(file)}, service_account_impersonation_url=IMPERSONATION_URL)

    minted = await mint_from(case, source)

    assert timedelta(minutes=29) < minted.lifetime <= timedelta(minutes=30)
    assert [line.rpartition(":")[2] for line in case.cloud.lines] == [
        "POST sts.googleapis.com/v1/token".rpartition(":")[2],
        "generateAccessToken",
    ]


async def test_a_token_that_the_pool_does_not_trust_is_refused(case: Case, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("other.claims.signature")

    with pytest.raises(RegistryError) as raised:
        await mint_from(case, federated({"file": str(file)}))

    assert raised.value.code == "credential_refused"
    assert "pool's provider" in raised.value.remedy
    assert "other.claims.signature" not in raised.value.message


async def test_a_machine_is_used_only_where_its_operator_has_allowed_it(
    case: Case, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(cloud_of(case).subject)

    with pytest.raises(RegistryError) as raised:
        await mint_from(case, federated({"file": str(file)}), allows_machine=False)

    assert raised.value.code == "machine_identity_off"
    assert case.cloud.lines == []


@pytest.mark.parametrize(
    "content", ["wharf-private-v1.c2VjcmV0", "a.b", "", "\x00\xff", "[" * 9999]
)
async def test_a_file_that_holds_no_token_is_never_sent(
    case: Case, tmp_path: Path, content: str
) -> None:
    file = tmp_path / "vault.key"
    file.write_text(content)

    with pytest.raises(RegistryError) as raised:
        await mint_from(case, federated({"file": str(file)}))

    assert raised.value.code == "credential_refused"
    assert not content or content not in raised.value.message
    assert case.cloud.lines == []


async def test_a_file_that_cannot_be_read_is_named(case: Case, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=f"cannot read the file {tmp_path}/none") as raised:
        await mint_from(case, federated({"file": f"{tmp_path}/none"}))

    assert raised.value.retryable


async def test_an_identity_service_that_refuses_is_named(case: Case) -> None:
    async with open_fake(says(404)) as service:
        with pytest.raises(RegistryError) as raised:
            await mint_from(case, federated({"url": f"http://{service.host}/identity"}))

    assert raised.value.evidence == "HTTP 404"
    assert raised.value.code == "auth_server_unreachable"


async def test_plain_http_to_any_other_address_is_refused(case: Case) -> None:
    with pytest.raises(RegistryError) as raised:
        await mint_from(case, federated({"url": "http://10.0.0.1/token"}))

    assert raised.value.code == "network_refused"


async def test_an_impersonation_that_is_not_allowed_names_the_role(
    case: Case, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(cloud_of(case).subject)
    url = IMPERSONATION_URL.replace("wharf@", "other@")

    with pytest.raises(RegistryError) as raised:
        await mint_from(case, federated({"file": str(file)}, service_account_impersonation_url=url))

    assert raised.value.code == "credential_denied"
    assert raised.value.evidence == "HTTP 403, PERMISSION_DENIED"
    assert "roles/iam.workloadIdentityUser" in raised.value.remedy
