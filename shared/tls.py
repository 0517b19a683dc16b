"""TLS: clients with the certificates that the machine trusts, and servers with their own."""

import ssl
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Self

import httpx2
import structlog
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate, load_pem_x509_certificates

from shared.errors import SetupError

log = structlog.get_logger()


@cache
def tls_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """Return the context of all requests of this process that trust ``ca_file`` alone.

    By default they trust the certificates of the system. Without it `httpx2` makes a context for
    each request, even over HTTP. That takes longer than a request to the same machine.
    """
    if ca_file is not None:
        return ssl.create_default_context(cafile=ca_file)
    return httpx2.create_ssl_context()


def fingerprint_of(pem: str) -> str:
    """Return the SHA-256 of a certificate's DER form, in hexadecimal.

    Raises:
        ValueError: not one certificate in PEM.
    """
    return _read_certificate(pem).fingerprint(SHA256()).hex()


def write_certificate(pem: str) -> str:
    """Return the one certificate of a text in PEM, without anything that is beside it.

    OpenSSL trusts every certificate of a file, so nothing else may come into it.

    Raises:
        ValueError: not one certificate in PEM.
    """
    return _read_certificate(pem).public_bytes(Encoding.PEM).decode()


def _read_certificate(pem: str) -> Certificate:
    certificates = load_pem_x509_certificates(pem.encode())
    if len(certificates) != 1:
        raise ValueError(f"{len(certificates)} certificates instead of one")
    return certificates[0]


@dataclass
class ServerCertificate:
    """A server's certificate and key in PEM files; `context` has their newest valid version."""

    certificate: Path
    key: Path
    _context: ssl.SSLContext
    _version: tuple[object, ...] = field(repr=False)

    @classmethod
    def load(cls, certificate: Path, key: Path) -> Self:
        """Read both files.

        Raises:
            SetupError: one cannot be read, or they do not belong together.
        """
        version = _version_of(certificate, key)
        try:
            return cls(certificate, key, make_server_context(certificate, key), version)
        except (OSError, ValueError) as error:
            # The text of an SSLError names a fault of OpenSSL, and no content of the files.
            reason = error.strerror if isinstance(error, OSError) else "not text in PEM"
            raise SetupError(
                f"TLS cannot use {certificate} and {key}: {reason}",
                remedy="Give a certificate with its chain, and its key without a passphrase, "
                "as PEM files.",
            ) from error

    @property
    def context(self) -> ssl.SSLContext:
        """Return the context for the next connection; open connections keep theirs."""
        return self._context

    def refresh(self) -> bool:
        """Read the files again if they changed; return whether they have a new certificate.

        A version that does not load is logged once, and the earlier one stays in use.
        """
        version = _version_of(self.certificate, self.key)
        if version == self._version:
            return False
        self._version = version
        try:
            self._context = make_server_context(self.certificate, self.key)
        except (OSError, ValueError) as error:
            log.warning("certificate_not_loaded", error=type(error).__name__)
            return False
        log.info("certificate_loaded")
        return True


def make_server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return a context for TLS 1.2 and 1.3."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # An empty passphrase: OpenSSL would ask for one at the terminal.
    context.load_cert_chain(certificate, key, password="")
    return context


def _version_of(*paths: Path) -> tuple[object, ...]:
    return tuple(_mark(path) for path in paths)


def _mark(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
