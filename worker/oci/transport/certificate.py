"""TLS as the server's Docker Engine holds registries to it, and what a certificate says."""

import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import ExtensionOID, NameOID

from shared.errors import RegistryError
from shared.faults import FaultCode

CERTIFICATES_DIRECTORY = Path("/etc/docker/certs.d")
"""Where Docker looks for a registry's own CAs: ``HOST:PORT/*.crt``, and for its own certificates
(Docker's manual, "Verify repository client with certificates")."""

KEPT_CONTEXTS = 64
SHOWN_NAMES = 5
SHOWN_CHARACTERS = 80


@dataclass(frozen=True)
class Certificate:
    """What a person needs to know of a server's certificate."""

    issuer: str
    names: tuple[str, ...]
    not_after: datetime

    def time_left(self, now: datetime | None = None) -> timedelta:
        return self.not_after - (now or datetime.now(UTC))

    def __str__(self) -> str:
        names = ", ".join(self.names[:SHOWN_NAMES]) or "no name"
        more = " and more" if len(self.names) > SHOWN_NAMES else ""
        return f"issued by {self.issuer} for {names}{more}, valid until {self.not_after:%Y-%m-%d}"


async def make_context(name: str, directory: Path) -> ssl.SSLContext:
    """The system's trusted CAs and, from ``directory/name/*.crt``, the registry's own.

    ``*.cert`` with ``*.key`` beside it is what we show to a registry that asks for a certificate.
    In a thread, since reading a bundle of CAs takes some 20 ms.

    Raises:
        RegistryError: ``tls_failed``: a file there is no certificate.
    """
    return await asyncio.to_thread(_find_context, name, directory)


def make_unverified_context() -> ssl.SSLContext:
    """For a host that the Engine lists as insecure, and for a look at a refused certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def parse_certificate(encoded: bytes | None) -> Certificate | None:
    """Read a certificate in DER; ``None`` where there is none or it cannot be read."""
    try:
        certificate = x509.load_der_x509_certificate(encoded or b"")
        return Certificate(
            issuer=_shown(_name(certificate.issuer)),
            names=_names(certificate),
            not_after=certificate.not_valid_after_utc,
        )
    except (ValueError, x509.DuplicateExtension):
        return None


def _find_context(name: str, directory: Path) -> ssl.SSLContext:
    system = ssl.get_default_verify_paths()
    bundles = [Path(path) for path in (system.cafile, system.capath) if path]
    own = sorted(one for kind in ("crt", "cert") for one in (directory / name).glob(f"*.{kind}"))
    changed = tuple(path.stat().st_mtime_ns for path in (*bundles, *own) if path.exists())
    return _make_context(tuple(own), changed)


@lru_cache(maxsize=KEPT_CONTEXTS)
def _make_context(files: tuple[Path, ...], _changed: tuple[int, ...]) -> ssl.SSLContext:
    """Kept as long as no file changes: a new CA counts at once, as it does for Docker."""
    context = ssl.create_default_context()
    for file in files:
        if file.suffix == ".cert":
            # What we may not read is not shown; then the registry says that it wants one.
            with suppress(OSError):
                context.load_cert_chain(file, file.with_suffix(".key"))
            continue
        try:
            context.load_verify_locations(file)
        except (OSError, ssl.SSLError) as error:
            raise RegistryError(
                FaultCode.TLS_FAILED, f"{file} is no certificate that can be read"
            ) from error
    return context


def _name(name: x509.Name) -> str:
    for kind in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME):
        if attributes := name.get_attributes_for_oid(kind):
            return str(attributes[0].value)
    return name.rfc4514_string() or "nobody"


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        extension = certificate.extensions.get_extension_for_oid(
            ExtensionOID.SUBJECT_ALTERNATIVE_NAME
        ).value
    except x509.ExtensionNotFound:
        return ()
    if not isinstance(extension, x509.SubjectAlternativeName):
        return ()
    domains = extension.get_values_for_type(x509.DNSName)
    addresses = extension.get_values_for_type(x509.IPAddress)
    return tuple(_shown(str(name)) for name in (*domains, *addresses))


def _shown(text: str) -> str:
    """A stranger's text, fit for a line of ours."""
    return "".join(sign for sign in text if sign.isprintable())[:SHOWN_CHARACTERS]
