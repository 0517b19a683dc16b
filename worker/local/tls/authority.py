"""The internal CA: made once, it certifies the API, the database and the broker.

```text
DIRECTORY/      0700
  ca.key        0600, the CA's private key; it may be kept offline
  ca.pem        the CA's certificate, which joining servers pin
  NAME.pem      0600, an issued certificate with its key, in one file
```
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shared.errors import SetupError
from shared.networks import is_address
from shared.tls import fingerprint_of
from worker.files import write_atomically

KEY, CERTIFICATE = "ca.key", "ca.pem"
CA_LIFE = timedelta(days=3650)
BACKDATED = timedelta(minutes=5)
"""A certificate is valid for clocks that are so far behind ours."""

_NO_USAGE = dict.fromkeys(
    (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    ),
    False,
)


@dataclass(frozen=True)
class Authority:
    """The CA's certificate and private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def create(cls, directory: Path, now: datetime | None = None) -> Self:
        """Make a CA in ``directory``, which is made if it is missing.

        Raises:
            SetupError: there is a CA already, or the directory cannot be written.
        """
        if (directory / KEY).exists() or (directory / CERTIFICATE).exists():
            raise SetupError(
                f"{directory} has a CA already",
                remedy="Use it, or choose another directory: servers that joined trust the old CA.",
            )
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _sign_own(key, now or datetime.now(UTC))
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(directory / KEY, _to_pem(key))
            write_atomically(directory / CERTIFICATE, _text(certificate))
        except OSError as error:
            raise SetupError(f"cannot write to {directory}: {error.strerror}") from error
        return cls(certificate, key)

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Read the CA of ``directory``.

        Raises:
            SetupError: there is none, or its key does not belong to its certificate.
        """
        try:
            key = load_pem_private_key((directory / KEY).read_bytes(), None)
            certificate = x509.load_pem_x509_certificate((directory / CERTIFICATE).read_bytes())
        except OSError as error:
            raise SetupError(
                f"cannot read the CA: {error.strerror}: {error.filename}",
                remedy="Make one: wharf ca create DIRECTORY.",
            ) from error
        except (ValueError, TypeError):
            # Without its cause, which may show a part of the key.
            raise SetupError(f"the CA of {directory} is not a key and a certificate") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or (
            key.public_key() != certificate.public_key()
        ):
            raise SetupError(f"{directory / KEY} is not the key of {directory / CERTIFICATE}")
        return cls(certificate, key)

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 of the certificate, in hexadecimal: what servers pin."""
        return fingerprint_of(_text(self.certificate))

    def issue(self, names: Sequence[str], life: timedelta, now: datetime | None = None) -> str:
        """Return a server's certificate with a fresh key, in PEM; ``names`` are hosts or addresses.

        Raises:
            SetupError: without a name, or one is not a host name.
        """
        if not names:
            raise SetupError("a certificate needs the name or address of its server")
        begin = now or datetime.now(UTC)
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_name(f"Wharfinger {names[0]}"))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin - BACKDATED)
            .not_valid_after(begin + life)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(**_NO_USAGE | {"digital_signature": True}), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName(_general_names(names)), critical=False)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
            .sign(self.key, hashes.SHA256())
        )
        return _to_pem(key) + _text(certificate)


def _sign_own(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    # A number in the name: certificates of two CAs with one name confuse those who look for one.
    name = _name(f"Wharfinger CA {x509.random_serial_number() % 2**32:08x}")
    usage = _NO_USAGE | {"key_cert_sign": True, "crl_sign": True}
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _name(text: str) -> x509.Name:
    # RFC 5280 limits a common name to 64 characters; nobody looks for a host in it.
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _general_names(names: Sequence[str]) -> list[x509.GeneralName]:
    try:
        return [
            x509.IPAddress(ip_address(name)) if is_address(name) else x509.DNSName(name)
            for name in names
        ]
    except ValueError:
        raise SetupError(
            f"not the names of a server: {', '.join(names)}",
            remedy="Give host names in ASCII, or IP addresses.",
        ) from None


def _to_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _text(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()
