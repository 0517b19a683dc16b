"""Verify that a request was signed with the secret of a deploy hook.

Three ways, by what senders can do: Standard Webhooks' headers, GitHub's ``X-Hub-Signature-256``, or
the secret itself as ``Authorization``, for those that can only send a header as it was given.
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Literal

from api.errors import SignatureError
from shared.webhooks import ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, sign

Proof = Literal["standard", "github", "secret"]

GITHUB_HEADER = "x-hub-signature-256"
GITHUB_PREFIX = "sha256="
TOLERANCE_SECONDS = 300
"""How far from our clock a message may say that it was sent; what is older was caught and kept."""


def require_signed(
    headers: Mapping[str, str], body: bytes, secret: str, *, now: float, required: bool = True
) -> Proof | None:
    """Check what the headers (lower-case names) prove of the body as it came, and say by which way.

    ``required``: proving nothing will not do; a wrong proof never does.

    Raises:
        SignatureError: nothing is proved, or something wrong, or too long ago.
    """
    if SIGNATURE_HEADER in headers:
        _require_standard(headers, body, secret, now)
        return "standard"
    if GITHUB_HEADER in headers:
        made = hmac.digest(secret.encode(), body, hashlib.sha256).hex()
        _require_same(headers[GITHUB_HEADER], GITHUB_PREFIX + made)
        return "github"
    if "authorization" in headers:
        scheme, _, rest = headers["authorization"].partition(" ")
        given = rest if scheme.lower() == "bearer" else headers["authorization"]
        _require_same(given.strip(), secret)
        return "secret"
    if required:
        raise SignatureError(
            "the request is not signed",
            remedy="Send webhook-signature, X-Hub-Signature-256, or the secret as Authorization; "
            "for a sender that can do nothing of that, make a hook with requireSignature false.",
        )
    return None


def _require_standard(headers: Mapping[str, str], body: bytes, secret: str, now: float) -> None:
    message_id, sent = headers.get(ID_HEADER, ""), headers.get(TIMESTAMP_HEADER, "")
    if not message_id or not (sent.isascii() and sent.isdecimal()) or len(sent) > 12:
        raise SignatureError(f"{SIGNATURE_HEADER} goes with {ID_HEADER} and {TIMESTAMP_HEADER}")
    made = sign(secret, message_id, int(sent), body)
    if not any(_is_same(given, made) for given in headers[SIGNATURE_HEADER].split(" ")):
        raise SignatureError("the signature is not that of this body")
    if abs(now - int(sent)) > TOLERANCE_SECONDS:
        raise SignatureError(
            f"the message was not signed within {TOLERANCE_SECONDS} s of now",
            remedy="Check the sender's clock, and sign a message again when it is sent again.",
        )


def _require_same(given: str, wanted: str) -> None:
    if not _is_same(given, wanted):
        raise SignatureError("the signature is not that of this body")


def _is_same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), wanted.encode())
