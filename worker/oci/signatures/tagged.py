"""The manifest under a ``.sig`` or ``.att`` tag of cosign 2: one layer for each signed document."""

import json
from collections.abc import Iterable

from worker.oci.images.artifact import MANIFEST_TYPE, Layer, describe
from worker.oci.registry.manifest import Manifest, make_manifest

CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
NEVER = "0001-01-01T00:00:00Z"


def read_layers(manifest: Manifest) -> list[Layer]:
    """Return the layers that a manifest lists."""
    document = json.loads(manifest.content)
    layers = document.get("layers") if isinstance(document, dict) else None
    return [one for one in layers or [] if isinstance(one, dict)]


def has_all_layers(manifest: Manifest, layers: Iterable[Layer]) -> bool:
    listed = read_layers(manifest)
    return all(one in listed for one in layers)


def add_layers(existing: Manifest | None, added: Iterable[Layer]) -> tuple[bytes, Manifest]:
    """Return the configuration and the manifest with further layers; each is listed once."""
    layers = read_layers(existing) if existing else []
    layers += [one for one in added if one not in layers]
    config = _make_config([one["digest"] for one in layers])
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": describe(CONFIG_TYPE, config),
        "layers": layers,
    }
    return config, make_manifest(MANIFEST_TYPE, manifest)


def _make_config(digests: list[str]) -> bytes:
    """Return the configuration that cosign writes: an image without a platform."""
    config = {
        "architecture": "",
        "created": NEVER,
        "history": [{"created": NEVER} for _ in digests],
        "os": "",
        "rootfs": {"type": "layers", "diff_ids": digests},
        "config": {},
    }
    return json.dumps(config, separators=(",", ":")).encode()
