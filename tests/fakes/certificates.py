"""A certificate authority for one test run, and TLS contexts with its certificates."""

import ssl
import warnings
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec


class Authority:
    """A certificate authority; ``directory`` gets its files."""

    def __init__(self, directory: Path, name: str = "Wharfinger test CA") -> None:
        self.directory = directory
        self._ca = trustme.CA(organization_name=name)

    @cached_property
    def file(self) -> Path:
        """The authority's own certificate, in PEM."""
        path = self.directory / "ca.crt"
        self._ca.cert_pem.write_to_path(str(path))
        return path

    def pair(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        """Return the authority's certificate and key, to sign what trustme does not make."""
        key = serialization.load_pem_private_key(self._ca.private_key_pem.bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return x509.load_pem_x509_certificate(self._ca.cert_pem.bytes()), key

    def trust(self, certificates: Path, host: str) -> Path:
        """Store the authority in Docker's directory: ``certificates/HOST/ca.crt``."""
        (certificates / host).mkdir(parents=True, exist_ok=True)
        (certificates / host / "ca.crt").write_bytes(self.file.read_bytes())
        return certificates

    def context(self, *names: str, ends_in: timedelta = timedelta(days=90)) -> ssl.SSLContext:
        """Make a server's TLS context for ``names``; with a negative ``ends_in`` it is expired."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._issue(names, ends_in).configure_cert(context)
        return context

    def context_of_common_name(self, name: str) -> ssl.SSLContext:
        """Make a server's TLS context whose certificate has a common name only."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(common_name=name).configure_cert(context)
        return context

    def context_for_clients(self, name: str, version: ssl.TLSVersion) -> ssl.SSLContext:
        """Make a server's TLS context that requires a client certificate of this authority."""
        context = self.context(name)
        context.minimum_version = context.maximum_version = version
        context.verify_mode = ssl.CERT_REQUIRED
        self._ca.configure_trust(context)
        return context

    def without_intermediate(self, *names: str) -> ssl.SSLContext:
        """Make a server's TLS context whose chain lacks the CA between its own and ours."""
        between = self._ca.create_child_ca()
        leaf = between.issue_cert(*names)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        chain = self.directory / "without-intermediate.pem"
        parts = (leaf.private_key_pem.bytes(), leaf.cert_chain_pems[0].bytes())
        chain.write_bytes(b"".join(parts))
        context.load_cert_chain(chain)
        return context

    def context_of_old_version(self, name: str) -> ssl.SSLContext:
        """Make a server's TLS context that knows nothing newer than TLS 1.1."""
        context = self.context(name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
        return context

    def files(
        self, name: str, *names: str, ends_in: timedelta = timedelta(days=90)
    ) -> tuple[Path, Path]:
        """Write such a certificate to the files ``name.crt`` and ``name.key``."""
        leaf = self._issue(names, ends_in)
        chain, key = self.directory / f"{name}.crt", self.directory / f"{name}.key"
        chain.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(str(key))
        return chain, key

    def _issue(self, names: tuple[str, ...], ends_in: timedelta) -> trustme.LeafCert:
        ends = datetime.now(UTC) + ends_in
        return self._ca.issue_cert(*names, not_before=ends - timedelta(days=365), not_after=ends)
