"""Control compares an image's signatures with the policy before a server is told to pull it."""

import base64
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest
from pydantic import SecretStr

from shared.database import Pool, open_pool
from shared.jobs.commands import ImagePull
from shared.networks import parse_networks
from shared.reference import parse_registry
from shared.signatures.keys import SigningKey
from shared.signatures.policy import Mode, SignaturePolicy
from tests.worker.oci.parts import ALLOWED
from tests.worker.oci.sample_images import INDEX, RepositoryFixture, make_image
from tests.world import PASSWORD, EnrolledServer, World
from worker.control.maintenance.signature_checks import SignatureChecks
from worker.local.registry import LocalRegistry
from worker.login import Login
from worker.oci.attachment_writer import AttachmentWriter
from worker.oci.registry.client import RegistryClient
from worker.oci.registry.manifest import Descriptor
from worker.oci.signatures.bundle import make_bundle
from worker.oci.signatures.documents import SIGNATURE
from worker.oci.signatures.writing import store_bundle
from worker.oci.transport.settings import ConnectionSettings

LOOPBACK = ConnectionSettings(parse_networks("loopback"))
KEY, OTHER = SigningKey.generate(), SigningKey.generate()
SIGNED, UNSIGNED = make_image(b"signed"), make_image(b"unsigned")
ALICE = f"Basic {base64.b64encode(f'alice:{PASSWORD}'.encode()).decode()}"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRegistry]:
    directory = tmp_path_factory.mktemp("registry")
    started = LocalRegistry.start(directory, users={"alice": PASSWORD}, bcrypt_rounds=4)
    yield started
    started.stop()


@dataclass(frozen=True)
class Scenario:
    world: World
    server: EnrolledServer
    pool: Pool
    host: str
    registry_id: str

    async def ask(
        self, digest: str, key: SigningKey = KEY, mode: Mode = "enforce", host: str = ""
    ) -> str:
        """Submit a deployment's pull, as the API does."""
        command = ImagePull(
            reference=f"{host or self.host}/team/app@{digest}",
            registry_id=None if host else self.registry_id,
            policy=SignaturePolicy(mode=mode, public_keys=(key.public.pem,)),
            control_check="due",
        )
        return await self.world.submit(self.server, command, registry_id=command.registry_id)

    async def check(self) -> None:
        await SignatureChecks(self.world.keys, LOOPBACK).check(self.pool)

    async def outcome(self, job_id: str) -> tuple[str, str | None]:
        """The state of the job, and the code of its error or the outcome of the check."""
        job = await self.world.job(job_id)
        return job["state"], (job["error"] or {}).get("code") or job["command"]["control_check"]


@pytest.fixture
async def scenario(world: World, registry: LocalRegistry) -> AsyncIterator[Scenario]:
    repository = RepositoryFixture(registry.host, "team/app", {"Authorization": ALICE})
    for image in (SIGNED, UNSIGNED):
        await repository.put(image.digest[7:19], image)
    await sign(registry.host)
    registry_id = await world.add_registry(host=registry.host)
    async with open_pool(world.database.url("wharf_control")) as pool:
        yield Scenario(world, await world.add_server(), pool, registry.host, registry_id)


async def sign(host: str) -> None:
    login = Login(host=host, username="alice", secret=SecretStr(PASSWORD), tls=ALLOWED)
    subject = Descriptor(INDEX, SIGNED.digest, len(SIGNED.manifests[-1][1]))
    stored = store_bundle(subject, make_bundle(SIGNED.digest, SIGNATURE, {}, KEY), SIGNATURE)
    async with RegistryClient(parse_registry(host), login, LOOPBACK) as client:
        writer = AttachmentWriter(client, "team/app")
        for digest, content in stored.blobs.items():
            await writer.store_blob(content, digest)
        await writer.store(stored.attachment)


async def test_an_image_that_its_policy_refuses_is_released_to_no_server(
    scenario: Scenario,
) -> None:
    unsigned = await scenario.ask(UNSIGNED.digest)
    untrusted = await scenario.ask(SIGNED.digest, OTHER)
    before = await scenario.world.release()

    await scenario.check()

    assert before == await scenario.world.release() == []
    assert await scenario.outcome(unsigned) == ("failed", "signature_missing")
    assert await scenario.outcome(untrusted) == ("failed", "signature_untrusted")
    message = (await scenario.world.job(untrusted))["error"]["message"]
    assert SIGNED.digest in message and OTHER.public.fingerprint in message


async def test_a_job_that_cannot_be_refused_is_set_aside_and_the_others_are_checked(
    scenario: Scenario,
) -> None:
    bad = await scenario.ask(UNSIGNED.digest)
    others = [await scenario.ask(UNSIGNED.digest), await scenario.ask(SIGNED.digest)]
    owner = scenario.world.owner
    broken = f"ALTER TABLE job ADD CONSTRAINT broken CHECK (job_id <> '{bad}' OR state = 'queued')"
    await owner.execute(broken.encode())

    try:
        await scenario.check()
    finally:
        await owner.execute("ALTER TABLE job DROP CONSTRAINT broken")

    assert await scenario.outcome(bad) == ("queued", "due")
    outcomes = [await scenario.outcome(each) for each in others]
    assert outcomes == [("failed", "signature_missing"), ("queued", "done")]
    [aside] = await scenario.world.rows("SELECT row_id, code FROM set_aside")
    assert tuple(aside.values()) == (bad, "database_error")


async def test_a_signed_image_and_one_that_is_only_warned_about_are_released(
    scenario: Scenario,
) -> None:
    asked = [
        await scenario.ask(SIGNED.digest),
        await scenario.ask(SIGNED.digest),
        await scenario.ask(UNSIGNED.digest, mode="warn"),
    ]

    await scenario.check()

    assert [await scenario.outcome(each) for each in asked] == [("queued", "done")] * 3
    assert {job.job_id for job in await scenario.world.release()} == set(asked)


async def test_an_image_that_control_cannot_reach_is_left_to_the_server_s_check(
    scenario: Scenario,
) -> None:
    away = await scenario.ask(SIGNED.digest, host="127.0.0.1:9")
    untried = await scenario.world.add_registry(host=scenario.host, username="bob", is_tried=False)
    command = ImagePull(
        reference=f"{scenario.host}/team/app@{UNSIGNED.digest}",
        registry_id=untried,
        policy=SignaturePolicy(public_keys=(KEY.public.pem,)),
        control_check="due",
    )
    untested = await scenario.world.submit(scenario.server, command, registry_id=untried)

    await scenario.check()

    assert await scenario.outcome(away) == ("queued", "not_reached")
    assert await scenario.outcome(untested) == ("queued", "not_reached")


async def test_a_built_image_is_checked_by_its_digest_once_it_is_pushed(
    scenario: Scenario,
) -> None:
    world = scenario.world
    made = await world.run(scenario.server)
    command = ImagePull(
        reference=f"{scenario.host}/team/app:1",
        registry_id=scenario.registry_id,
        made_by=made,
        policy=SignaturePolicy(public_keys=(KEY.public.pem,)),
        control_check="due",
    )
    pull = await world.submit(
        scenario.server, command, registry_id=scenario.registry_id, needs=[made]
    )

    await scenario.check()
    early = await scenario.outcome(pull)
    result = {"reference": "x", "digest": UNSIGNED.digest}
    ended = {"job_id": made, "attempt": 1, "outcome": "succeeded", "result": result}
    await scenario.server.call("finish", "first", **ended)
    await scenario.check()

    assert early == ("queued", "due")
    assert await scenario.outcome(pull) == ("failed", "signature_missing")
