"""Copies between real registries: complete results, and no needless transfers."""

from dataclasses import dataclass
from itertools import pairwise

import pytest
from aiohttp import web

from shared.errors import RegistryError
from shared.faults import FaultCode
from tests.fakes.front import open_front
from tests.fakes.immutable import ImmutableTags
from tests.fakes.token_server import TokenServer
from tests.proxies import open_proxy
from tests.worker.oci.copying import KIB, copy, make_two_platform_image, pass_through
from tests.worker.oci.parts import RegistryFactory, basic
from tests.worker.oci.sample_images import (
    RepositoryFixture,
    digest_of,
    make_blob,
    make_image,
    make_index,
)
from worker.local.registry import LocalRegistry
from worker.oci.transport.settings import ConnectionSettings
from worker.progress import LayerState, TransferProgress


@dataclass
class ManifestStore:
    """Store one manifest in place of a registry."""

    manifest: tuple[str, bytes] | None = None

    async def intercept(self, request: web.Request) -> web.StreamResponse | None:
        if "/manifests/" not in request.path:
            return None
        if request.method == "PUT":
            self.manifest = request.content_type, await request.read()
            return web.Response(status=201)
        if self.manifest is None:
            return web.Response(status=404)
        kind, content = self.manifest
        return web.Response(body=content, content_type=kind)


@pytest.fixture
def pair(registries: RegistryFactory) -> tuple[LocalRegistry, LocalRegistry]:
    return registries.start(), registries.start()


async def test_an_index_of_two_platforms_arrives_byte_for_byte(
    pair: tuple[LocalRegistry, LocalRegistry], settings: ConnectionSettings
) -> None:
    source, target = pair
    image = make_two_platform_image("index")
    await RepositoryFixture(source.host, "team/app", basic()).put("1", image)
    seen: list[TransferProgress] = []

    held = await copy(
        f"{source.host}/team/app:1", f"{target.host}/kept/app:v1", settings, seen=seen
    )

    assert held.digest == image.digest
    await RepositoryFixture(target.host, "kept/app", basic()).require("v1", image)
    for before, after in pairwise(seen):
        assert before.current_bytes <= after.current_bytes
    assert seen[-1].current_bytes == seen[-1].total_bytes == image.size_bytes
    assert seen[-1].is_last_step and not seen[0].is_last_step


async def test_a_single_image_is_stored_under_the_given_digest(
    pair: tuple[LocalRegistry, LocalRegistry], settings: ConnectionSettings
) -> None:
    source, target = pair
    image = make_image(make_blob("single", 10), b"")
    await RepositoryFixture(source.host, "app", basic()).put("1", image)

    held = await copy(
        f"{source.host}/app@{image.digest}", f"{target.host}/app@{image.digest}", settings
    )

    assert held.digest == image.digest
    await RepositoryFixture(target.host, "app", basic()).require(image.digest, image)


async def test_an_index_of_indexes_arrives(
    pair: tuple[LocalRegistry, LocalRegistry], settings: ConnectionSettings
) -> None:
    source, target = pair
    image = make_index(make_two_platform_image("nested"), make_image(b"x", architecture="s390x"))
    await RepositoryFixture(source.host, "app", basic()).put("1", image)

    await copy(f"{source.host}/app:1", f"{target.host}/app:1", settings)

    await RepositoryFixture(target.host, "app", basic()).require("1", image)


async def test_a_foreign_layer_is_not_requested(
    pair: tuple[LocalRegistry, LocalRegistry], settings: ConnectionSettings
) -> None:
    # The real registries refuse manifests with URLs, so a front stores these.
    source, target = pair
    image = make_image(make_blob("foreign", 10), foreign=[b"windows"])
    await RepositoryFixture(source.host, "app", basic()).put_blobs(image)
    reading, writing = ManifestStore(image.manifests[-1]), ManifestStore()

    async with (
        open_front(source.host, reading.intercept) as here,
        open_front(target.host, writing.intercept) as there,
    ):
        held = await copy(f"{here.host}/app:1", f"{there.host}/app:1", settings)

    assert held.digest == image.digest and writing.manifest == image.manifests[-1]
    assert not [line for line in here.lines if digest_of(b"windows") in line]


async def test_existing_blobs_of_the_target_are_not_sent(
    pair: tuple[LocalRegistry, LocalRegistry], settings: ConnectionSettings
) -> None:
    source, target = pair
    there, new = make_blob("there", 600 * KIB), make_blob("new", 200 * KIB)
    await RepositoryFixture(source.host, "app", basic()).put("2", make_image(there, new))
    await RepositoryFixture(target.host, "app", basic()).put("1", make_image(there))
    seen: list[TransferProgress] = []

    async with open_proxy((target.address, target.port)) as proxy:
        await copy(f"{source.host}/app:2", f"{proxy.host}/app:2", settings, seen=seen)

    assert len(new) < proxy.up_bytes < len(new) + 20 * KIB
    states = {layer.total_bytes: layer.state for layer in seen[-1].layers}
    assert states[len(there)] is LayerState.PRESENT and states[len(new)] is LayerState.DONE


async def test_a_repeated_copy_transfers_nothing(
    pair: tuple[LocalRegistry, LocalRegistry], settings: ConnectionSettings
) -> None:
    source, target = pair
    image = make_two_platform_image("again")
    await RepositoryFixture(source.host, "app", basic()).put("1", image)
    await copy(f"{source.host}/app:1", f"{target.host}/app:1", settings)
    seen: list[TransferProgress] = []

    async with open_front(target.host, pass_through) as front:
        held = await copy(f"{source.host}/app:1", f"{front.host}/app:1", settings, seen=seen)

    assert held.digest == image.digest
    assert {line.split()[0] for line in front.lines} == {"HEAD"}
    assert seen[-1].is_last_step


async def test_a_copy_within_one_registry_sends_no_blob(
    registries: RegistryFactory, settings: ConnectionSettings
) -> None:
    registry = registries.start()
    image = make_two_platform_image("within")
    await RepositoryFixture(registry.host, "team/app", basic()).put("1", image)

    async with open_front(registry.host, pass_through) as front:
        await copy(f"{front.host}/team/app:1", f"{front.host}/kept/app:1", settings)

    await RepositoryFixture(registry.host, "kept/app", basic()).require("1", image)
    assert not [line for line in front.lines if line.startswith("GET") and "/blobs/" in line]
    assert not [line for line in front.lines if line.startswith("PUT") and "/blobs/" in line]
    assert sum("mount=" in request.query_string for request in front.requests) == len(image.blobs)


async def test_another_tag_in_the_same_repository_transfers_no_blob(
    registries: RegistryFactory, settings: ConnectionSettings
) -> None:
    registry = registries.start()
    image = make_two_platform_image("retag")
    await RepositoryFixture(registry.host, "app", basic()).put("1", image)

    async with open_front(registry.host, pass_through) as front:
        await copy(f"{front.host}/app:1", f"{front.host}/app:2", settings)

    await RepositoryFixture(registry.host, "app", basic()).require("2", image)
    assert not [line for line in front.lines if line.startswith("POST")]


async def test_a_copy_without_mounting_sends_every_blob(
    registries: RegistryFactory, settings: ConnectionSettings
) -> None:
    registry = registries.start()
    image = make_two_platform_image("mountless")
    await RepositoryFixture(registry.host, "team/app", basic()).put("1", image)

    async def refuse(request: web.Request) -> web.StreamResponse | None:
        return web.Response(status=405) if "mount" in request.query else None

    async with open_front(registry.host, refuse) as front:
        await copy(f"{front.host}/team/app:1", f"{front.host}/kept/app:1", settings)

    await RepositoryFixture(registry.host, "kept/app", basic()).require("1", image)


async def test_a_copy_without_mounting_does_not_send_existing_blobs(
    registries: RegistryFactory, settings: ConnectionSettings
) -> None:
    registry = registries.start()
    image = make_two_platform_image("mountless")
    await RepositoryFixture(registry.host, "team/app", basic()).put("1", image)
    await RepositoryFixture(registry.host, "kept/app", basic()).put_blobs(image)

    async def refuse(request: web.Request) -> web.StreamResponse | None:
        return web.Response(status=405) if "mount" in request.query else None

    async with open_front(registry.host, refuse) as front:
        await copy(f"{front.host}/team/app:1", f"{front.host}/kept/app:1", settings)

    await RepositoryFixture(registry.host, "kept/app", basic()).require("1", image)
    assert not [line for line in front.lines if line.startswith("PUT") and "/blobs/" in line]


async def test_a_mount_requests_one_token_for_both_repositories(
    token_registry: LocalRegistry,
    token_server: TokenServer,
    open_registry: LocalRegistry,
    settings: ConnectionSettings,
) -> None:
    host, image = token_registry.host, make_two_platform_image("token")
    await RepositoryFixture(open_registry.host, "token").put("1", image)
    await copy(f"{open_registry.host}/token:1", f"{host}/team/app:1", settings)

    held = await copy(f"{host}/team/app:1", f"{host}/kept/app:1", settings)

    last = token_server.fake.requests[-1].query.getall("scope")
    assert last == ["repository:kept/app:pull,push", "repository:team/app:pull"]
    assert held.digest == image.digest


@pytest.mark.parametrize("user", ["bob", "carol"])
async def test_a_user_without_push_rights_cannot_copy(
    user: str,
    token_registry: LocalRegistry,
    open_registry: LocalRegistry,
    settings: ConnectionSettings,
) -> None:
    await RepositoryFixture(open_registry.host, "denied").put("1", make_image(b"denied"))

    with pytest.raises(RegistryError) as caught:
        await copy(
            f"{open_registry.host}/denied:1",
            f"{token_registry.host}/team/app:1",
            settings,
            user=user,
        )

    assert caught.value.code == FaultCode.PUSH_DENIED


async def test_a_missing_image_at_the_source_is_not_found(
    pair: tuple[LocalRegistry, LocalRegistry], settings: ConnectionSettings
) -> None:
    source, target = pair
    await RepositoryFixture(source.host, "app", basic()).put("1", make_image(b"1"))

    with pytest.raises(RegistryError) as caught:
        await copy(f"{source.host}/app:2", f"{target.host}/app:1", settings)

    assert caught.value.code == FaultCode.IMAGE_NOT_FOUND


async def test_a_digest_that_the_source_lacks_transfers_nothing(
    pair: tuple[LocalRegistry, LocalRegistry], settings: ConnectionSettings
) -> None:
    source, target = pair
    await RepositoryFixture(source.host, "app", basic()).put("1", make_image(b"1"))
    other = digest_of(b"other")

    with pytest.raises(RegistryError) as caught:
        await copy(f"{source.host}/app:1", f"{target.host}/app:1@{other}", settings)

    assert caught.value.code == FaultCode.DIGEST_MISMATCH
    assert (await RepositoryFixture(target.host, "app", basic()).get("tags/list"))[0] == 404


@pytest.mark.parametrize("lost", [1, 0], ids=["answer lost", "copied twice"])
async def test_a_stored_copy_succeeds_even_if_the_response_is_lost(
    lost: int, pair: tuple[LocalRegistry, LocalRegistry], settings: ConnectionSettings
) -> None:
    source, target = pair
    first, other = make_image(b"first"), make_image(b"other")
    await RepositoryFixture(source.host, "app", basic()).put("1", first)
    await RepositoryFixture(source.host, "app", basic()).put("2", other)
    tags = ImmutableTags(target.host, lost=lost)

    async with open_front(target.host, tags.intercept) as front:
        for _ in range(2):
            held = await copy(f"{source.host}/app:1", f"{front.host}/app:1", settings)
        with pytest.raises(RegistryError) as caught:
            await copy(f"{source.host}/app:2", f"{front.host}/app:1", settings)

    assert held.digest == first.digest
    assert (caught.value.code, caught.value.retryable) == (FaultCode.TAG_IMMUTABLE, False)
    await RepositoryFixture(target.host, "app", basic()).require("1", first)
