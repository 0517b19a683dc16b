"""Webhooks: how a message is signed, and for which endpoint its secret is sealed.

Signed as Standard Webhooks 1.0 (https://www.standardwebhooks.com) has it, with a symmetric key: the
signature covers the message's id, the second at which it is sent, and the body as it is.
"""

import base64
import hashlib
import hmac
import secrets
from typing import Literal, get_args
from urllib.parse import urlsplit

from shared.vault import SealContext

EventName = Literal["job.ended", "build.ended", "deployment.ended"]
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
    """A new secret: ``whsec_`` and 256 random bits in base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """``v1,<base64>`` for a body that is sent at this second since the epoch."""
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def seal_context(organization_id: str, webhook_id: str, url: str) -> SealContext:
    """A secret is for one endpoint's host: it signs nothing that goes to another one."""
    return SealContext(PURPOSE, organization_id, webhook_id, host_of(url), "")


def host_of(url: str) -> str:
    """``name[:port]`` of an http or https URL, in lower case, without the scheme's own port."""
    parts = urlsplit(url)
    port = parts.port if parts.port != DEFAULT_PORTS.get(parts.scheme) else None
    return f"{parts.hostname}:{port}" if port else str(parts.hostname)
