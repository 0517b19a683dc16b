"""ECR: roles, the identity of the machine, all partitions, signatures as botocore makes them."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import botocore.session  # type: ignore[import-untyped]
import pytest
from aiohttp import web
from botocore.auth import SigV4Auth  # type: ignore[import-untyped]
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError
from yarl import URL

from shared.credentials.ecr import EcrSource
from shared.errors import RegistryError
from shared.providers import Provider, recognise
from shared.reference import parse_reference
from tests.fakes import ecr
from tests.fakes.certificates import Authority
from tests.fakes.named import NamedHosts, open_named
from tests.fakes.web import open_fake
from worker.control.providers.aws.endpoints import find_endpoints
from worker.control.providers.aws.machine import MachineIdentity
from worker.control.providers.aws.signature import Keys, Message, Scope, sign
from worker.control.providers.ecr import EcrMinter

KEYS = {"accessKeyId": ecr.KEY_ID, "secretAccessKey": ecr.SECRET}
PUBLIC = "public.ecr.aws"
PUBLIC_API = "api.ecr-public.us-east-1.amazonaws.com"


@dataclass
class Scenario:
    aws: ecr.Aws
    named: NamedHosts
    machine: MachineIdentity = field(default_factory=MachineIdentity)

    async def mint(self, host: str = ecr.HOST, **given: Any) -> str:
        source = EcrSource.model_validate({"kind": "ecr", **given})
        minter = EcrMinter(self.machine)
        minted = await minter.mint(source, host, self.named.client, datetime.now(UTC))
        return minted.password.get_secret_value()

    async def fail(self, **given: Any) -> RegistryError:
        with pytest.raises(RegistryError) as caught:
            await self.mint(**given)
        return caught.value


@pytest.fixture
async def scenario(tmp_path: Path) -> AsyncIterator[Scenario]:
    aws = ecr.Aws()
    hosts = {
        ecr.API: aws.api,
        ecr.STS: aws.sts,
        PUBLIC_API: aws.api,
        "sts.us-east-1.amazonaws.com": aws.sts,
    }
    async with open_named(Authority(tmp_path), hosts) as named:
        yield Scenario(aws, named)


async def test_temporary_keys_are_sent_with_their_session_token(scenario: Scenario) -> None:
    scenario.aws.keys["ASIATEMPORARYEXAMPLE"] = ecr.Key("temporary-secret", "session")

    token = await scenario.mint(
        accessKeyId="ASIATEMPORARYEXAMPLE",
        secretAccessKey="temporary-secret",
        sessionToken="session",
    )

    assert token in scenario.aws.tokens


async def test_a_role_is_assumed_with_its_external_id(scenario: Scenario) -> None:
    token = await scenario.mint(**KEYS, roleArn=ecr.ROLE, externalId=ecr.EXTERNAL_ID)

    assert token in scenario.aws.tokens
    assert scenario.named.requests == [f"POST {ecr.STS}/", f"POST {ecr.API}/"]


@pytest.mark.parametrize("external_id", ["another", None])
async def test_a_role_that_may_not_be_assumed_is_named(
    scenario: Scenario, external_id: str | None
) -> None:
    error = await scenario.fail(**KEYS, roleArn=ecr.ROLE, externalId=external_id)

    assert (error.code, error.retryable) == ("credential_denied", False)
    assert "sts:AssumeRole" in error.message
    assert ecr.ROLE in error.message


async def test_ecr_public_has_one_region_and_its_own_answer(scenario: Scenario) -> None:
    token = await scenario.mint(PUBLIC, **KEYS)

    assert token in scenario.aws.tokens
    assert scenario.named.requests == [f"POST {PUBLIC_API}/"]


async def test_a_repository_of_ecr_public_is_created_below_the_registry_s_alias(
    scenario: Scenario,
) -> None:
    scenario.aws.repositories = set()
    source = EcrSource.model_validate({"kind": "ecr", **KEYS})
    target = parse_reference(f"{PUBLIC}/our-alias/team/app:1")

    for _ in range(2):
        await EcrMinter(scenario.machine).create_repository(
            source, target, scenario.named.client, datetime.now(UTC)
        )

    assert scenario.aws.repositories == {"team/app"}
    assert scenario.aws.creations == ["team/app", "team/app"]


async def test_the_identity_of_the_machine_is_refused_unless_the_operator_allowed_it(
    scenario: Scenario,
) -> None:
    scenario.machine = MachineIdentity(
        environment={"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1"}
    )

    error = await scenario.fail(machineIdentity=True)

    assert (error.code, error.retryable) == ("machine_identity_off", False)
    assert "WHARF_MACHINE_IDENTITY" in error.remedy


async def test_an_instance_gets_its_keys_from_imds_version_2(scenario: Scenario) -> None:
    metadata = ecr.Metadata()
    scenario.aws.keys[metadata.key_id] = metadata.key
    async with open_fake(metadata.answer) as imds:
        endpoint = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://{imds.host}"}
        scenario.machine = MachineIdentity(is_allowed=True, environment=endpoint)

        token = await scenario.mint(machineIdentity=True)

    assert token in scenario.aws.tokens
    assert [line.split()[0] for line in imds.lines] == ["PUT", "GET", "GET"]


async def test_an_instance_without_a_role_is_told_so(scenario: Scenario) -> None:
    async with open_fake(ecr.Metadata(role="").answer) as imds:
        endpoint = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://{imds.host}"}
        scenario.machine = MachineIdentity(is_allowed=True, environment=endpoint)

        error = await scenario.fail(machineIdentity=True)

    assert error.code == "credential_denied"
    assert "Attach a role" in error.remedy


@pytest.mark.parametrize("from_file", [False, True])
async def test_a_container_gets_its_keys_from_its_agent(
    scenario: Scenario, tmp_path: Path, *, from_file: bool
) -> None:
    metadata = ecr.Metadata()
    scenario.aws.keys[metadata.key_id] = metadata.key
    (tmp_path / "token").write_text("container-token\n")
    token = (
        {"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(tmp_path / "token")}
        if from_file
        else {"AWS_CONTAINER_AUTHORIZATION_TOKEN": "container-token"}
    )
    async with open_fake(metadata.answer) as agent:
        url = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://{agent.host}/container"}
        scenario.machine = MachineIdentity(is_allowed=True, environment={**url, **token})

        assert await scenario.mint(machineIdentity=True) in scenario.aws.tokens


async def test_keys_of_a_container_are_asked_of_no_other_host(scenario: Scenario) -> None:
    url = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://192.0.2.1/container"}
    scenario.machine = MachineIdentity(is_allowed=True, environment=url)

    error = await scenario.fail(machineIdentity=True)

    assert error.code == "network_refused"


async def test_a_web_identity_is_changed_for_the_keys_of_its_role(
    scenario: Scenario, tmp_path: Path
) -> None:
    path = tmp_path / "token"
    path.write_text(ecr.WEB_TOKEN)
    environment = {"AWS_WEB_IDENTITY_TOKEN_FILE": str(path), "AWS_ROLE_ARN": ecr.ROLE}
    scenario.machine = MachineIdentity(is_allowed=True, environment=environment)

    assert await scenario.mint(machineIdentity=True) in scenario.aws.tokens
    path.write_text("another")
    error = await scenario.fail(machineIdentity=True)
    assert error.code == "credential_refused"


async def test_the_words_of_a_refusal_are_shown_without_secrets_and_in_one_line(
    scenario: Scenario,
) -> None:
    def refuse() -> web.Response:
        said = f"no {ecr.SECRET}\n\x1b[31m" + "x" * 5000
        return web.json_response(
            {"__type": "com.amazon#AccessDeniedException", "message": said}, status=400
        )

    scenario.aws.failure = refuse

    error = await scenario.fail(**KEYS)

    assert error.code == "credential_denied"
    assert "no ***" in error.message
    assert error.message.isprintable()
    assert len(error.message) < 600


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "Give either"),
        ({"accessKeyId": ecr.KEY_ID}, "together"),
        ({"secretAccessKey": "x"}, "together"),
        ({**KEYS, "machineIdentity": True}, "Give either"),
        ({**KEYS, "accessKeyId": "ASIAIOSFODNN7EXAMPLE"}, "sessionToken"),
        ({"machineIdentity": True, "sessionToken": "x"}, "sessionToken"),
        ({**KEYS, "externalId": "abc"}, "roleArn"),
        ({**KEYS, "roleArn": "arn:aws:iam::1:role/x"}, "pattern"),
        ({**KEYS, "accessKeyId": "my key"}, "pattern"),
        ({**KEYS, "region": "eu-central-1"}, "Extra inputs"),
    ],
)
def test_a_source_that_cannot_work_is_refused_with_the_reason(
    given: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValidationError, match=words) as caught:
        EcrSource.model_validate({"kind": "ecr", **given})

    assert ecr.SECRET not in str(caught.value)


REGIONS = {
    f"{ecr.ACCOUNT}.dkr.ecr.eu-central-1.amazonaws.com": ("eu-central-1", {}),
    f"{ecr.ACCOUNT}.dkr.ecr.cn-north-1.amazonaws.com.cn": ("cn-north-1", {}),
    f"{ecr.ACCOUNT}.dkr.ecr.us-gov-west-1.amazonaws.com": ("us-gov-west-1", {}),
    f"{ecr.ACCOUNT}.dkr.ecr.eusc-de-east-1.amazonaws.eu": ("eusc-de-east-1", {}),
    f"{ecr.ACCOUNT}.dkr.ecr.us-iso-east-1.c2s.ic.gov": ("us-iso-east-1", {}),
    f"{ecr.ACCOUNT}.dkr.ecr.us-isob-east-1.sc2s.sgov.gov": ("us-isob-east-1", {}),
    f"{ecr.ACCOUNT}.dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk": ("eu-isoe-west-1", {}),
    f"{ecr.ACCOUNT}.dkr.ecr.us-isof-south-1.csp.hci.ic.gov": ("us-isof-south-1", {}),
    f"{ecr.ACCOUNT}.dkr.ecr-fips.us-east-1.amazonaws.com": (
        "us-east-1",
        {"use_fips_endpoint": True},
    ),
    f"{ecr.ACCOUNT}.dkr.ecr-fips.us-gov-west-1.amazonaws.com": (
        "us-gov-west-1",
        {"use_fips_endpoint": True},
    ),
    f"{ecr.ACCOUNT}.dkr-ecr.us-west-2.on.aws": ("us-west-2", {"use_dualstack_endpoint": True}),
    f"{ecr.ACCOUNT}.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn": (
        "cn-north-1",
        {"use_dualstack_endpoint": True},
    ),
}


@pytest.mark.parametrize("host", sorted(REGIONS))
def test_every_host_form_leads_to_the_endpoint_that_botocore_uses(host: str) -> None:
    region, options = REGIONS[host]
    found = find_endpoints(host)
    client = botocore.session.get_session().create_client(
        "ecr",
        region_name=region,
        aws_access_key_id=ecr.KEY_ID,
        aws_secret_access_key=ecr.SECRET,
        config=Config(**options),
    )

    assert str(found.ecr.url) == f"{client.meta.endpoint_url}/"
    assert found.ecr.scope == Scope(region, "ecr")
    assert found.sts.scope == Scope(region, "sts")
    assert recognise(host) is Provider.ECR


def test_an_account_of_nine_digits_is_explained() -> None:
    with pytest.raises(RegistryError, match="not the host") as caught:
        find_endpoints("123456789.dkr.ecr.us-east-1.amazonaws.com")

    assert "12 digits" in caught.value.remedy


TEXTS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60)


@given(
    secret=TEXTS,
    session=st.none() | TEXTS,
    content=st.binary(max_size=300),
    region=st.sampled_from(["eu-central-1", "cn-north-1"]),
    target=TEXTS,
    moment=st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_a_signature_is_the_one_that_botocore_makes(
    *, secret: str, session: str | None, content: bytes, region: str, target: str, moment: datetime
) -> None:
    url = URL(f"https://api.ecr.{region}.amazonaws.com/")
    keys = Keys(ecr.KEY_ID, SecretStr(secret), SecretStr(session) if session else None)
    headers = {"X-Amz-Target": target, "Content-Type": "application/x-amz-json-1.1"}

    signed = sign(url, Message(headers, content), keys, Scope(region, "ecr"), moment)

    theirs = AWSRequest(
        "POST",
        str(url),
        {name: signed[name] for name in signed if name != "authorization"},
        content,
    )
    theirs.context["timestamp"] = moment.strftime("%Y%m%dT%H%M%SZ")
    signer = SigV4Auth(Credentials(ecr.KEY_ID, secret, session), "ecr", region)
    text = signer.string_to_sign(theirs, signer.canonical_request(theirs))
    assert signed["authorization"].endswith(f"Signature={signer.signature(text, theirs)}")
