"""Read the SHA-256 that the sender of a body declares."""

import base64
import binascii
import re
from collections.abc import Iterable, Iterator

from shared.errors import InvalidInputError

CONTENT_DIGEST = "content-digest"
CONTENT_SHA256 = "x-content-sha256"

_HEXADECIMAL = re.compile(r"[0-9a-fA-F]{64}")
_BYTES = re.compile(r":([A-Za-z0-9+/]{43}=):")


def parse_checksums(digests: Iterable[str], plain: Iterable[str]) -> frozenset[str]:
    """Return the checksums in the two headers, in hexadecimal; empty without headers.

    ``digests`` are values of ``Content-Digest`` (RFC 9530, section 2:
    ``sha-256=:<base64>:``); other algorithms are ignored beside it. ``plain`` are values of
    ``x-content-sha256``, hexadecimal.

    Raises:
        InvalidInputError: a header is not a SHA-256.
    """
    values = list(digests)
    found = frozenset(_digests(values))
    if values and not found:
        raise _unreadable(CONTENT_DIGEST)
    return found.union(map(_plain, plain))


def _plain(value: str) -> str:
    if not _HEXADECIMAL.fullmatch(value.strip()):
        raise _unreadable(CONTENT_SHA256)
    return value.strip().lower()


def _digests(values: Iterable[str]) -> Iterator[str]:
    for member in ",".join(values).split(","):
        name, _, value = member.strip().partition("=")
        if name.lower() == "sha-256":
            found = _BYTES.fullmatch(value)
            if found is None:
                raise _unreadable(CONTENT_DIGEST)
            yield _decode(found[1]).hex()


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise _unreadable(CONTENT_DIGEST) from error


def _unreadable(header: str) -> InvalidInputError:
    return InvalidInputError(
        f"the header {header} is not a SHA-256",
        remedy="Send Content-Digest as sha-256=:<base64>:, x-content-sha256 in hexadecimal.",
    )
