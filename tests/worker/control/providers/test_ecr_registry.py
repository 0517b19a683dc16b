"""Check the tokens, repositories and tags of an ECR registry, and their diagnosis."""

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web

from shared.credentials.ecr import EcrSource
from shared.errors import RegistryError
from shared.reference import parse_reference, parse_registry
from tests.fakes import ecr
from tests.fakes.certificates import Authority
from tests.fakes.immutable import ImmutableTags
from tests.fakes.named import NamedHosts, open_named
from tests.waiting import wait_until
from tests.worker.oci.sample_images import RepositoryFixture, make_image
from worker.control.providers.ecr import EcrMinter
from worker.local.registry import LocalRegistry
from worker.login import Login
from worker.oci.copy import copy_image
from worker.oci.registry.client import RegistryClient

SOURCE = EcrSource.model_validate(
    {"kind": "ecr", "accessKeyId": ecr.KEY_ID, "secretAccessKey": ecr.SECRET}
)
IMAGE, OTHER = make_image(b"one"), make_image(b"two")


@dataclass
class Scenario:
    aws: ecr.Aws
    named: NamedHosts
    registry: LocalRegistry

    async def login(self) -> Login:
        minted = await EcrMinter().mint(SOURCE, ecr.HOST, self.named.client, datetime.now(UTC))
        return Login(host=ecr.HOST, username=SOURCE.USERNAME, secret=minted.password)

    async def push(self, login: Login, target: str, tag: str = "one") -> None:
        """Copy an image of the real registry to ECR."""
        settings = self.named.settings
        async with (
            RegistryClient(parse_registry(self.registry.host), None, settings) as source,
            RegistryClient(parse_registry(ecr.HOST), login, settings) as client,
        ):
            origin = parse_reference(f"{self.registry.host}/team/app:{tag}")
            await copy_image(source, origin, client, parse_reference(target), lambda _: None)

    async def fail(self, login: Login, target: str, tag: str = "one") -> RegistryError:
        with pytest.raises(RegistryError) as caught:
            await self.push(login, target, tag)
        return caught.value


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[LocalRegistry]:
    if shutil.which("docker-registry") is None:
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing("there is no docker-registry here")
    started = LocalRegistry.start(tmp_path / "registry")
    yield started
    started.stop()


@pytest.fixture
async def scenario(registry: LocalRegistry, tmp_path: Path) -> AsyncIterator[Scenario]:
    for tag, image in (("one", IMAGE), ("two", OTHER)):
        await RepositoryFixture(registry.host, "team/app").put(tag, image)
    aws = ecr.Aws(registry=registry.host)
    immutable = ImmutableTags(registry.host)

    async def distribution(request: web.Request) -> web.StreamResponse:
        refused = await immutable.intercept(request) if "/locked/" in request.path else None
        return refused or await aws.distribution(request)

    hosts = {ecr.API: aws.api, ecr.HOST: distribution}
    async with open_named(Authority(tmp_path), hosts) as named:
        yield Scenario(aws, named, registry)
        await aws.close()


async def test_a_login_pushes_to_a_repository_that_exists(scenario: Scenario) -> None:
    scenario.aws.repositories = {"team/there"}

    await scenario.push(await scenario.login(), f"{ecr.HOST}/team/there:1")

    status, _ = await RepositoryFixture(scenario.registry.host, "team/there").get("manifests/1")
    assert status == 200


async def test_a_push_to_a_missing_repository_says_so(scenario: Scenario) -> None:
    scenario.aws.repositories = {"team/there"}

    error = await scenario.fail(await scenario.login(), f"{ecr.HOST}/team/missing:1")

    assert (error.code, error.retryable) == ("repo_missing", False)


async def test_an_immutable_tag_takes_the_same_image_again_and_no_other_one(
    scenario: Scenario,
) -> None:
    login, target = await scenario.login(), f"{ecr.HOST}/locked/app:1"
    await scenario.push(login, target)
    await scenario.push(login, target)

    error = await scenario.fail(login, target, "two")

    assert (error.code, error.retryable) == ("tag_immutable", False)


async def test_a_login_that_has_ended_is_called_so_and_a_fresh_one_works(
    scenario: Scenario,
) -> None:
    scenario.aws.life = timedelta(seconds=2)
    login, target = await scenario.login(), f"{ecr.HOST}/team/app:1"
    await scenario.push(login, target)
    await wait_until(lambda: scenario.aws.has_ended(login.secret.get_secret_value()))

    error = await scenario.fail(login, f"{ecr.HOST}/team/app:2")

    assert error.code == "auth_expired"
    await scenario.push(await scenario.login(), f"{ecr.HOST}/team/app:2")


async def test_a_login_that_was_never_issued_is_refused(scenario: Scenario) -> None:
    login = Login.model_validate({"host": ecr.HOST, "username": "AWS", "secret": "never issued"})

    error = await scenario.fail(login, f"{ecr.HOST}/team/app:1")

    assert error.code == "auth_bad_credentials"
