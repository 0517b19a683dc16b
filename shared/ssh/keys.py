"""Deploy keys: private keys with which a git server lets a repository be read."""

import base64
import hashlib
from dataclasses import dataclass, field
from typing import Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    SECP521R1,
    EllipticCurvePrivateKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from shared.errors import InvalidInputError

MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192
COMMENT = "wharfinger"

Private = Ed25519PrivateKey | EllipticCurvePrivateKey | RSAPrivateKey

_CURVES = (SECP256R1, SECP384R1, SECP521R1)
_REMEDY = "Give a key as ssh-keygen -t ed25519 -N '' writes it, or use generateDeployKey."


@dataclass(frozen=True)
class DeployKey:
    """A private key. Its ``repr`` shows nothing of it."""

    private: Private = field(repr=False)

    @classmethod
    def generate(cls) -> Self:
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a private key in OpenSSH's own format or in PEM.

        Raises:
            InvalidInputError: not a private key, protected by a passphrase, of a kind that is not
                supported, or an RSA key that is too short or too long.
        """
        private = _load(text.replace("\r\n", "\n").strip() + "\n")
        match private:
            case Ed25519PrivateKey():
                pass
            case EllipticCurvePrivateKey() if isinstance(private.curve, _CURVES):
                pass
            case RSAPrivateKey() if MIN_RSA_BITS <= private.key_size <= MAX_RSA_BITS:
                pass
            case RSAPrivateKey():
                raise InvalidInputError(
                    f"the RSA key has {private.key_size} bits, not {MIN_RSA_BITS} to "
                    f"{MAX_RSA_BITS}",
                    remedy=_REMEDY,
                )
            case _:
                raise InvalidInputError(
                    "the private key is neither ed25519 nor ECDSA nor RSA", remedy=_REMEDY
                )
        return cls(private)

    def to_text(self) -> str:
        """Return the private key itself, to be sealed."""
        return self.private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.OpenSSH,
            serialization.NoEncryption(),
        ).decode()

    @property
    def public_line(self) -> str:
        """Return the public key as in ``authorized_keys``."""
        public = self.private.public_key().public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        )
        return f"{public.decode()} {COMMENT}"

    @property
    def blob(self) -> bytes:
        """Return the public key as SSH sends it (RFC 4253, section 6.6)."""
        return base64.b64decode(self.public_line.split()[1])


def show_fingerprint(blob: bytes) -> str:
    """Return the fingerprint of a public key as ``ssh-keygen -l`` shows it: ``SHA256:…``."""
    return f"SHA256:{base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip('=')}"


def _load(text: str) -> object:
    is_openssh = text.startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    load = serialization.load_ssh_private_key if is_openssh else serialization.load_pem_private_key
    # The errors of the library are not chained: they might quote the key.
    try:
        return load(text.encode(), password=None)
    except TypeError:
        reason = "the private key is protected by a passphrase, which nobody can enter in a build"
    except UnsupportedAlgorithm:
        reason = "the private key is of a kind that is not supported"
    except ValueError:
        reason = "the text is not a private key"
    raise InvalidInputError(reason, remedy=_REMEDY)
