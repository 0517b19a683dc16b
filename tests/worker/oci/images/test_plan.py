"""What lies below a reference, and how much of it is too much."""

import json

import pytest
from aiohttp import web

from shared.errors import RegistryError
from shared.faults import FaultCode
from shared.reference import parse_reference
from tests.fakes.web import Answer, open_fake
from tests.worker.oci.copying import two_platforms
from tests.worker.oci.parts import open_client
from tests.worker.oci.sample_images import INDEX, Image, digest_of, make_image, make_index
from worker.oci.images.plan import MAX_MANIFESTS, Plan, make_plan
from worker.oci.transport.settings import ConnectionSettings


def holds(image: Image) -> Answer:
    """Return every manifest under its digest, and the last one under every tag."""
    stored = {digest_of(content): (kind, content) for kind, content in image.manifests}

    async def answer(request: web.Request) -> web.StreamResponse:
        kind, content = stored.get(request.path.rpartition("/")[2], image.manifests[-1])
        return web.Response(body=content, headers={"Content-Type": kind})

    return answer


async def plan(image: Image, settings: ConnectionSettings) -> tuple[Plan, list[str]]:
    async with open_fake(holds(image)) as fake, open_client(fake.host, settings) as client:
        made = await make_plan(client, parse_reference(f"{fake.host}/app:1"))
    return made, fake.lines


def chain(length: int) -> Image:
    """Indexes in indexes."""
    image = make_image(b"deep")
    for _ in range(length - 1):
        image = make_index(image)
    return image


async def test_everything_is_named_once_and_before_who_names_it(
    settings: ConnectionSettings,
) -> None:
    platforms, single = two_platforms("plan"), make_image(b"single", architecture="s390x")
    inner = make_index(single)
    # ``single`` stands beside ``inner``, which needs it.
    image = make_index(platforms, inner, single)

    made, lines = await plan(image, settings)

    order = [child.descriptor.digest for child in made.children]
    assert sorted(order) == sorted(set(image.digests) - {image.digest})
    assert order.index(single.digest) < order.index(inner.digest)
    assert order.index(platforms.digests[0]) < order.index(platforms.digest)
    assert sorted(blob.digest for blob in made.blobs) == sorted(image.blobs)
    assert len(lines) == len(set(lines)) == 6


async def test_a_tag_is_asked_for_once(settings: ConnectionSettings) -> None:
    made, lines = await plan(two_platforms("once"), settings)

    assert [line for line in lines if line.endswith("/1")] == ["GET /v2/app/manifests/1"]
    assert made.root.descriptor.media_type == INDEX


async def test_indexes_in_indexes_are_followed_as_far_as_there_are_manifests(
    settings: ConnectionSettings,
) -> None:
    made, _ = await plan(chain(MAX_MANIFESTS), settings)

    assert len(made.children) == MAX_MANIFESTS - 1


async def test_an_index_of_too_many_manifests_is_not_followed(
    settings: ConnectionSettings,
) -> None:
    entries = [
        {"digest": digest_of(str(number).encode()), "size": 1}
        for number in range(MAX_MANIFESTS + 1)
    ]
    image = Image({}, [(INDEX, json.dumps({"manifests": entries}).encode())])

    with pytest.raises(RegistryError) as caught:
        await plan(image, settings)

    assert caught.value.code == FaultCode.REGISTRY_ERROR and "500" in caught.value.message


async def test_manifests_that_would_fill_the_memory_are_not_held(
    settings: ConnectionSettings,
) -> None:
    padding = " " * 3_900_000
    large = [
        Image({}, [(INDEX, json.dumps({"manifests": [], "n": number}).encode() + padding.encode())])
        for number in range(9)
    ]
    index = {"manifests": [{"digest": one.digest, "size": 1} for one in large]}
    image = Image({}, [*(one.manifests[0] for one in large), (INDEX, json.dumps(index).encode())])

    with pytest.raises(RegistryError) as caught:
        await plan(image, settings)

    assert "32 MiB" in caught.value.message


async def test_a_manifest_that_cannot_be_read_is_named(settings: ConnectionSettings) -> None:
    image = Image({}, [(INDEX, b'{"layers": []}')])

    with pytest.raises(RegistryError) as caught:
        await plan(image, settings)

    assert image.digest in caught.value.message
