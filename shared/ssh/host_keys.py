"""Pinned host keys: the keys by which an SSH server is recognized, as fingerprints.

They are given as fingerprints (``SHA256:…``), as lines of ``known_hosts`` (sshd(8)), which
``ssh-keyscan`` prints, or as a server's ``ssh_host_…_key.pub``. A fingerprint identifies a key.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from shared.errors import InvalidInputError
from shared.ssh.address import DEFAULT_PORT, SshAddress
from shared.ssh.keys import show_fingerprint

MAX_HOST_KEYS = 20
KEY_TYPES = (
    "ssh-ed25519",
    *("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    "ssh-rsa",
)
"""The types of host keys, as SSH calls them."""

_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
_REMEDY = (
    "Give fingerprints (SHA256:...) that the git host publishes, or lines as ssh-keyscan prints "
    "them after comparing their fingerprints."
)


def parse_host_keys(text: str, address: SshAddress) -> tuple[str, ...]:
    """Return the fingerprints in a text of one or several lines, sorted.

    Raises:
        InvalidInputError: a line is none of the three forms, or is for another host; there is none,
            or there are too many.
    """
    lines = [line.strip() for line in text.splitlines()]
    found = {_parse(line, address) for line in lines if line and not line.startswith("#")}
    if not 0 < len(found) <= MAX_HOST_KEYS:
        raise InvalidInputError(
            f"the text has {len(found)} host keys, not 1 to {MAX_HOST_KEYS}", remedy=_REMEDY
        )
    return tuple(sorted(found))


def fingerprint_of(key_type: str, encoded: str) -> str | None:
    """Return the fingerprint of a key in base64; `None` if it is not one of that type."""
    try:
        blob = base64.b64decode(encoded, validate=True)
    except ValueError:
        return None
    name = key_type.encode()
    is_right = key_type in KEY_TYPES and blob.startswith(len(name).to_bytes(4, "big") + name)
    return show_fingerprint(blob) if is_right else None


def _parse(line: str, address: SshAddress) -> str:
    words = line.split()
    # A line of ssh-keygen -l begins with the length: 256 SHA256:... comment (ED25519)
    shown = words[words[0].isdigit() and len(words) > 1].rstrip("=")
    if _FINGERPRINT.fullmatch(shown):
        return shown
    if words[0] in KEY_TYPES:
        words = ["*", *words]
    fingerprint = fingerprint_of(*words[1:3]) if len(words) >= 3 else None
    if fingerprint is None:
        raise InvalidInputError(f"a host key is not valid: {line[:60]!r}", remedy=_REMEDY)
    if not _is_for(words[0].split(","), address):
        raise InvalidInputError(
            f"a line of known_hosts is not for {address.host}: {line[:60]!r}", remedy=_REMEDY
        )
    return fingerprint


def _is_for(patterns: Sequence[str], address: SshAddress) -> bool:
    name = address.hostname
    if address.port != DEFAULT_PORT:
        name = f"[{name}]:{address.port}"
    if any(pattern.startswith("!") and _fits(pattern[1:], name) for pattern in patterns):
        return False
    return any(_fits(pattern, name) for pattern in patterns)


def _fits(pattern: str, name: str) -> bool:
    if not pattern.startswith("|1|"):
        return fnmatchcase(name, pattern.lower().replace("[", "[[]"))
    try:
        salt, hashed = (base64.b64decode(part) for part in pattern[3:].split("|"))
    except ValueError:
        return False
    return hmac.compare_digest(hmac.digest(salt, name.encode(), hashlib.sha1), hashed)
