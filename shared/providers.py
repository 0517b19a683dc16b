"""Providers of registries, recognised by their host, and what their secrets show of their expiry.

Host forms are those of the providers' documentation; ECR's also of its credential helper.
"""

import base64
import binascii
import json
import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from shared.reference import HUB


class Provider(StrEnum):
    """The operator of a registry; ``SELF_HOSTED`` is every host that is not known."""

    DOCKER_HUB = "docker_hub"
    GHCR = "ghcr"
    ECR = "ecr"
    ECR_PUBLIC = "ecr_public"
    GOOGLE = "google"
    ACR = "acr"
    QUAY = "quay"
    GITLAB = "gitlab"
    DIGITALOCEAN = "digitalocean"
    SCALEWAY = "scaleway"
    ORACLE = "oracle"
    SELF_HOSTED = "self_hosted"


_AWS = r"(amazonaws\.com(\.cn)?|amazonaws\.eu|on\.aws|on\.amazonwebservices\.com\.cn)"
_HOSTS: tuple[tuple[Provider, str], ...] = (
    (Provider.DOCKER_HUB, re.escape(HUB)),
    (Provider.GHCR, r"ghcr\.io"),
    # The seed's example has an account of nine digits; real ones have twelve.
    (
        Provider.ECR,
        rf"\d{{9,12}}\.dkr[.-]ecr(-fips)?\.[a-z0-9-]+\.{_AWS}",
    ),
    (Provider.ECR_PUBLIC, r"public\.ecr\.aws|ecr-public\.aws\.com"),
    (Provider.GOOGLE, r"([a-z]+\.)?gcr\.io|[a-z0-9-]+-docker\.pkg\.dev"),
    (Provider.ACR, r"[a-z0-9-]+\.azurecr\.(io|cn|us)"),
    (Provider.QUAY, r"quay\.io"),
    (Provider.GITLAB, r"registry\.gitlab\.com"),
    (Provider.DIGITALOCEAN, r"registry\.digitalocean\.com"),
    (Provider.SCALEWAY, r"rg\.[a-z0-9-]+\.scw\.cloud"),
    (Provider.ORACLE, r"([a-z0-9-]+\.)?ocir\.io|ocir\.[a-z0-9-]+\.oci\.oraclecloud\.com"),
)
_PATTERNS = tuple((provider, re.compile(pattern)) for provider, pattern in _HOSTS)

_MAX_TOKEN_CHARACTERS = 16 * 1024
_BASE64 = re.compile(r"[A-Za-z0-9_+/-]+={0,2}")


def recognise(host: str) -> Provider:
    """Return the provider of a canonical registry name, ``host`` or ``host:port``."""
    name = host.partition(":")[0]
    for provider, pattern in _PATTERNS:
        if pattern.fullmatch(name):
            return provider
    return Provider.SELF_HOSTED


def read_expiry(secret: str) -> datetime | None:
    """Return the time at which a secret expires, if it says so itself.

    An ECR token is JSON with ``expiration`` in base64. A JSON Web Token (RFC 7519) has ``exp`` in
    its second part. Nothing is verified: a forged time only harms whoever stores it.
    """
    if len(secret) > _MAX_TOKEN_CHARACTERS:
        return None
    parts = secret.split(".")
    if len(parts) == 3:
        return _moment(_read_json(parts[1]).get("exp"))
    return _moment(_read_json(secret).get("expiration"))


def _read_json(text: str) -> dict[str, Any]:
    """Decode a JSON object in base64, plain or for URLs; an empty one if it is none."""
    if not _BASE64.fullmatch(text):
        return {}
    padded = text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4)
    try:
        decoded = base64.b64decode(padded.translate(str.maketrans("-_", "+/")), validate=True)
        document = json.loads(decoded)
    except (binascii.Error, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _moment(seconds: object) -> datetime | None:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
