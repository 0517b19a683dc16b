"""The other side of a failed TLS connection: its certificates, and the protocol that it speaks.

Nothing is verified here and nothing is sent beyond a handshake, so this only explains a failure.
"""

import asyncio
import contextlib
import ssl
import warnings
from dataclasses import dataclass, field
from datetime import timedelta

from shared.errors import RegistryError
from shared.faults import FaultCode
from worker.oci.transport.certificate import (
    Certificate,
    make_unverified_context,
    parse_certificate,
)
from worker.oci.transport.errors import (
    CLIENT_CERTIFICATE_SUSPECTS,
    make_client_certificate_error,
)

SERVER_HELLO = 2
CERTIFICATE = 11
CERTIFICATE_REQUEST = 13
"""Numbers of handshake messages (RFC 8446, section 4)."""

FIRST_BYTES = 64
HTTP_STARTS = (b"http/", b"<!doc", b"<html", b"<?xml")
"""The starts of an answer to a handshake by servers of plain HTTP; some leave out the status."""


CERTIFICATE_CODES = frozenset(
    {FaultCode.TLS_UNKNOWN_CA, FaultCode.TLS_NAME_MISMATCH, FaultCode.TLS_EXPIRED}
)


@dataclass
class Peer:
    """A server as seen in a handshake.

    ``chain`` are the certificates that it sent, in DER, its own first. ``requests_certificate`` is
    set if it asked for a client certificate, ``answers`` if it took part in the handshake at all.
    """

    chain: list[bytes] = field(default_factory=list)
    requests_certificate: bool = False
    answers: bool = False

    @property
    def certificate(self) -> Certificate | None:
        return parse_certificate(self.chain[0]) if self.chain else None

    @property
    def is_chain_incomplete(self) -> bool:
        """True if the server sent its own certificate alone, and another one issued it."""
        certificate = self.certificate
        return len(self.chain) == 1 and certificate is not None and not certificate.is_self_issued


async def explain_failure(
    fault: RegistryError,
    hostname: str,
    address: str,
    port: int,
    deadline: timedelta,
    *,
    has_certificate: bool = False,
) -> RegistryError:
    """Return the true cause of a failed TLS connection, or the same error with more evidence.

    ``has_certificate`` if a client certificate was given.
    """
    authority = f"{hostname}:{port}"
    if fault.code == FaultCode.TLS_NOT_OFFERED:
        if await speaks_http(hostname, address, port, deadline):
            return fault
        message = f"{authority} speaks neither TLS nor HTTP: another service listens there"
        return RegistryError(FaultCode.NOT_A_REGISTRY, message)
    if fault.code not in CLIENT_CERTIFICATE_SUSPECTS | CERTIFICATE_CODES:
        return fault
    peer = await observe_peer(hostname, address, port, deadline)
    if fault.code in CLIENT_CERTIFICATE_SUSPECTS and peer.requests_certificate:
        return make_client_certificate_error(authority, is_given=has_certificate)
    if fault.code == FaultCode.CONN_RESET and not peer.answers:
        old = await observe_peer(hostname, address, port, deadline, is_old=True)
        if old.answers:
            message = f"{authority} speaks only a version of TLS that is not safe any more"
            return RegistryError(FaultCode.TLS_FAILED, message, evidence="TLS 1.1 or older")
    return _with_certificate(fault, peer) if fault.code in CERTIFICATE_CODES else fault


async def observe_peer(
    hostname: str, address: str, port: int, deadline: timedelta, *, is_old: bool = False
) -> Peer:
    """Return what a server shows in a handshake, even if the handshake then fails.

    With ``is_old`` the handshake is one of TLS 1.0 or 1.1.
    """
    peer = Peer()
    context = make_unverified_context()
    if is_old:
        _accept_old_versions(context)
    _watch_messages(context, peer)
    try:
        async with asyncio.timeout(deadline.total_seconds()):
            transport, _ = await asyncio.get_running_loop().create_connection(
                asyncio.Protocol, address, port, ssl=context, server_hostname=hostname
            )
            transport.abort()
    except (OSError, TimeoutError):
        pass
    return peer


async def answers_http(endpoint_host: str, address: str, port: int, deadline: timedelta) -> bool:
    """Return whether a server answers a request of plain HTTP, which carries no login."""
    request = f"GET /v2/ HTTP/1.1\r\nHost: {endpoint_host}\r\nConnection: close\r\n\r\n"
    try:
        first = await _read_first(address, port, request.encode(), deadline)
    except (OSError, TimeoutError):
        return False
    return first.lower().startswith(b"http/")


async def speaks_http(hostname: str, address: str, port: int, deadline: timedelta) -> bool:
    """Return whether a server that does not speak TLS may speak HTTP.

    It is true too for a server that says nothing: HTTP servers may close such a connection.
    """
    outgoing = ssl.MemoryBIO()
    handshake = make_unverified_context().wrap_bio(
        ssl.MemoryBIO(), outgoing, server_hostname=hostname
    )
    with contextlib.suppress(ssl.SSLWantReadError):
        handshake.do_handshake()
    try:
        first = await _read_first(address, port, outgoing.read(), deadline)
    except (OSError, TimeoutError):
        return True
    return not first or first.lower().startswith(HTTP_STARTS)


async def _read_first(address: str, port: int, request: bytes, deadline: timedelta) -> bytes:
    """Send a request, and return the first bytes of the answer; they may be fewer."""
    async with asyncio.timeout(deadline.total_seconds()):
        reader, writer = await asyncio.open_connection(address, port)
        try:
            writer.write(request)
            return await reader.read(FIRST_BYTES)
        finally:
            writer.transport.abort()


def _with_certificate(fault: RegistryError, peer: Peer) -> RegistryError:
    """Add the certificate to the evidence, and the remedy that fits it."""
    certificate = peer.certificate
    if certificate is None:
        return fault
    evidence, remedy = str(certificate), ""
    if fault.code == FaultCode.TLS_NAME_MISMATCH and not certificate.names:
        evidence = f"{evidence}; it has no subject alternative name"
        remedy = (
            "Issue the certificate with the registry's name as subject alternative name (SAN): "
            "Docker ignores the common name (CN)."
        )
    if fault.code == FaultCode.TLS_UNKNOWN_CA and peer.is_chain_incomplete:
        evidence = f"{evidence}; the registry sends no certificate of this issuer"
        remedy = (
            f"If {certificate.issuer} is an intermediate CA, the chain is incomplete: configure "
            "the registry with the full chain. Otherwise add this CA to the server's trusted "
            "certificates, and for Docker to /etc/docker/certs.d/HOST:PORT/ca.crt."
        )
    return RegistryError(FaultCode(fault.code), fault.message, remedy=remedy, evidence=evidence)


def _accept_old_versions(context: ssl.SSLContext) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")


def _watch_messages(context: ssl.SSLContext, peer: Peer) -> None:
    # The ssl module reports the messages of a handshake by this attribute alone.
    def on_message(
        _connection: object, direction: str, _version: int, _content: int, kind: int, data: bytes
    ) -> None:
        if direction == "read" and kind == SERVER_HELLO:
            peer.answers = True
        if direction == "read" and kind == CERTIFICATE_REQUEST:
            peer.requests_certificate = True
        if direction == "read" and kind == CERTIFICATE:
            peer.chain = _parse_chain(bytes(data))

    context._msg_callback = on_message  # type: ignore[attr-defined] # noqa: SLF001


def _parse_chain(message: bytes) -> list[bytes]:
    """Return the certificates of a message (RFC 5246, section 7.4.2; RFC 8446, section 4.4.2)."""
    body = message[4:]
    has_context = int.from_bytes(body[:3]) != len(body) - 3
    rest = body[4:] if has_context else body[3:]  # TLS 1.3 begins with an empty context
    chain: list[bytes] = []
    while len(rest) > 3:
        size = int.from_bytes(rest[:3])
        chain.append(rest[3 : 3 + size])
        rest = rest[3 + size :]
        if has_context:
            rest = rest[2 + int.from_bytes(rest[:2]) :]  # the extensions of one certificate
    return chain
