"""Pushed content that is no image to deploy: signatures, attestations, SBOMs, charts; pure.

The tag tells (cosign, and the referrers tag schema of the OCI distribution specification), or a
media type of the manifest, of its configuration or of its layers, where a sender names them.
"""

import re
from collections.abc import Iterable

IMAGE_TYPES = ("application/vnd.oci.image.", "application/vnd.docker.")
NO_IMAGES = ("application/vnd.docker.plugin",)
UNTYPED = frozenset({"", "application/octet-stream", "application/json"})
"""Old registries and clients write these; they say nothing."""

_REFERRERS = re.compile(r"sha(256|512)-[0-9a-f]{64}(?![0-9A-Za-z])")
_SUFFIXES = (".sig", ".att", ".sbom")


def explain_artifact(tag: str, media_types: Iterable[object] = ()) -> str:
    """Say why a push is no image to deploy; empty where it may be one."""
    if _REFERRERS.match(tag) or tag.endswith(_SUFFIXES):
        return "the tag is for signatures, attestations, SBOMs or referrers of an image"
    named = (one for one in media_types if isinstance(one, str))
    foreign = next((one for one in named if not _is_of_image(one)), None)
    return f"its media type is {foreign[:100]!r}" if foreign else ""


def _is_of_image(media_type: str) -> bool:
    plain = media_type.partition(";")[0].strip().lower()
    if plain.startswith(NO_IMAGES):
        return False
    return plain in UNTYPED or plain.startswith(IMAGE_TYPES)
