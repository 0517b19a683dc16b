"""The image that a server would pull for its platform, and the digests of its layers."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from aiohttp import web

from shared.errors import RegistryError
from shared.faults import FaultCode
from shared.reference import parse_reference
from tests.fakes.web import open_fake
from tests.worker.oci.parts import open_client
from tests.worker.oci.sample_images import (
    CONFIG,
    INDEX,
    LAYER,
    MANIFEST,
    Image,
    digest_of,
    make_image,
)
from worker.oci.images.config import MAX_CONFIG_BYTES
from worker.oci.images.platform import parse_platform
from worker.oci.images.remote_image import MAX_DEPTH, RemoteImage, find_image
from worker.oci.transport.settings import ConnectionSettings

AMD = make_image(b"amd")
ARM = make_image(b"arm", architecture="arm64")
UNKNOWN = {"os": "unknown", "architecture": "unknown"}


def index(*entries: tuple[Image, dict[str, str] | None]) -> Image:
    """Return an index of the images with the given platforms."""
    named = [
        {"mediaType": kind, "digest": digest_of(content), "size": len(content)}
        | ({"platform": platform} if platform else {})
        for image, platform in entries
        for kind, content in [image.manifests[-1]]
    ]
    content = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": named}).encode()
    blobs = {digest: blob for image, _ in entries for digest, blob in image.blobs.items()}
    below = [manifest for image, _ in entries for manifest in image.manifests]
    return Image(blobs, [*below, (INDEX, content)])


def platform(name: str) -> dict[str, str]:
    return dict(zip(("os", "architecture", "variant"), name.split("/"), strict=False))


def configured(config: bytes, layers: Sequence[Any] = (), *, size: int | None = None) -> Image:
    part = {"mediaType": CONFIG, "digest": digest_of(config), "size": size or len(config)}
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": part, "layers": layers}
    return Image({digest_of(config): config}, [(MANIFEST, json.dumps(document).encode())])


async def find(image: Image, settings: ConnectionSettings, requested: str) -> RemoteImage:
    stored = {digest_of(content): (kind, content) for kind, content in image.manifests}

    async def answer(request: web.Request) -> web.StreamResponse:
        name = request.path.rpartition("/")[2]
        if "/blobs/" in request.path:
            return web.Response(body=image.blobs[name])
        kind, content = stored.get(name, image.manifests[-1])
        return web.Response(body=content, headers={"Content-Type": kind})

    async with open_fake(answer) as fake, open_client(fake.host, settings) as client:
        return await find_image(
            client, parse_reference(f"{fake.host}/a:1"), parse_platform(requested)
        )


async def expect_refusal(
    image: Image, settings: ConnectionSettings, requested: str
) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        await find(image, settings, requested)
    return caught.value


@pytest.mark.parametrize(("requested", "image"), [("linux/amd64", AMD), ("linux/arm64/v8", ARM)])
async def test_the_image_of_the_platform_is_found_in_an_index(
    settings: ConnectionSettings, requested: str, image: Image
) -> None:
    inner = index((ARM, platform("linux/arm64")))
    outer = index((AMD, UNKNOWN), (AMD, platform("linux/amd64")), (inner, platform("linux/arm64")))

    found = await find(outer, settings, requested)

    layer = next(iter(image.blobs))
    assert ([one.digest for one in found.layers], found.diff_ids) == ([layer], (layer,))


async def test_an_entry_without_a_platform_is_examined(settings: ConnectionSettings) -> None:
    silent = index((ARM, None))

    found = await find(silent, settings, "linux/arm64")
    error = await expect_refusal(silent, settings, "linux/amd64")

    assert found.diff_ids
    assert error.code == FaultCode.PLATFORM_MISSING
    assert "is for linux/arm64, not for linux/amd64" in error.message


async def test_an_index_without_a_matching_image_reports_its_platforms(
    settings: ConnectionSettings,
) -> None:
    offered = index((AMD, UNKNOWN), (AMD, platform("linux/amd64")), (ARM, platform("linux/arm/v7")))

    error = await expect_refusal(offered, settings, "linux/riscv64")
    other = await expect_refusal(index((AMD, UNKNOWN)), settings, "linux/riscv64")

    assert error.code == other.code == FaultCode.PLATFORM_MISSING
    assert "is for linux/amd64, linux/arm/v7, not for linux/riscv64" in error.message
    assert "is for none, not for" in other.message


@pytest.mark.parametrize("config", [b"no configuration", b"{}", b'{"rootfs": {"diff_ids": ["a"]}}'])
async def test_layers_without_diff_ids_have_only_sizes(
    settings: ConnectionSettings, config: bytes
) -> None:
    layers = [{"mediaType": "a", "digest": digest_of(text), "size": 7} for text in (b"1", b"2")]

    found = await find(configured(config, layers), settings, "linux/amd64")

    assert ([layer.size_bytes for layer in found.layers], found.diff_ids) == ([7, 7], ())


@pytest.mark.parametrize(
    ("config", "layer"),
    [
        ("application/vnd.cncf.helm.config.v1+json", "application/vnd.cncf.helm.chart.content.v1"),
        (CONFIG, "application/vnd.dev.cosign.simplesigning.v1+json"),
        (CONFIG, "application/vnd.in-toto+json"),
        ("application/vnd.docker.plugin.v1+json", LAYER),
        ("application/vnd.oci.empty.v1+json", "text/plain"),
    ],
    ids=["chart", "signature", "attestation", "plugin", "any artifact"],
)
async def test_an_artifact_is_not_an_image(
    settings: ConnectionSettings, config: str, layer: str
) -> None:
    parts = [{"mediaType": layer, "digest": digest_of(b"1"), "size": 1}]
    image = configured(b"{}", parts)
    kind, content = image.manifests[0]
    other = content.replace(CONFIG.encode(), config.encode())

    error = await expect_refusal(Image(image.blobs, [(kind, other)]), settings, "linux/amd64")

    assert (error.code, error.retryable) == (FaultCode.NOT_AN_IMAGE, False)


def chain(length: int) -> Image:
    image = AMD
    for _ in range(length):
        image = index((image, platform("linux/amd64")))
    return image


@pytest.mark.parametrize(
    "image",
    [
        chain(MAX_DEPTH),
        configured(b"{}", size=MAX_CONFIG_BYTES + 1),
        Image({}, [(INDEX, b'{"manifests": [{"digest": "none"}]}')]),
        Image({}, [(MANIFEST, b"{}")]),
    ],
    ids=["indexes in a row", "a large configuration", "an odd index", "an odd manifest"],
)
async def test_unreadable_content_is_named(settings: ConnectionSettings, image: Image) -> None:
    error = await expect_refusal(image, settings, "linux/amd64")

    assert error.code == FaultCode.REGISTRY_ERROR
    assert "cannot be read" in error.message


@pytest.mark.parametrize("part", ["child", "configuration"])
async def test_a_missing_part_is_named(settings: ConnectionSettings, part: str) -> None:
    image = index((AMD, platform("linux/amd64")))
    child = AMD.digests[0]
    config = json.loads(AMD.manifests[0][1])["config"]["digest"]
    missing = child if part == "child" else config

    async def answer(request: web.Request) -> web.StreamResponse:
        name = request.path.rpartition("/")[2]
        if name == missing:
            return web.json_response({"errors": [{"code": "MANIFEST_UNKNOWN"}]}, status=404)
        kind, content = AMD.manifests[0] if name == child else image.manifests[-1]
        return web.Response(body=content, headers={"Content-Type": kind})

    async with open_fake(answer) as fake, open_client(fake.host, settings) as client:
        reference = parse_reference(f"{fake.host}/a:1")
        with pytest.raises(RegistryError) as caught:
            await find_image(client, reference, parse_platform("linux/amd64"))

    assert caught.value.code == FaultCode.IMAGE_INCOMPLETE
    assert missing in caught.value.message and f"{fake.host}/a:1" in caught.value.message
