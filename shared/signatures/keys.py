"""Key pairs that sign images: their text forms, their fingerprints, one signature."""

import hashlib
from dataclasses import dataclass
from typing import Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from shared.errors import CredentialError, InvalidInputError

MAX_PEM_CHARACTERS = 20_000
MIN_RSA_BITS = 2048

PublicKeyTypes = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey


@dataclass(frozen=True)
class PublicKey:
    """A key that checks signatures.

    ``fingerprint`` is ``sha256:`` and 64 hexadecimal digits of the key's DER form
    (SubjectPublicKeyInfo).
    """

    key: PublicKeyTypes
    fingerprint: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a PEM public key, as cosign writes it into ``cosign.pub``.

        ECDSA on the NIST curves, Ed25519, and RSA of at least 2,048 bits are accepted.

        Raises:
            InvalidInputError: it is no such key.
        """
        if len(text) > MAX_PEM_CHARACTERS:
            raise _make_key_error("it is too long")
        try:
            key = serialization.load_pem_public_key(text.encode())
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise _make_key_error("it is not a public key in PEM form") from error
        return cls.of(key)

    @classmethod
    def of(cls, key: object) -> Self:
        """Return the key of a type that can be used.

        Raises:
            InvalidInputError: it is no such key.
        """
        if not isinstance(key, PublicKeyTypes):
            raise _make_key_error("it is neither ECDSA, Ed25519 nor RSA")
        if isinstance(key, rsa.RSAPublicKey) and key.key_size < MIN_RSA_BITS:
            raise _make_key_error(f"an RSA key needs at least {MIN_RSA_BITS} bits")
        return cls(key, f"sha256:{hashlib.sha256(_der(key)).hexdigest()}")

    @property
    def pem(self) -> str:
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.key.public_bytes(serialization.Encoding.PEM, form).decode()

    def has_signed(self, content: bytes, signature: bytes) -> bool:
        """Return whether this key made the signature of ``content`` (hashed with SHA-256)."""
        try:
            match self.key:
                case ec.EllipticCurvePublicKey():
                    self.key.verify(signature, content, ec.ECDSA(hashes.SHA256()))
                case ed25519.Ed25519PublicKey():
                    self.key.verify(signature, content)
                case rsa.RSAPublicKey():
                    self.key.verify(signature, content, padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            return False
        return True

    def has_signed_digest(self, digest: bytes, signature: bytes) -> bool:
        """Return whether this key signed a content with this SHA-256 digest.

        An Ed25519 key signs the content itself, so the digest is not enough: ``False``.
        """
        prehashed = Prehashed(hashes.SHA256())
        try:
            match self.key:
                case ec.EllipticCurvePublicKey():
                    self.key.verify(signature, digest, ec.ECDSA(prehashed))
                case rsa.RSAPublicKey():
                    self.key.verify(signature, digest, padding.PKCS1v15(), prehashed)
                case ed25519.Ed25519PublicKey():
                    return False
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class SigningKey:
    """A private key of ours: ECDSA on P-256, the kind that cosign makes."""

    key: ec.EllipticCurvePrivateKey

    @classmethod
    def generate(cls) -> Self:
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse an unencrypted PKCS #8 key in PEM form.

        Raises:
            CredentialError: it is no such key. The message does not contain it.
        """
        try:
            key = serialization.load_pem_private_key(text.encode(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise _make_signing_error() from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
            raise _make_signing_error()
        return cls(key)

    @property
    def public(self) -> PublicKey:
        return PublicKey.of(self.key.public_key())

    @property
    def pem(self) -> str:
        """Return the text form. It is a secret: seal it."""
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()

    def sign(self, content: bytes) -> bytes:
        return self.key.sign(content, ec.ECDSA(hashes.SHA256()))

    def __repr__(self) -> str:
        return f"SigningKey({self.public.fingerprint})"


def _der(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _make_key_error(problem: str) -> InvalidInputError:
    return InvalidInputError(
        f"the public key cannot be used: {problem}",
        remedy="Give the content of cosign.pub: a public key in PEM form.",
    )


def _make_signing_error() -> CredentialError:
    return CredentialError("the signing key is not an unencrypted P-256 key in PEM form")
