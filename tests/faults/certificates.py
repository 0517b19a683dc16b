"""Certificates that trustme does not make: a common name alone, and self-signed."""

import datetime as dt
import ssl
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.fakes.certificates import Authority


def common_name_only(authority: Authority, directory: Path, name: str) -> ssl.SSLContext:
    """Make a server's TLS context with such a certificate, signed by the authority."""
    issuer, issuer_key = authority.pair()
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(name, issuer.subject, key)
    return _context(directory / "common-name.pem", key, builder.sign(issuer_key, hashes.SHA256()))


def self_signed(directory: Path, address: str) -> ssl.SSLContext:
    """Make a server's TLS context with a certificate that nobody else has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, address)])
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))])
    builder = _builder(address, subject, key).add_extension(names, critical=False)
    return _context(directory / "self-signed.pem", key, builder.sign(key, hashes.SHA256()))


def _builder(
    name: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=30))
    )


def _context(
    file: Path, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate
) -> ssl.SSLContext:
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context
