"""The manifests below a reference, and their limits."""

import json

import pytest
from aiohttp import web

from shared.errors import RegistryError
from shared.faults import FaultCode
from shared.reference import parse_reference
from tests.fakes.web import Answer, open_fake
from tests.worker.oci.copying import make_two_platform_image
from tests.worker.oci.parts import open_client
from tests.worker.oci.sample_images import INDEX, Image, digest_of, make_image, make_index
from worker.oci.images.plan import MAX_MANIFESTS, Plan, make_plan
from worker.oci.transport.settings import ConnectionSettings


def respond_with_image(image: Image) -> Answer:
    """Respond with every manifest under its digest, and with the last one under every tag."""
    stored = {digest_of(content): (kind, content) for kind, content in image.manifests}

    async def answer(request: web.Request) -> web.StreamResponse:
        kind, content = stored.get(request.path.rpartition("/")[2], image.manifests[-1])
        return web.Response(body=content, headers={"Content-Type": kind})

    return answer


async def plan_image(image: Image, settings: ConnectionSettings) -> tuple[Plan, list[str]]:
    async with (
        open_fake(respond_with_image(image)) as fake,
        open_client(fake.host, settings) as client,
    ):
        made = await make_plan(client, parse_reference(f"{fake.host}/app:1"))
    return made, fake.lines


def chain(length: int) -> Image:
    """Return an index in an index in an index."""
    image = make_image(b"deep")
    for _ in range(length - 1):
        image = make_index(image)
    return image


async def test_each_manifest_is_listed_once_and_before_the_ones_that_name_it(
    settings: ConnectionSettings,
) -> None:
    platforms, single = make_two_platform_image("plan"), make_image(b"single", architecture="s390x")
    inner = make_index(single)
    # ``single`` is listed after ``inner``, which lists it too.
    image = make_index(platforms, inner, single)

    made, lines = await plan_image(image, settings)

    order = [child.descriptor.digest for child in made.children]
    assert sorted(order) == sorted(set(image.digests) - {image.digest})
    assert order.index(single.digest) < order.index(inner.digest)
    assert order.index(platforms.digests[0]) < order.index(platforms.digest)
    assert sorted(blob.digest for blob in made.blobs) == sorted(image.blobs)
    assert len(lines) == len(set(lines)) == 6


async def test_a_tag_is_resolved_once(settings: ConnectionSettings) -> None:
    made, lines = await plan_image(make_two_platform_image("once"), settings)

    assert [line for line in lines if line.endswith("/1")] == ["GET /v2/app/manifests/1"]
    assert made.root.descriptor.media_type == INDEX


async def test_nested_indexes_are_followed_up_to_the_limit_of_manifests(
    settings: ConnectionSettings,
) -> None:
    made, _ = await plan_image(chain(MAX_MANIFESTS), settings)

    assert len(made.children) == MAX_MANIFESTS - 1


async def test_an_index_of_too_many_manifests_is_refused(
    settings: ConnectionSettings,
) -> None:
    entries = [
        {"digest": digest_of(str(number).encode()), "size": 1}
        for number in range(MAX_MANIFESTS + 1)
    ]
    image = Image({}, [(INDEX, json.dumps({"manifests": entries}).encode())])

    with pytest.raises(RegistryError) as caught:
        await plan_image(image, settings)

    assert caught.value.code == FaultCode.REGISTRY_ERROR and "500" in caught.value.message


async def test_manifests_of_too_many_bytes_are_refused(
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
        await plan_image(image, settings)

    assert "32 MiB" in caught.value.message


async def test_a_malformed_manifest_is_named(settings: ConnectionSettings) -> None:
    image = Image({}, [(INDEX, b'{"layers": []}')])

    with pytest.raises(RegistryError) as caught:
        await plan_image(image, settings)

    assert image.digest in caught.value.message
