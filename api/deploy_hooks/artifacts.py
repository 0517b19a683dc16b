"""Recognize pushed content that is not an image: signatures, attestations, SBOMs, charts; pure.

It is recognized by its tag (cosign, and the referrers tag schema of the OCI distribution
specification), or by a media type of the manifest, its config or its layers, if it is sent.
"""

import re
from collections.abc import Iterable

IMAGE_TYPES = ("application/vnd.oci.image.", "application/vnd.docker.")
NO_IMAGES = ("application/vnd.docker.plugin",)
UNTYPED = frozenset({"", "application/octet-stream", "application/json"})
"""Sent by old registries and clients; they do not identify a type."""

_REFERRERS = re.compile(r"sha(256|512)-[0-9a-f]{64}(?![0-9A-Za-z])")
_SUFFIXES = (".sig", ".att", ".sbom")


def explain_artifact(tag: str, media_types: Iterable[object] = ()) -> str:
    """Return why a push is not an image to deploy; empty if it may be one."""
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
