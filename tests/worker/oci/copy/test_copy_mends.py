"""Copies to a real registry that has the manifest but has lost a part of the image."""

import pytest

from shared.errors import RegistryError
from shared.faults import FaultCode
from tests.fakes.front import open_front
from tests.worker.oci.copying import copy, make_two_platform_image, pass_through
from tests.worker.oci.parts import RegistryFactory, basic
from tests.worker.oci.sample_images import (
    RepositoryFixture,
    digest_of,
    make_blob,
    make_image,
    make_index,
)
from tests.worker.oci.storage import Storage
from worker.local.registry import LocalRegistry
from worker.oci.transport.settings import ConnectionSettings

IMAGE = make_two_platform_image("mended")
LAYER = max(IMAGE.blobs.items(), key=lambda blob: len(blob[1]))[0]
CONFIG = min(IMAGE.blobs.items(), key=lambda blob: blob[1][:1] != b"{")[0]

Pair = tuple[LocalRegistry, LocalRegistry]


@pytest.fixture
async def pair(registries: RegistryFactory, settings: ConnectionSettings) -> Pair:
    """Two registries with the image, the second one by a copy."""
    source, target = registries.start(), registries.start()
    await RepositoryFixture(source.host, "app", basic()).put("1", IMAGE)
    await copy(f"{source.host}/app:1", f"{target.host}/app:1", settings)
    return source, target


@pytest.mark.parametrize("lost", [LAYER, CONFIG], ids=["layer", "configuration"])
async def test_a_blob_that_the_target_has_lost_is_sent_again(
    pair: Pair, settings: ConnectionSettings, lost: str
) -> None:
    source, target = pair
    Storage(target).data(lost).unlink()

    async with open_front(target.host, pass_through) as front:
        held = await copy(f"{source.host}/app:1", f"{front.host}/app:1", settings)

    assert held.digest == IMAGE.digest
    await RepositoryFixture(target.host, "app", basic()).require("1", IMAGE)
    assert len([line for line in front.lines if line.startswith("PUT")]) == 1


async def test_a_blob_that_was_unlinked_from_the_repository_is_sent_again(
    pair: Pair, settings: ConnectionSettings
) -> None:
    source, target = pair
    Storage(target).link("app", LAYER).unlink()

    await copy(f"{source.host}/app:1", f"{target.host}/app:1", settings)

    await RepositoryFixture(target.host, "app", basic()).require("1", IMAGE)


async def test_a_child_of_an_index_that_the_target_has_lost_is_sent_again(
    registries: RegistryFactory, settings: ConnectionSettings
) -> None:
    source, target = registries.start(), registries.start()
    image = make_index(IMAGE, make_image(b"x", architecture="s390x"))
    await RepositoryFixture(source.host, "app", basic()).put("1", image)
    await copy(f"{source.host}/app:1", f"{target.host}/app:1", settings)
    for digest in image.digests[:-1]:
        Storage(target).data(digest).unlink()

    await copy(f"{source.host}/app:1", f"{target.host}/app:1", settings)

    await RepositoryFixture(target.host, "app", basic()).require("1", image)


@pytest.mark.parametrize("tag", ["1", "2"], ids=["manifest is there", "manifest is new"])
async def test_a_truncated_blob_that_the_target_keeps_fails_the_copy(
    pair: Pair, settings: ConnectionSettings, tag: str
) -> None:
    # The distribution registry keeps the blob that it has under a digest.
    source, target = pair
    Storage(target).data(LAYER).write_bytes(IMAGE.blobs[LAYER][:-1])

    with pytest.raises(RegistryError) as caught:
        await copy(f"{source.host}/app:1", f"{target.host}/app:{tag}", settings)

    assert caught.value.code == FaultCode.IMAGE_INCOMPLETE
    assert LAYER in caught.value.message and target.host in caught.value.message


async def test_a_lost_blob_within_one_registry_is_mounted_from_the_other_repository(
    registries: RegistryFactory, settings: ConnectionSettings
) -> None:
    registry = registries.start()
    await RepositoryFixture(registry.host, "team/app", basic()).put("1", IMAGE)
    there = f"{registry.host}/kept/app:1"
    await copy(f"{registry.host}/team/app:1", there, settings)
    Storage(registry).link("kept/app", LAYER).unlink()

    async with open_front(registry.host, pass_through) as front:
        await copy(f"{front.host}/team/app:1", f"{front.host}/kept/app:1", settings)

    await RepositoryFixture(registry.host, "kept/app", basic()).require("1", IMAGE)
    assert not [line for line in front.lines if line.startswith("PUT")]


async def test_a_blob_lost_at_both_registries_is_named(
    registries: RegistryFactory, settings: ConnectionSettings
) -> None:
    registry = registries.start()
    image = make_image(make_blob("lost", 1000))
    layer = digest_of(make_blob("lost", 1000))
    await RepositoryFixture(registry.host, "team/app", basic()).put("1", image)
    there = f"{registry.host}/kept/app:1"
    await copy(f"{registry.host}/team/app:1", there, settings)
    Storage(registry).data(layer).unlink()

    with pytest.raises(RegistryError) as caught:
        await copy(f"{registry.host}/team/app:1", there, settings)

    assert caught.value.code == FaultCode.IMAGE_INCOMPLETE
    assert layer in caught.value.message
