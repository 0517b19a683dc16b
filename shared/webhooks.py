"""Webhooks: the signature of messages, and the seal context of secrets.

Messages are signed as in Standard Webhooks 1.0 (https://www.standardwebhooks.com) with a symmetric
key: the signature covers the message's id, its timestamp in seconds, and the body.
"""

import base64
import hashlib
import hmac
import secrets
from typing import Literal, get_args
from urllib.parse import urlsplit

from shared.vault import SealContext

EventName = Literal[
    "job.ended",
    "build.ended",
    "deployment.ended",
    "credential.due",
    "credential.refused",
    "credential.expired",
    "credential.rotated",
    "credential.rotation_refused",
    "credential.rolled_back",
    "certificate.due",
    "certificate.expired",
]
EVENTS: tuple[EventName, ...] = get_args(EventName)

PREFIX = "whsec_"
KEY_BYTES = 32
ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER = (
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
)
PURPOSE = "webhook"
DEFAULT_PORTS = {"https": 443, "http": 80}


def make_secret() -> str:
    """Make a new secret: ``whsec_`` and 256 random bits in base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the signature ``v1,<base64>``; ``timestamp`` is in seconds since the epoch."""
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def seal_context(organization_id: str, webhook_id: str, url: str) -> SealContext:
    """Return the seal context of a webhook's secret, which is for its endpoint's host only."""
    return SealContext(PURPOSE, organization_id, webhook_id, host_of(url), "")


def host_of(url: str) -> str:
    """Return ``name[:port]`` of an http or https URL: lower case, without the default port."""
    parts = urlsplit(url)
    port = parts.port if parts.port != DEFAULT_PORTS.get(parts.scheme) else None
    return f"{parts.hostname}:{port}" if port else str(parts.hostname)
