"""Providers of registries, recognised by their host: the forms of their logins, and their expiry.

Host forms are those of the providers' documentation; ECR's also of its credential helper.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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


_AWS = (
    r"(amazonaws\.com(\.cn)?|amazonaws\.eu|on\.aws|on\.amazonwebservices\.(com\.cn|eu)"
    # The partitions of governments, by AWS's list of endpoints.
    r"|c2s\.ic\.gov|sc2s\.sgov\.gov|cloud\.adc-e\.uk|csp\.hci\.ic\.gov)"
)
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
_AWS_KEY_ID = re.compile("A[KS]IA[A-Z0-9]{16}")
_AWS_SECRET_KEY = re.compile("[A-Za-z0-9/+]{40}")
_NOBODY = "00000000-0000-0000-0000-000000000000"
"""The username of a refresh token of Azure's registries."""

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


@dataclass(frozen=True)
class Advice:
    """A doubt about a login, by the provider's documentation; ``field`` is ``username`` or so."""

    field: str
    message: str


def advise(provider: Provider, host: str, username: str, secret: str) -> Iterator[Advice]:
    """Yield what the provider will probably not accept in a login. Nothing is refused for it."""
    match provider:
        case Provider.DOCKER_HUB if "@" in username:
            yield Advice("username", "Docker Hub's username is the Docker ID, no e-mail address")
        case Provider.GHCR if secret.startswith("github_pat_"):
            yield Advice(
                "password",
                "ghcr.io accepts only classic personal access tokens, as ghp_…",
            )
        case Provider.GHCR if secret.startswith("ghs_"):
            yield Advice("password", "a token of a workflow or an app of GitHub expires soon")
        case Provider.ACR if username == _NOBODY:
            yield Advice(
                "password",
                "a refresh token expires after some hours; with a credential of the kind acr "
                "control renews it",
            )
        case Provider.GITLAB if username == "gitlab-ci-token":
            yield Advice("password", "a job token of GitLab ends with its job: use a deploy token")
        case Provider.ECR | Provider.ECR_PUBLIC:
            yield from _advise_aws(username, secret)
        case Provider.GOOGLE:
            yield from _advise_google(host, username, secret)
        case Provider.SCALEWAY if username != "nologin":
            yield Advice("username", "Scaleway's username is nologin; the password is a secret key")
        case Provider.ORACLE if "/" not in username:
            yield Advice("username", "Oracle's username is NAMESPACE/USER")
        case _:
            pass


def _advise_aws(username: str, secret: str) -> Iterator[Advice]:
    if _AWS_KEY_ID.fullmatch(username):
        yield Advice(
            "username",
            "this is the id of an access key. ECR's username is AWS, and the password is what "
            "`aws ecr get-login-password` prints",
        )
    elif username != "AWS":
        yield Advice("username", "ECR's username is AWS, in capital letters")
    elif _AWS_SECRET_KEY.fullmatch(secret):
        yield Advice(
            "password",
            "this looks like a secret access key. The password is what "
            "`aws ecr get-login-password` prints",
        )


def _advise_google(host: str, username: str, secret: str) -> Iterator[Advice]:
    if host.partition(":")[0].endswith("gcr.io"):
        yield Advice(
            "registryUrl",
            f"Container Registry takes no images since 2025: {host} has to be a repository of "
            "Artifact Registry",
        )
    match username:
        case "_json_key":
            if not _is_service_account(_load_object(secret)):
                yield Advice("password", "with _json_key it is the JSON key of a service account")
        case "_json_key_base64":
            if not _is_service_account(_read_json(secret)):
                yield Advice("password", "with _json_key_base64 it is the JSON key in base64")
        case "oauth2accesstoken":
            yield Advice(
                "password",
                "an access token of Google expires after an hour; control renews it with a "
                "credential of the kind google",
            )
        case _:
            yield Advice(
                "username", "Google's username is _json_key, _json_key_base64 or oauth2accesstoken"
            )


def _is_service_account(document: Mapping[str, object]) -> bool:
    return {"client_email", "private_key"} <= document.keys()


def _read_json(text: str) -> dict[str, Any]:
    """Decode a JSON object in base64, plain or for URLs; an empty one if it is none."""
    if not _BASE64.fullmatch(text):
        return {}
    padded = text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4)
    try:
        decoded = base64.b64decode(padded.translate(str.maketrans("-_", "+/")), validate=True)
    except binascii.Error:
        return {}
    return _load_object(decoded)


def _load_object(text: str | bytes) -> dict[str, Any]:
    """Parse a JSON object; an empty one if it is none."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _moment(seconds: object) -> datetime | None:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
