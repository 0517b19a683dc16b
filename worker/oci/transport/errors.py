"""What a connection that failed means: exceptions of sockets, TLS and aiohttp as `RegistryError`.

Decided by type, errno, OpenSSL's verify code and reason, never by the text of an error.
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

NO_TLS_REASONS = frozenset(
    {
        "WRONG_VERSION_NUMBER",
        "HTTP_REQUEST",
        "UNKNOWN_PROTOCOL",
        "PACKET_LENGTH_TOO_LONG",
        "RECORD_LAYER_FAILURE",  # what OpenSSL 3.2 and later say of an answer in plain text
    }
)
CLIENT_CERTIFICATE_REASONS = frozenset(
    {"TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_BAD_CERTIFICATE"}
)
UNREACHABLE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT})
CUT = frozenset({errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED})


def make_connection_error(error: BaseException, where: str) -> RegistryError:
    """The diagnosis of a connection to ``where`` (``host:port``) that failed with ``error``."""
    if tls := next((cause for cause in _causes(error) if _is_openssl_s(cause)), None):
        return _make_tls_error(tls, where)
    if isinstance(error, TimeoutError):
        return RegistryError(FaultCode.CONN_TIMEOUT, f"{where} does not answer in time")
    if isinstance(error, aiohttp.ClientResponseError):
        return RegistryError(FaultCode.NOT_A_REGISTRY, f"{where} does not answer in HTTP")
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientPayloadError):
        return _make_cut(where)
    return _make_socket_error(error, where)


def make_timeout(where: str, doing: str, deadline: timedelta) -> RegistryError:
    """``where`` let a deadline pass while we were ``doing`` something."""
    return RegistryError(
        FaultCode.CONN_TIMEOUT,
        f"{where} does not answer in time",
        evidence=f"{doing}: nothing within {deadline.total_seconds():g} s",
    )


def speaks_no_tls(error: BaseException) -> bool:
    """Whether a handshake failed because the other side answered something that is no TLS."""
    return any(
        isinstance(cause, ssl.SSLError) and _reason(cause) in NO_TLS_REASONS
        for cause in _causes(error)
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _is_openssl_s(error: BaseException) -> TypeGuard[ssl.SSLError]:
    # aiohttp's own are of the same classes, and know neither verify code nor reason.
    return isinstance(error, ssl.SSLError) and not isinstance(error, aiohttp.ClientError)


def _make_tls_error(error: ssl.SSLError, where: str) -> RegistryError:
    if isinstance(error, ssl.SSLCertVerificationError):
        code = VERIFY_CODES.get(error.verify_code, FaultCode.TLS_FAILED)
        return RegistryError(
            code, f"the certificate of {where} is not accepted: {error.verify_message}"
        )
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return _make_cut(where)
    if _reason(error) in NO_TLS_REASONS:
        return RegistryError(FaultCode.TLS_NOT_OFFERED, f"{where} does not speak TLS")
    if _reason(error) in CLIENT_CERTIFICATE_REASONS:
        return RegistryError(FaultCode.TLS_CLIENT_CERT, f"{where} wants a certificate from us")
    return RegistryError(
        FaultCode.TLS_FAILED,
        f"the TLS handshake with {where} failed",
        evidence=f"OpenSSL: {_reason(error) or 'no reason given'}",
    )


def _reason(error: ssl.SSLError) -> str:
    # Only errors that OpenSSL itself reported have the attribute.
    return str(getattr(error, "reason", None) or "")


def _make_socket_error(error: BaseException, where: str) -> RegistryError:
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ECONNREFUSED:
        return RegistryError(FaultCode.CONN_REFUSED, f"nothing listens on {where}")
    if number in UNREACHABLE:
        return RegistryError(FaultCode.CONN_TIMEOUT, f"there is no way to {where}")
    if number in CUT or number is None:
        return _make_cut(where)
    return RegistryError(
        FaultCode.CONN_REFUSED,
        f"cannot connect to {where}",
        evidence=errno.errorcode.get(number) or "unknown error number",
    )


def _make_cut(where: str) -> RegistryError:
    return RegistryError(FaultCode.CONN_RESET, f"{where} cut the connection")
