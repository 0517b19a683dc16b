"""Errors for failed connections: exceptions of sockets, TLS and aiohttp as `RegistryError`.

Type, errno, OpenSSL's verify code and reason decide, never the text of an error.
"""

import errno
import ssl
from collections.abc import Iterator
from datetime import timedelta
from typing import TypeGuard

import aiohttp

from shared.errors import RegistryError
from shared.faults import FaultCode

VERIFY_CODES = {
    2: FaultCode.TLS_UNKNOWN_CA,
    9: FaultCode.TLS_EXPIRED,  # not valid yet: one clock is wrong
    10: FaultCode.TLS_EXPIRED,
    18: FaultCode.TLS_UNKNOWN_CA,
    19: FaultCode.TLS_UNKNOWN_CA,
    20: FaultCode.TLS_UNKNOWN_CA,
    21: FaultCode.TLS_UNKNOWN_CA,
    62: FaultCode.TLS_NAME_MISMATCH,
    64: FaultCode.TLS_NAME_MISMATCH,
}
"""Numbers of OpenSSL's ``x509_vfy.h`` (``X509_V_ERR_…``)."""

NOT_TLS_REASONS = frozenset(
    {
        "WRONG_VERSION_NUMBER",
        "HTTP_REQUEST",
        "UNKNOWN_PROTOCOL",
        "PACKET_LENGTH_TOO_LONG",
        "RECORD_LAYER_FAILURE",  # OpenSSL 3.2 and later, for a response in plain text
    }
)
CLIENT_CERTIFICATE_REASONS = frozenset(
    {"TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_BAD_CERTIFICATE"}
)
CLIENT_CERTIFICATE_SUSPECTS = frozenset(
    {FaultCode.TLS_FAILED, FaultCode.CONN_RESET, FaultCode.TLS_CLIENT_CERT}
)
"""The codes that a missing client certificate may have: the handshake shows if one was requested.

With TLS 1.3 the client has finished before the server refuses it, often by a cut.
"""

NO_ROUTE_ERRNOS = frozenset(
    {
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.EHOSTDOWN,
        errno.ENETDOWN,
        errno.EADDRNOTAVAIL,
        errno.EINVAL,  # a route of the type "blackhole"
        errno.EACCES,  # a route of the type "prohibit"
        errno.EPERM,  # a rule of this server's own firewall
    }
)
RESET_ERRNOS = frozenset({errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED})


def make_connection_error(error: BaseException, authority: str) -> RegistryError:
    """Make the error for a failed connection to ``authority`` (``host:port``)."""
    if tls := next((cause for cause in _causes(error) if _is_openssl_error(cause)), None):
        return _make_tls_error(tls, authority)
    if isinstance(error, aiohttp.ClientHttpProxyError | aiohttp.ClientProxyConnectionError):
        return _make_proxy_error(error, authority)
    if isinstance(error, TimeoutError):
        return RegistryError(FaultCode.CONN_TIMEOUT, f"{authority} did not answer in time")
    if isinstance(error, aiohttp.ClientResponseError):
        return RegistryError(FaultCode.NOT_A_REGISTRY, f"{authority} does not speak HTTP")
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientPayloadError):
        return _make_reset(authority)
    return _make_socket_error(error, authority)


def _make_proxy_error(
    error: aiohttp.ClientHttpProxyError | aiohttp.ClientProxyConnectionError, authority: str
) -> RegistryError:
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return RegistryError(
            FaultCode.PROXY_ERROR,
            f"the proxy of the Docker Engine refuses to connect to {authority}",
            evidence=f"HTTP {error.status}",
        )
    return RegistryError(
        FaultCode.PROXY_ERROR, f"the proxy of the Docker Engine cannot be reached for {authority}"
    )


def make_timeout(authority: str, step: str, deadline: timedelta) -> RegistryError:
    """Make the error for a deadline that ``authority`` exceeded during ``step``."""
    return RegistryError(
        FaultCode.CONN_TIMEOUT,
        f"{authority} did not answer in time",
        evidence=f"{step}: nothing within {deadline.total_seconds():g} s",
    )


def make_client_certificate_error(authority: str, *, is_given: bool = False) -> RegistryError:
    if is_given:
        return RegistryError(
            FaultCode.TLS_CLIENT_CERT,
            f"{authority} does not accept the client certificate of this registry",
            remedy="Check that the registry trusts the CA of the client certificate, and that the "
            "certificate is valid; store another one with registry.update.",
        )
    return RegistryError(FaultCode.TLS_CLIENT_CERT, f"{authority} requires a client certificate")


def make_plain_http_error(authority: str) -> RegistryError:
    return RegistryError(
        FaultCode.PLAIN_HTTP_REFUSED,
        f"{authority} speaks plain HTTP, which no administrator has allowed for this registry",
    )


def is_reset(error: BaseException) -> bool:
    """Return whether the other side cut the connection."""
    return any(
        isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError | ConnectionError)
        for cause in _causes(error)
    )


def is_not_tls(error: BaseException) -> bool:
    """Return whether a handshake failed because the other side does not speak TLS."""
    return any(
        isinstance(cause, ssl.SSLError) and _reason(cause) in NOT_TLS_REASONS
        for cause in _causes(error)
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _is_openssl_error(error: BaseException) -> TypeGuard[ssl.SSLError]:
    # aiohttp's own errors have the same classes, but neither verify code nor reason.
    return isinstance(error, ssl.SSLError) and not isinstance(error, aiohttp.ClientError)


def _make_tls_error(error: ssl.SSLError, authority: str) -> RegistryError:
    if isinstance(error, ssl.SSLCertVerificationError):
        code = VERIFY_CODES.get(error.verify_code, FaultCode.TLS_FAILED)
        return RegistryError(
            code, f"the certificate of {authority} is not accepted: {error.verify_message}"
        )
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return _make_reset(authority)
    if _reason(error) in NOT_TLS_REASONS:
        return RegistryError(FaultCode.TLS_NOT_OFFERED, f"{authority} does not speak TLS")
    if _reason(error) in CLIENT_CERTIFICATE_REASONS:
        return make_client_certificate_error(authority)
    return RegistryError(
        FaultCode.TLS_FAILED,
        f"the TLS handshake with {authority} failed",
        evidence=f"OpenSSL: {_reason(error) or 'no reason given'}",
    )


def _reason(error: ssl.SSLError) -> str:
    # Only errors that OpenSSL itself reported have the attribute.
    return str(getattr(error, "reason", None) or "")


def _make_socket_error(error: BaseException, authority: str) -> RegistryError:
    if isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
        if error.errno is None and not isinstance(error, ConnectionError):
            return RegistryError(
                FaultCode.CONN_REFUSED, f"no address of {authority} accepts a connection"
            )
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ECONNREFUSED:
        return RegistryError(FaultCode.CONN_REFUSED, f"nothing listens on {authority}")
    if number in NO_ROUTE_ERRNOS:
        return RegistryError(
            FaultCode.NO_ROUTE,
            f"this server has no route to {authority}",
            evidence=errno.errorcode[number],
        )
    if number == errno.ETIMEDOUT:
        return RegistryError(FaultCode.CONN_TIMEOUT, f"{authority} did not answer in time")
    if number in RESET_ERRNOS or number is None:
        return _make_reset(authority)
    return RegistryError(
        FaultCode.CONN_REFUSED,
        f"cannot connect to {authority}",
        evidence=errno.errorcode.get(number) or "unknown error number",
    )


def _make_reset(authority: str) -> RegistryError:
    return RegistryError(FaultCode.CONN_RESET, f"{authority} cut the connection")
