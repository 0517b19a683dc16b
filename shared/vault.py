"""Secrets at rest and in flight: sealed with HPKE (RFC 9180), opened only with their context.

A sealed secret is text, ``v1.<key id>.<base64url>``: DHKEM(X25519), HKDF-SHA256, AES-256-GCM. The
context (`SealContext`) is HPKE's ``info``: a ciphertext that is copied to another row, host, user,
server or attempt does not open. The public key seals; only the private key opens.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from shared.errors import CredentialError, SetupError

VERSION = "v1"
SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
KEY_BYTES = 32


@dataclass(frozen=True)
class SealContext:
    """The purpose of a secret; it opens only if every field is the same again.

    ``purpose`` is ``credential`` (a stored registry password), ``credential_source`` (a source of
    such passwords, without username, of a registry or for a single job), ``client_key`` (of a
    registry or of one job, without username), ``password`` (given with a single job), ``login``
    (for one server and one attempt), ``webhook`` (for an endpoint's host), ``signing_key`` (without
    host and username), or of an application
    ``git_token``, ``git_ssh_key``, ``environment`` or ``build_secrets``, the last two without host
    and username. ``audit_key`` (signs checkpoints of the audit log) is of no organization.
    """

    purpose: str
    organization_id: str
    object_id: str
    host: str
    username: str
    server_id: str = ""
    attempt: int = 0

    @property
    def label(self) -> str:
        """Return the name for messages: the host, else the id of the object."""
        return self.host or self.object_id

    def info(self) -> bytes:
        fields = {"format": f"wharfinger {VERSION}", **asdict(self)}
        return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


@dataclass(frozen=True)
class PublicKey:
    """The key that seals; its text form is ``wharf-public-v1.<base64url>``."""

    key: X25519PublicKey

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raise `SetupError` unless ``text`` is a public key."""
        return cls(X25519PublicKey.from_public_bytes(_parse(text, "wharf-public-v1.")))

    def __str__(self) -> str:
        return "wharf-public-v1." + _encode(self.key.public_bytes_raw())

    @property
    def key_id(self) -> str:
        return hashlib.sha256(self.key.public_bytes_raw()).hexdigest()[:16]

    def seal(self, secret: str, context: SealContext) -> str:
        sealed = SUITE.encrypt(secret.encode(), self.key, context.info())
        return f"{VERSION}.{self.key_id}.{_encode(sealed)}"


@dataclass(frozen=True, repr=False)
class PrivateKey:
    """The key that opens; its text form is ``wharf-private-v1.<base64url>``."""

    key: X25519PrivateKey

    @classmethod
    def generate(cls) -> Self:
        return cls(X25519PrivateKey.generate())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raise `SetupError` unless ``text`` is a private key."""
        return cls(X25519PrivateKey.from_private_bytes(_parse(text, "wharf-private-v1.")))

    def text(self) -> str:
        """Return the key itself; store it where only its owner can read it."""
        return "wharf-private-v1." + _encode(self.key.private_bytes_raw())

    @property
    def public(self) -> PublicKey:
        return PublicKey(self.key.public_key())

    def __repr__(self) -> str:
        return f"PrivateKey({self.public.key_id}, ***)"


class KeyRing:
    """Private keys by id: the current one, and older ones for secrets that are sealed to them.

    With ``read`` the keys are read again when one is missing: ``wharf vault rotate`` adds a key to
    the file of a running process.
    """

    def __init__(
        self, keys: Iterable[PrivateKey], read: Callable[[], str | None] | None = None
    ) -> None:
        self._keys = {key.public.key_id: key for key in keys}
        self._read = read

    def find_public_key(self, sealed: str) -> PublicKey:
        """Return the public half of the key that a secret is sealed to.

        Raises:
            KeyError: the key is unknown, so that the secret does not open either.
        """
        key_id = sealed.split(".")[1]
        key = self._find(key_id)
        if key is None:
            raise KeyError(key_id)
        return key.public

    @property
    def current(self) -> PublicKey:
        """Return the public half of the first key, to which new secrets are sealed."""
        return next(iter(self._keys.values())).public

    @classmethod
    def parse(cls, text: str, read: Callable[[], str | None] | None = None) -> Self:
        """Parse keys separated by white space or commas; see the class for ``read``.

        Raises:
            SetupError: a part is not a private key.
        """
        return cls(parse_private_keys(text), read)

    def _find(self, key_id: str) -> PrivateKey | None:
        if key_id not in self._keys and self._read is not None:
            try:
                found = parse_private_keys(self._read() or "")
            except SetupError:
                found = []  # the secret is refused; the next one reads the file again
            self._keys |= {key.public.key_id: key for key in found}
        return self._keys.get(key_id)

    def open(self, sealed: str, context: SealContext) -> str:
        """Return the secret.

        Raises:
            CredentialError: sealed to an unknown key, with another context, or damaged.
        """
        version, _, rest = sealed.partition(".")
        key_id, _, body = rest.partition(".")
        key = self._find(key_id)
        if version != VERSION or key is None:
            raise CredentialError(
                f"the {context.purpose} for {context.label} is encrypted with a key that wharf "
                "control does not have",
                remedy="Store it again, or add the older private key to WHARF_VAULT_PRIVATE_KEY of "
                "wharf control.",
            )
        try:
            return SUITE.decrypt(_decode(body), key.key, context.info()).decode()
        except (InvalidTag, ValueError) as error:
            raise CredentialError(
                f"the {context.purpose} for {context.label} is damaged, or was "
                "encrypted for another use",
                remedy="Store it again.",
            ) from error


def parse_private_keys(text: str) -> list[PrivateKey]:
    """Parse keys separated by white space or commas; the first one is the current one.

    Raises:
        SetupError: a part is not a private key.
    """
    return [PrivateKey.parse(part) for part in text.replace(",", " ").split()]


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _parse(text: str, prefix: str) -> bytes:
    kind = prefix.removesuffix(".")
    try:
        raw = _decode(text.strip().removeprefix(prefix))
    except ValueError as error:
        raise SetupError(f"not a {kind} key") from error
    if not text.strip().startswith(prefix) or len(raw) != KEY_BYTES:
        raise SetupError(f"not a {kind} key")
    return raw
