"""Signatures of requests to AWS: Signature Version 4.

By the page "Create a signed AWS API request" of the IAM User Guide. Only what the services here
need: POST requests without a query.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pydantic import SecretStr
from yarl import URL

ALGORITHM = "AWS4-HMAC-SHA256"
TERMINATOR = "aws4_request"


@dataclass(frozen=True)
class Keys:
    """An access key; temporary ones have a session token. ``name`` describes them in messages."""

    access_key_id: str
    secret_access_key: SecretStr
    session_token: SecretStr | None = None
    name: str = field(default="", compare=False)

    @property
    def label(self) -> str:
        return self.name or f"the access key {self.access_key_id}"

    @property
    def secrets(self) -> tuple[SecretStr, ...]:
        return tuple(one for one in (self.secret_access_key, self.session_token) if one)


@dataclass(frozen=True)
class Message:
    """The headers and the content of a POST request."""

    headers: Mapping[str, str]
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class Scope:
    """The region and the service that a signature is valid for, by their signing names."""

    region: str
    service: str


def sign(url: URL, message: Message, keys: Keys, scope: Scope, now: datetime) -> dict[str, str]:
    """Return the headers of a POST request with its signature."""
    timestamp = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    signed = {name.lower(): " ".join(value.split()) for name, value in message.headers.items()}
    signed |= {"host": _host(url), "x-amz-date": timestamp}
    if keys.session_token is not None:
        signed["x-amz-security-token"] = keys.session_token.get_secret_value()
    names = ";".join(sorted(signed))
    request = _canonical_request(url, signed, names, message.content)
    credential_scope = f"{timestamp[:8]}/{scope.region}/{scope.service}/{TERMINATOR}"
    text = "\n".join((ALGORITHM, timestamp, credential_scope, _hash(request.encode())))
    key = _derive_key(keys.secret_access_key, timestamp[:8], scope)
    signature = hmac.digest(key, text.encode(), hashlib.sha256).hex()
    authorization = (
        f"{ALGORITHM} Credential={keys.access_key_id}/{credential_scope}, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    return {**signed, "authorization": authorization}


def _canonical_request(url: URL, signed: Mapping[str, str], names: str, content: bytes) -> str:
    lines = [f"{name}:{signed[name]}" for name in sorted(signed)]
    return "\n".join(("POST", url.raw_path or "/", "", *lines, "", names, _hash(content)))


def _derive_key(secret: SecretStr, day: str, scope: Scope) -> bytes:
    key = b"AWS4" + secret.get_secret_value().encode()
    for part in (day, scope.region, scope.service, TERMINATOR):
        key = hmac.digest(key, part.encode(), hashlib.sha256)
    return key


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _host(url: URL) -> str:
    host = url.raw_host or ""
    return host if url.is_default_port() else f"{host}:{url.port}"
