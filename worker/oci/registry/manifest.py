"""What a manifest is, as a registry's headers say it or as its bytes do."""

import hashlib
import json
import re
from dataclasses import dataclass, field

from worker.oci.transport.http import Answer

MANIFEST_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
ACCEPT = {"Accept": ", ".join(MANIFEST_TYPES)}
"""All four at once: without one of them a registry says 404 to an image of that kind."""

MANIFEST_LIMIT_BYTES = 4 * 1024 * 1024
"""What a registry has to accept at least (OCI distribution, "Pushing Manifests")."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Descriptor:
    """What a manifest is, without its content."""

    media_type: str
    digest: str
    size_bytes: int


@dataclass(frozen=True)
class Manifest:
    """``config`` is the digest of an image's configuration; an index has none."""

    descriptor: Descriptor
    content: bytes = field(repr=False)
    config: str | None

    def is_of(self, image_id: str) -> bool:
        """Whether an Engine calls this image so: by its configuration, or by its manifest."""
        return image_id in {self.config, self.descriptor.digest}


def parse_descriptor(answer: Answer) -> Descriptor | None:
    """What the headers of a HEAD say; ``None`` where one of them lacks or is nonsense."""
    digest = answer.headers.get("Docker-Content-Digest", "")
    size = answer.headers.get("Content-Length", "")
    if answer.content_type not in MANIFEST_TYPES or not _DIGEST.fullmatch(digest):
        return None
    return Descriptor(answer.content_type, digest, int(size)) if size.isdigit() else None


def parse_manifest(answer: Answer) -> Manifest | None:
    """What the content of a GET says; ``None`` where it is no manifest of the four kinds."""
    if answer.is_cut or answer.content_type not in MANIFEST_TYPES:
        return None
    digest = f"sha256:{hashlib.sha256(answer.body).hexdigest()}"
    descriptor = Descriptor(answer.content_type, digest, len(answer.body))
    return Manifest(descriptor, answer.body, _config(answer.body))


def _config(body: bytes) -> str | None:
    try:
        document = json.loads(body)
    except ValueError:
        return None
    config = document.get("config") if isinstance(document, dict) else None
    digest = config.get("digest") if isinstance(config, dict) else None
    return digest if isinstance(digest, str) and _DIGEST.fullmatch(digest) else None
