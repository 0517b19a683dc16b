"""Manifests of all kinds, valid or not."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.worker.oci.sample_images import (
    FOREIGN,
    INDEX,
    LAYER,
    MANIFEST,
    describe,
    make_image,
    make_index,
)
from worker.oci.images.contents import Contents, parse_contents
from worker.oci.registry.manifest import MANIFEST_TYPES, Descriptor, Manifest

CONFIG, BLOB = describe("c", b"config"), describe(LAYER, b"blob")

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
descriptors = st.builds(
    Descriptor,
    st.text(max_size=30),
    st.binary(min_size=32, max_size=32).map(lambda content: f"sha256:{content.hex()}"),
    st.integers(0, 1 << 50),
)


def part(descriptor: Descriptor, **more: object) -> dict[str, object]:
    return {
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size_bytes,
        **more,
    }


def manifest(document: object, kind: str = MANIFEST) -> Manifest:
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    return Manifest(describe(kind, content), content, None)


@given(descriptors, st.lists(descriptors, max_size=5), st.lists(descriptors, max_size=3))
def test_the_contents_of_an_image_are_its_configuration_and_own_layers(
    config: Descriptor, layers: list[Descriptor], foreign: list[Descriptor]
) -> None:
    document = {
        "mediaType": MANIFEST,
        "config": part(config),
        "layers": [
            *(part(layer) for layer in layers),
            *(part(layer, urls=["https://a.invalid/"]) for layer in foreign),
        ],
        "annotations": {"more": "of it"},
    }

    assert parse_contents(manifest(document)) == Contents(config, tuple(layers))


@given(st.lists(descriptors, max_size=5))
def test_the_contents_of_an_index_are_its_manifests(children: list[Descriptor]) -> None:
    document = {"manifests": [part(child, platform={"os": "linux"}) for child in children]}

    assert parse_contents(manifest(document, INDEX)) == Contents(children=tuple(children))


@given(
    st.sampled_from(MANIFEST_TYPES),
    st.dictionaries(st.sampled_from(["mediaType", "config", "layers", "manifests"]), json_values),
)
def test_any_document_is_parsed_or_rejected_without_an_error(
    kind: str, document: dict[str, object]
) -> None:
    contents = parse_contents(manifest(document, kind))

    named = (contents.config, *contents.layers, *contents.children) if contents else ()
    assert all(one is None or one.digest.startswith("sha256:") for one in named)


@given(st.sampled_from(MANIFEST_TYPES), st.binary(max_size=50))
def test_any_bytes_are_parsed_or_rejected_without_an_error(kind: str, content: bytes) -> None:
    assert parse_contents(manifest(content, kind)) in {None, Contents()}


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        ({"config": part(CONFIG), "layers": [], "manifests": []}, MANIFEST),
        ({"manifests": [], "layers": []}, INDEX),
        ({"manifests": [], "config": part(CONFIG)}, INDEX),
        ({"manifests": []}, MANIFEST),
        ({"mediaType": INDEX, "config": part(CONFIG), "layers": []}, MANIFEST),
        ({"mediaType": MANIFEST, "manifests": []}, INDEX),
        ({"layers": []}, MANIFEST),
        ({"config": part(CONFIG), "layers": [part(BLOB) | {"size": -1}]}, MANIFEST),
        ({"config": part(CONFIG), "layers": [part(BLOB) | {"size": "1"}]}, MANIFEST),
        ({"config": part(CONFIG), "layers": [part(BLOB) | {"size": 1.5}]}, MANIFEST),
        ({"config": part(CONFIG), "layers": [part(BLOB) | {"digest": "sha512:00"}]}, MANIFEST),
        ({"config": part(CONFIG), "layers": [part(BLOB) | {"digest": "../x"}]}, MANIFEST),
        ({"config": {"digest": BLOB.digest + "\n", "size": 1}, "layers": []}, MANIFEST),
        ([], MANIFEST),
        (b"[" * 100_000, INDEX),
        (b'{"manifests": [', INDEX),
    ],
)
def test_an_ambiguous_or_malformed_manifest_is_rejected(document: object, kind: str) -> None:
    assert parse_contents(manifest(document, kind)) is None


def test_sample_images_are_parsed_as_they_were_made() -> None:
    image = make_image(b"1", b"2", foreign=[b"3"])
    index = make_index(image, make_image(b"4", architecture="arm64"))

    read = parse_contents(manifest(image.manifests[-1][1]))
    children = parse_contents(manifest(index.manifests[-1][1], INDEX))

    assert read and [layer.digest for layer in read.layers] == list(image.blobs)[:2]
    assert FOREIGN not in {layer.media_type for layer in read.layers}
    assert children and [child.digest for child in children.children] == index.digests[:2]
