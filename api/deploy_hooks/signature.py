"""Verify that a request was signed with the secret of a deploy hook.

Three methods, as senders differ: Standard Webhooks' headers; ``X-Hub-Signature-256`` of GitHub, or
``X-Gitea-Signature``, which is the same; or the secret itself as ``Authorization`` or GitLab's
``X-Gitlab-Token``, for senders that can only send a fixed header.
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Literal

from api.errors import SignatureError
from shared.webhooks import ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, sign

SignatureMethod = Literal["standard", "github", "secret"]

GITHUB_HEADER = "x-hub-signature-256"
GITEA_HEADER = "x-gitea-signature"
GITLAB_HEADER = "x-gitlab-token"
GITHUB_PREFIX = "sha256="
TOLERANCE_SECONDS = 300
"""Maximum difference of a message's timestamp from our clock, against replays."""


def require_signed(
    headers: Mapping[str, str], body: bytes, secret: str, *, now: float, required: bool = True
) -> SignatureMethod | None:
    """Verify the signature in the headers (lower-case names); return its method.

    Without ``required`` an unsigned request passes; a wrong signature never does.

    Raises:
        SignatureError: no signature, a wrong one, or an old timestamp.
    """
    if SIGNATURE_HEADER in headers:
        _require_standard(headers, body, secret, now)
        return "standard"
    if GITHUB_HEADER in headers:
        made = hmac.digest(secret.encode(), body, hashlib.sha256).hex()
        _require_same(headers[GITHUB_HEADER], GITHUB_PREFIX + made)
        return "github"
    if GITEA_HEADER in headers:
        made = hmac.digest(secret.encode(), body, hashlib.sha256).hex()
        _require_same(headers[GITEA_HEADER], made)
        return "github"
    if GITLAB_HEADER in headers:
        _require_same(headers[GITLAB_HEADER], secret)
        return "secret"
    if "authorization" in headers:
        scheme, _, rest = headers["authorization"].partition(" ")
        given = rest if scheme.lower() == "bearer" else headers["authorization"]
        _require_same(given.strip(), secret)
        return "secret"
    if required:
        raise SignatureError(
            "the request is not signed",
            remedy="Send webhook-signature, X-Hub-Signature-256, or the secret as Authorization; "
            "for a sender that supports none of them, create a hook with requireSignature false.",
        )
    return None


def _require_standard(headers: Mapping[str, str], body: bytes, secret: str, now: float) -> None:
    message_id, sent = headers.get(ID_HEADER, ""), headers.get(TIMESTAMP_HEADER, "")
    if not message_id or not (sent.isascii() and sent.isdecimal()) or len(sent) > 12:
        raise SignatureError(f"{SIGNATURE_HEADER} needs {ID_HEADER} and {TIMESTAMP_HEADER}")
    made = sign(secret, message_id, int(sent), body)
    if not any(_is_same(given, made) for given in headers[SIGNATURE_HEADER].split(" ")):
        raise SignatureError("the signature does not match the body")
    if abs(now - int(sent)) > TOLERANCE_SECONDS:
        raise SignatureError(
            f"the message's timestamp differs from now by more than {TOLERANCE_SECONDS} s",
            remedy="Check the sender's clock, and sign each message when it is sent.",
        )


def _require_same(given: str, expected: str) -> None:
    if not _is_same(given, expected):
        raise SignatureError("the signature does not match the body")


def _is_same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), expected.encode())
