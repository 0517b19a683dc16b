"""TLS contexts with the CAs that the server's Docker Engine trusts, and parsed certificates."""

import asyncio
import os
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
from worker.registry_tls import PUBLIC, RegistryTls

CERTIFICATES_DIRECTORY = Path("/etc/docker/certs.d")
"""Docker's directory of a registry's CAs (``HOST:PORT/*.crt``) and of client certificates
(Docker's manual, "Verify repository client with certificates")."""

MAX_CACHED_CONTEXTS = 64
SHOWN_NAMES = 5
SHOWN_CHARACTERS = 80


@dataclass(frozen=True)
class Certificate:
    """The parts of a server's certificate that are shown to a person."""

    issuer: str
    names: tuple[str, ...]
    not_after: datetime
    is_self_issued: bool = False

    def remaining_time(self, now: datetime | None = None) -> timedelta:
        return self.not_after - (now or datetime.now(UTC))

    def __str__(self) -> str:
        names = ", ".join(self.names[:SHOWN_NAMES]) or "no name"
        more = " and more" if len(self.names) > SHOWN_NAMES else ""
        return f"issued by {self.issuer} for {names}{more}, valid until {self.not_after:%Y-%m-%d}"


async def make_context(name: str, directory: Path, tls: RegistryTls = PUBLIC) -> ssl.SSLContext:
    """Make a context of the system's CAs and the registry's own: in ``directory/name/*.crt``.

    ``*.cert`` with ``*.key`` is the client certificate for a registry that requests one. Beside
    these files, those in ``tls`` count. Runs in a thread, since reading a CA bundle takes some
    20 ms.

    Raises:
        RegistryError: ``tls_failed``: a file there is not a certificate.
    """
    return await asyncio.to_thread(_find_context, name, directory, tls)


def make_unverified_context() -> ssl.SSLContext:
    """Make a context without verification: for insecure registries, and to read certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def parse_certificate(encoded: bytes | None) -> Certificate | None:
    """Parse a certificate in DER; return ``None`` if there is none or it is malformed."""
    try:
        certificate = x509.load_der_x509_certificate(encoded or b"")
        return Certificate(
            issuer=_make_printable(_name(certificate.issuer)),
            names=_names(certificate),
            not_after=certificate.not_valid_after_utc,
            is_self_issued=certificate.issuer == certificate.subject,
        )
    except (ValueError, x509.DuplicateExtension):
        return None


def _find_context(name: str, directory: Path, tls: RegistryTls) -> ssl.SSLContext:
    system = ssl.get_default_verify_paths()
    bundles = [Path(path) for path in (system.cafile, system.capath) if path]
    own = sorted(one for kind in ("crt", "cert") for one in (directory / name).glob(f"*.{kind}"))
    changed = tuple(path.stat().st_mtime_ns for path in (*bundles, *own) if path.exists())
    return _make_context(tuple(own), changed, tls)


@lru_cache(maxsize=MAX_CACHED_CONTEXTS)
def _make_context(
    files: tuple[Path, ...], _changed: tuple[int, ...], tls: RegistryTls
) -> ssl.SSLContext:
    """Make a context, cached until a file changes: as in Docker, a new CA counts at once."""
    context = ssl.create_default_context()
    # Docker ignores a common name, so a certificate needs its host as an alternative name.
    context.hostname_checks_common_name = False
    for file in files:
        if file.suffix == ".cert":
            # An unreadable certificate is not sent; the registry then reports that it requires one.
            with suppress(OSError):
                context.load_cert_chain(file, file.with_suffix(".key"))
            continue
        try:
            context.load_verify_locations(file)
        except (OSError, ssl.SSLError) as error:
            raise RegistryError(
                FaultCode.TLS_FAILED,
                f"the certificate file {file} on this server cannot be read or is not PEM",
                remedy="Correct the content or the permissions of this file.",
            ) from error
    _add_stored(context, tls)
    return context


def _add_stored(context: ssl.SSLContext, tls: RegistryTls) -> None:
    """Add the certificates that are stored with the registry."""
    try:
        if tls.ca_certificate:
            context.load_verify_locations(cadata=tls.ca_certificate)
        if tls.client_certificate:
            _load_client_certificate(context, tls)
    except (OSError, ssl.SSLError) as error:
        raise RegistryError(
            FaultCode.TLS_FAILED,
            "a certificate that is stored with the registry cannot be used on this server",
            remedy="Store its caCertificate, clientCertificate and clientKey again with "
            "registry.update.",
        ) from error


def _load_client_certificate(context: ssl.SSLContext, tls: RegistryTls) -> None:
    # OpenSSL reads a key from a file only; this one is in memory and has no name.
    file = os.memfd_create("client-certificate")
    try:
        with os.fdopen(file, "wb", closefd=False) as whole:
            whole.write(f"{tls.client_key.get_secret_value()}\n{tls.client_certificate}".encode())
        context.load_cert_chain(f"/proc/self/fd/{file}")
    finally:
        os.close(file)


def _name(name: x509.Name) -> str:
    for kind in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME):
        if attributes := name.get_attributes_for_oid(kind):
            return str(attributes[0].value)
    return name.rfc4514_string() or "an unnamed issuer"


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
    return tuple(_make_printable(str(name)) for name in (*domains, *addresses))


def _make_printable(text: str) -> str:
    """Return untrusted text without unprintable characters, cut to a limit."""
    return "".join(character for character in text if character.isprintable())[:SHOWN_CHARACTERS]
