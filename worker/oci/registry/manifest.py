"""Manifests and their descriptors, parsed from headers or from content."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from worker.oci.transport.http import Response

MANIFEST_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
ACCEPT = {"Accept": ", ".join(MANIFEST_TYPES)}
"""All four types: without one of them, a registry answers 404 for an image of that type."""

MANIFEST_LIMIT_BYTES = 4 * 1024 * 1024
"""The size that every registry has to accept (OCI distribution, "Pushing Manifests")."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Descriptor:
    """The media type, digest and size of a manifest or blob."""

    media_type: str
    digest: str
    size_bytes: int


@dataclass(frozen=True)
class Manifest:
    """A manifest with its content.

    ``config`` is the digest of an image's configuration; an index has none.
    """

    descriptor: Descriptor
    content: bytes = field(repr=False)
    config: str | None

    def is_of(self, image_id: str) -> bool:
        """Return whether an Engine's image id is the config or manifest digest of this image."""
        return image_id in {self.config, self.descriptor.digest}


def make_manifest(media_type: str, document: Mapping[str, Any]) -> Manifest:
    """Return a manifest of our own, with its digest."""
    content = json.dumps(document, separators=(",", ":")).encode()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return Manifest(Descriptor(media_type, digest, len(content)), content, _config(content))


def parse_descriptor(response: Response) -> Descriptor | None:
    """Parse the headers of a HEAD; return ``None`` if one of them is missing or malformed."""
    digest = response.headers.get("Docker-Content-Digest", "")
    size = response.headers.get("Content-Length", "")
    if response.content_type not in MANIFEST_TYPES or not _DIGEST.fullmatch(digest):
        return None
    return Descriptor(response.content_type, digest, int(size)) if size.isdigit() else None


def parse_manifest(response: Response) -> Manifest | None:
    """Parse the content of a GET; return ``None`` if its media type is none of the four."""
    if response.is_truncated or response.content_type not in MANIFEST_TYPES:
        return None
    digest = f"sha256:{hashlib.sha256(response.body).hexdigest()}"
    descriptor = Descriptor(response.content_type, digest, len(response.body))
    return Manifest(descriptor, response.body, _config(response.body))


def _config(body: bytes) -> str | None:
    try:
        document = json.loads(body)
    except ValueError:
        return None
    config = document.get("config") if isinstance(document, dict) else None
    digest = config.get("digest") if isinstance(config, dict) else None
    return digest if isinstance(digest, str) and _DIGEST.fullmatch(digest) else None
