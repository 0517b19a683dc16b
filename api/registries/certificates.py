"""Certificates that are stored with a registry: validated before they are stored, and shown."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from pydantic import SecretStr

from api.errors import InvalidCertificateError
from api.fields.shapes import Moment, Output
from shared.credentials.certificates import DUE_DAYS
from shared.models import Registry

MAX_CERTIFICATES = 50
BEGIN_KEY = "PRIVATE KEY-----"


DUE = timedelta(days=DUE_DAYS)

CertificateUse = Literal["ca", "client"]
CertificateState = Literal["current", "due", "expired"]


class CertificateOutput(Output):
    """A certificate; `sha256` is the fingerprint of its DER form, as `openssl x509` shows it.

    It is `due` for a change 30 days before it ends.
    """

    subject: str
    sha256: str
    not_after: Moment
    state: CertificateState


def require_ca(pem: str, now: datetime) -> str:
    """Return CA certificates in PEM, if they can be used.

    A certificate that issued itself counts as a CA: it is trusted as it is.

    Raises:
        InvalidCertificateError: not PEM, not a CA, expired, or it contains a private key.
    """
    name = "caCertificate"
    found = _parse(pem, name)
    for certificate in found:
        if not (_is_ca(certificate) or _is_self_signed(certificate)):
            raise InvalidCertificateError(
                f"{name}: {_subject(certificate)} is not the certificate of a CA",
                remedy="Give the certificate of the CA that issued the registry's certificate "
                f"({certificate.issuer.rfc4514_string()}).",
            )
        _require_valid(certificate, name, now)
    return _write(found)


def require_client(pem: str, key: SecretStr, now: datetime) -> tuple[str, SecretStr]:
    """Return a client certificate with its chain, and its key, if they can be used together.

    Raises:
        InvalidCertificateError: not PEM, expired, an encrypted key, or the key of another one.
    """
    name = "clientCertificate"
    found = _parse(pem, name)
    _require_valid(found[0], name, now)
    text = key.get_secret_value()
    try:
        parsed = load_pem_private_key(text.encode(), password=None)
    except TypeError:
        raise InvalidCertificateError(
            "clientKey is encrypted with a passphrase",
            remedy="Give it without one: openssl pkey -in client.key.",
        ) from None
    except ValueError:
        raise InvalidCertificateError(
            "clientKey is not a private key in PEM",
            remedy="Give the whole file, from -----BEGIN to -----END with its line ends.",
        ) from None
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if parsed.public_key().public_bytes(*form) != found[0].public_key().public_bytes(*form):
        raise InvalidCertificateError(
            f"clientKey does not belong to the certificate {_subject(found[0])}",
            remedy="Give the key with which this certificate was requested, and the certificate "
            "before its chain.",
        )
    return _write(found), SecretStr(text.strip() + "\n")


def describe_certificates(registry: Registry) -> list[dict[str, Any]]:
    """Return the description of a registry's CA certificates and of its client certificate.

    A client certificate is described without its chain.
    """
    return [
        *_describe("ca", _load(registry.ca_certificate)),
        *_describe("client", _load(registry.client_certificate)[:1]),
    ]


def show_certificates(registry: Registry, use: CertificateUse) -> list[CertificateOutput]:
    """Return what is shown of stored certificates."""
    return [_show(one) for one in registry.certificates if one["use"] == use]


def _load(pem: str | None) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(pem.encode()) if pem else []


def _describe(
    use: CertificateUse, certificates: Sequence[x509.Certificate]
) -> Iterator[dict[str, Any]]:
    for one in certificates:
        yield {
            "use": use,
            "subject": _subject(one),
            "sha256": one.fingerprint(SHA256()).hex(),
            "not_after": one.not_valid_after_utc.isoformat(),
        }


def _show(described: dict[str, Any]) -> CertificateOutput:
    ends, now = datetime.fromisoformat(described["not_after"]), datetime.now(UTC)
    state: CertificateState = "current"
    if ends <= now + DUE:
        state = "expired" if ends <= now else "due"
    shown = {name: described[name] for name in ("subject", "sha256")}
    return CertificateOutput(**shown, not_after=ends, state=state)


def _parse(pem: str, name: str) -> list[x509.Certificate]:
    if BEGIN_KEY in pem:
        raise InvalidCertificateError(
            f"{name} contains a private key",
            remedy="Give the certificates only. A private key that was sent to others should not "
            "be used any more.",
        )
    try:
        found = x509.load_pem_x509_certificates(pem.encode())
        for one in found:
            one.extensions  # noqa: B018 - read, so that a malformed one is refused here
            one.public_key()
    except (ValueError, x509.DuplicateExtension):
        found = []
    if not found or len(found) != pem.count("-----BEGIN "):
        raise InvalidCertificateError(
            f"{name} is not a certificate in PEM, or not a whole one",
            remedy="Give the whole file, from -----BEGIN CERTIFICATE----- to "
            "-----END CERTIFICATE----- with its line ends.",
        )
    if len(found) > MAX_CERTIFICATES:
        raise InvalidCertificateError(f"{name} has more than {MAX_CERTIFICATES} certificates")
    return found


def _require_valid(certificate: x509.Certificate, name: str, now: datetime) -> None:
    ended = certificate.not_valid_after_utc
    if ended <= now.astimezone(UTC):
        raise InvalidCertificateError(
            f"{name}: {_subject(certificate)} expired on {ended:%Y-%m-%d}",
            remedy="Give the present certificate.",
        )


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        found = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        return False
    return found.value.ca


def _is_self_signed(certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _subject(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or "a certificate without a subject"


def _write(certificates: Iterable[x509.Certificate]) -> str:
    """Return the certificates alone, without the text around them."""
    return "".join(one.public_bytes(Encoding.PEM).decode() for one in certificates)
