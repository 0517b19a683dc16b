"""Verification of images at real registries, complete or damaged."""

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from aiohttp import web

from shared.errors import RegistryError
from shared.faults import FaultCode
from shared.reference import Reference, parse_reference
from tests.fakes.front import open_front
from tests.fakes.token_server import TokenServer
from tests.fakes.web import open_fake
from tests.worker.oci.copying import copy, make_two_platform_image, pass_through
from tests.worker.oci.parts import RegistryFactory, basic, make_login, open_client
from tests.worker.oci.sample_images import (
    Image,
    RepositoryFixture,
    digest_of,
    make_blob,
    make_image,
    make_index,
)
from tests.worker.oci.storage import Storage
from worker.local.registry import LocalRegistry
from worker.oci.images.plan import Plan
from worker.oci.images.verification import require_complete
from worker.oci.transport.settings import ConnectionSettings

IMAGE = make_two_platform_image("whole")
LAYER = max(IMAGE.blobs, key=lambda digest: len(IMAGE.blobs[digest]))
CONFIG = next(digest for digest, blob in IMAGE.blobs.items() if blob.startswith(b"{"))


async def verify(
    host: str, settings: ConnectionSettings, image: Image = IMAGE, user: str = "bob"
) -> Plan:
    reference = Reference(host, "team/app", digest=image.digest)
    async with open_client(host, settings, make_login(host, user)) as client:
        return await require_complete(client, reference)


async def expect_refusal(
    host: str, settings: ConnectionSettings, image: Image = IMAGE, user: str = "bob"
) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        await verify(host, settings, image, user)
    return caught.value


@dataclass(frozen=True)
class StoredImage:
    """`IMAGE` in a registry that belongs to one test."""

    host: str
    storage: Storage


@pytest.fixture
async def stored(registries: RegistryFactory) -> StoredImage:
    registry = registries.start()
    await RepositoryFixture(registry.host, "team/app", basic()).put("1", IMAGE)
    return StoredImage(registry.host, Storage(registry))


async def test_a_complete_index_is_verified_with_one_request_per_blob(
    stored: StoredImage, settings: ConnectionSettings
) -> None:
    async with open_front(stored.host, pass_through) as front:
        plan = await verify(front.host, settings)

    requested = [line for line in front.lines if "/blobs/" in line]
    assert sorted(requested) == sorted(
        f"HEAD /v2/team/app/blobs/{digest}" for digest in IMAGE.blobs
    )
    assert sum(blob.size_bytes for blob in plan.blobs) == IMAGE.size_bytes


async def test_a_pull_token_is_enough(
    registries: RegistryFactory,
    token_server: TokenServer,
    open_registry: LocalRegistry,
    settings: ConnectionSettings,
) -> None:
    registry = registries.start_with_tokens(token_server)
    await RepositoryFixture(open_registry.host, "tokens").put("1", IMAGE)
    await copy(f"{open_registry.host}/tokens:1", f"{registry.host}/team/app:1", settings)
    token_server.fake.requests.clear()

    plan = await verify(registry.host, settings, user="bob")
    denied = await expect_refusal(registry.host, settings, user="carol")

    assert len(plan.blobs) == len(IMAGE.blobs)
    assert denied.code == FaultCode.PULL_DENIED
    assert set(token_server.scopes) == {"repository:team/app:pull"}


@pytest.mark.parametrize("digest", [LAYER, CONFIG])
@pytest.mark.parametrize(
    "damage",
    [
        lambda storage, digest: storage.data(digest).unlink(),
        lambda storage, digest: storage.link("team/app", digest).unlink(),
        lambda storage, digest: storage.data(digest).write_bytes(b""),
        lambda storage, digest: storage.data(digest).write_bytes(IMAGE.blobs[digest][:-1]),
        lambda storage, digest: storage.data(digest).write_bytes(IMAGE.blobs[digest] + b"x"),
    ],
    ids=["lost", "unlinked", "emptied", "cut", "longer"],
)
async def test_a_lost_blob_or_one_of_another_size_is_named(
    damage: Callable[[Storage, str], object],
    digest: str,
    stored: StoredImage,
    settings: ConnectionSettings,
) -> None:
    damage(stored.storage, digest)

    error = await expect_refusal(stored.host, settings)

    assert error.code == FaultCode.IMAGE_INCOMPLETE and not error.retryable
    assert f"{stored.host}/team/app@{IMAGE.digest}" in error.message and digest in error.message


async def test_a_lost_manifest_of_a_platform_is_named(
    stored: StoredImage, settings: ConnectionSettings
) -> None:
    lost = IMAGE.digests[1]
    stored.storage.data(lost).unlink()

    error = await expect_refusal(stored.host, settings)

    assert error.code == FaultCode.IMAGE_INCOMPLETE and not error.retryable
    assert IMAGE.digest in error.message and lost in error.message


@pytest.mark.parametrize("digest", IMAGE.digests)
async def test_a_manifest_of_other_bytes_is_damaged(
    digest: str, stored: StoredImage, settings: ConnectionSettings
) -> None:
    file = stored.storage.data(digest)
    file.write_bytes(file.read_bytes() + b" ")  # served as if it were right

    error = await expect_refusal(stored.host, settings)

    assert error.code == FaultCode.DIGEST_MISMATCH and digest in error.evidence
    assert "push the image again" in error.remedy


async def test_a_missing_image_is_not_found(
    stored: StoredImage, settings: ConnectionSettings
) -> None:
    error = await expect_refusal(stored.host, settings, make_image(b"never pushed"))

    assert error.code == FaultCode.IMAGE_NOT_FOUND


async def test_a_blob_of_another_repository_does_not_count(
    stored: StoredImage, settings: ConnectionSettings
) -> None:
    # Only possible on the disk: the registry refuses a manifest without its blobs.
    other, layer = make_image(make_blob("elsewhere", 10)), make_blob("elsewhere", 10)
    await RepositoryFixture(stored.host, "team/other", basic()).put("1", other)
    await RepositoryFixture(stored.host, "team/app", basic()).put("2", other)
    stored.storage.link("team/app", digest_of(layer)).unlink()

    error = await expect_refusal(stored.host, settings, other)

    assert error.code == FaultCode.IMAGE_INCOMPLETE and digest_of(layer) in error.message


async def test_a_foreign_layer_is_not_requested(settings: ConnectionSettings) -> None:
    image = make_index(make_image(b"own", foreign=[b"windows"]))
    manifests = {digest_of(content): (kind, content) for kind, content in image.manifests}

    async def answer(request: web.Request) -> web.StreamResponse:
        digest = request.path.rpartition("/")[2]
        if "/manifests/" in request.path:
            kind, content = manifests[digest]
            return web.Response(body=content, content_type=kind)
        return web.Response(body=image.blobs[digest])

    async with open_fake(answer) as fake, open_client(fake.host, settings) as client:
        reference = parse_reference(f"{fake.host}/app@{image.digest}")
        plan = await require_complete(client, reference)

    assert {blob.digest for blob in plan.blobs} == set(image.blobs)
    assert not [line for line in fake.lines if digest_of(b"windows") in line]


async def test_an_index_with_a_lost_attestation_is_incomplete(
    stored: StoredImage, settings: ConnectionSettings
) -> None:
    # An attestation is an entry like any other: a copy transfers it, so it has to exist.
    statement = json.dumps({"predicateType": "https://slsa.dev/provenance/v0.2"}).encode()
    image = make_index(make_image(b"app"), make_image(statement, architecture="unknown"))
    await RepositoryFixture(stored.host, "team/app", basic()).put("2", image)
    assert len((await verify(stored.host, settings, image)).children) == 2
    stored.storage.data(digest_of(statement)).unlink()

    error = await expect_refusal(stored.host, settings, image)

    assert error.code == FaultCode.IMAGE_INCOMPLETE and digest_of(statement) in error.message


async def test_a_registry_that_fails_meanwhile_gives_no_verdict_on_the_image(
    stored: StoredImage, settings: ConnectionSettings
) -> None:
    async def fail(request: web.Request) -> web.StreamResponse | None:
        return web.Response(status=503) if LAYER in request.path else None

    async with open_front(stored.host, fail) as front:
        error = await expect_refusal(front.host, settings)

    assert error.code == FaultCode.REGISTRY_ERROR and error.retryable


async def test_an_incomplete_image_is_not_copied(
    stored: StoredImage, registries: RegistryFactory, settings: ConnectionSettings
) -> None:
    target = registries.start()
    stored.storage.data(IMAGE.digests[0]).unlink()

    with pytest.raises(RegistryError) as caught:
        await copy(f"{stored.host}/team/app:1", f"{target.host}/app:1", settings)

    assert caught.value.code == FaultCode.IMAGE_INCOMPLETE
    assert (await RepositoryFixture(target.host, "app", basic()).get("tags/list"))[0] == 404
