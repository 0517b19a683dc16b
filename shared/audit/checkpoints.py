"""Statements about a chain that control signs: its checkpoints, and its closed segments.

The key is Ed25519 (RFC 8032) and used for nothing else. What is signed is one line that names the
kind of statement, then the statement as `shared.audit.entries.canonical` encodes it.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from shared.audit.entries import canonical

PUBLIC_PREFIX = "wharf-audit-public-v1."


@dataclass(frozen=True)
class Statement:
    """A signed statement about one organization's chain; ``signature`` is base64."""

    kind: ClassVar[str] = ""

    def signed(self) -> bytes:
        stated = {name: value for name, value in asdict(self).items() if name != "signature"}
        return f"wharfinger audit {self.kind} v1\n".encode() + canonical(stated)

    def show(self) -> dict[str, Any]:
        """Return the statement as it is exported."""
        return {_camel(name): value for name, value in asdict(self).items()}

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Self:
        """Read an exported statement.

        Raises:
            KeyError, TypeError, ValueError: it is not one.
        """
        return cls(**{one.name: _as(one.type, document[_camel(one.name)]) for one in fields(cls)})


@dataclass(frozen=True)
class Checkpoint(Statement):
    """The chain had this hash at this entry; ``number`` counts the organization's checkpoints."""

    kind = "checkpoint"

    organization_id: str
    number: int
    sequence: int
    hash: str
    at: str
    key_id: str
    signature: str = ""


@dataclass(frozen=True)
class Segment(Statement):
    """Entries that were exported to a file and removed here; the chain goes on from the last hash.

    ``file_sha256`` is of the file's bytes; ``checkpoint`` is the number of its last checkpoint.
    """

    kind = "segment"

    organization_id: str
    first_sequence: int
    last_sequence: int
    previous_hash: str
    last_hash: str
    checkpoint: int
    file: str
    file_sha256: str
    at: str
    key_id: str
    signature: str = ""


@dataclass(frozen=True)
class VerifyingKey:
    """The public key; its text form is ``wharf-audit-public-v1.<base64url>``."""

    key: Ed25519PublicKey

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raise `ValueError` unless ``text`` is a public key."""
        if not text.startswith(PUBLIC_PREFIX):
            raise ValueError(f"it does not begin with {PUBLIC_PREFIX}")
        encoded = text.removeprefix(PUBLIC_PREFIX)
        raw = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
        return cls(Ed25519PublicKey.from_public_bytes(raw))

    def __str__(self) -> str:
        raw = self.key.public_bytes_raw()
        return PUBLIC_PREFIX + base64.urlsafe_b64encode(raw).decode().rstrip("=")

    @property
    def key_id(self) -> str:
        return hashlib.sha256(self.key.public_bytes_raw()).hexdigest()[:16]

    def has_signed(self, statement: Statement, signature: str) -> bool:
        """Return whether the signature is this key's, of this statement."""
        try:
            self.key.verify(base64.b64decode(signature, validate=True), statement.signed())
        except (InvalidSignature, binascii.Error, ValueError):
            return False
        return True


@dataclass(frozen=True, repr=False)
class SigningKey:
    """The private key; only control has it."""

    key: Ed25519PrivateKey

    @classmethod
    def generate(cls) -> Self:
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `text` returned."""
        return cls(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(text)))

    def text(self) -> str:
        """Return the key itself, to be sealed."""
        return self.key.private_bytes_raw().hex()

    @property
    def public(self) -> VerifyingKey:
        return VerifyingKey(self.key.public_key())

    def sign(self, statement: Statement) -> str:
        """Return the signature of the statement."""
        return base64.b64encode(self.key.sign(statement.signed())).decode()


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(part.capitalize() for part in others)


def _as(kind: object, value: object) -> str | int:
    return int(str(value)) if kind is int else str(value)
