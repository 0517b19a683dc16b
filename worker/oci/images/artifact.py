"""Make an artifact that refers to an image: a manifest with one document (OCI image 1.1)."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker.oci.images.attached_manifests import Attachment
from worker.oci.registry.manifest import Descriptor, make_manifest

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
EMPTY = b"{}"

Layer = dict[str, Any]
"""A layer as a manifest lists it: ``mediaType``, ``digest``, ``size``, ``annotations``."""


@dataclass(frozen=True)
class Stored:
    """An attachment, and its blobs by digest."""

    attachment: Attachment
    blobs: Mapping[str, bytes]


def make_artifact(
    subject: Descriptor, artifact_type: str, content: bytes, annotations: Mapping[str, str]
) -> Stored:
    """Return the referrer of an image that holds a document of this type."""
    layer, config = describe(artifact_type, content), describe(EMPTY_TYPE, EMPTY)
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": artifact_type,
        "config": config,
        "layers": [layer],
        "subject": {
            "mediaType": subject.media_type,
            "size": subject.size_bytes,
            "digest": subject.digest,
        },
        "annotations": dict(annotations),
    }
    manifest = make_manifest(MANIFEST_TYPE, document)
    blobs = {str(layer["digest"]): content, str(config["digest"]): EMPTY}
    return Stored(Attachment(subject.digest, manifest), blobs)


def describe(media_type: str, content: bytes) -> Layer:
    """Return the entry of a manifest for this content."""
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return {"mediaType": media_type, "size": len(content), "digest": digest}
