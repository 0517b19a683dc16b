"""The type and number of a connection error decide its code, not its text."""

import errno
import ssl

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from shared.faults import FaultCode
from worker.oci.transport.errors import make_connection_error

KEY = ConnectionKey("registry.example", 443, True, True, None, None, None)  # noqa: FBT003
NO_HEADERS = CIMultiDictProxy(CIMultiDict[str]())
PROXY = aiohttp.RequestInfo(URL("http://proxy.example"), "CONNECT", NO_HEADERS)


def openssl(reason: str) -> ssl.SSLError:
    error = ssl.SSLError()
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "code", "evidence"),
    [
        (
            aiohttp.ClientHttpProxyError(PROXY, (), status=407),
            FaultCode.PROXY_ERROR,
            "HTTP 407",
        ),
        (aiohttp.ClientProxyConnectionError(KEY, OSError()), FaultCode.PROXY_ERROR, ""),
        (TimeoutError(), FaultCode.CONN_TIMEOUT, ""),
        (OSError(errno.ETIMEDOUT, ""), FaultCode.CONN_TIMEOUT, ""),
        (aiohttp.ClientConnectorError(KEY, OSError()), FaultCode.CONN_REFUSED, ""),
        (OSError(errno.ECONNREFUSED, ""), FaultCode.CONN_REFUSED, ""),
        (OSError(errno.EMFILE, ""), FaultCode.CONN_REFUSED, "EMFILE"),
        (OSError(errno.EHOSTUNREACH, ""), FaultCode.NO_ROUTE, "EHOSTUNREACH"),
        (OSError(errno.EPIPE, ""), FaultCode.CONN_RESET, ""),
        (ValueError(), FaultCode.CONN_RESET, ""),
        (aiohttp.ServerDisconnectedError(), FaultCode.CONN_RESET, ""),
        (aiohttp.ClientResponseError(PROXY, ()), FaultCode.NOT_A_REGISTRY, ""),
        (ssl.SSLEOFError(), FaultCode.CONN_RESET, ""),
        (openssl("WRONG_VERSION_NUMBER"), FaultCode.TLS_NOT_OFFERED, ""),
        (openssl("SSLV3_ALERT_BAD_CERTIFICATE"), FaultCode.TLS_CLIENT_CERT, ""),
        (openssl("NO_SHARED_CIPHER"), FaultCode.TLS_FAILED, "OpenSSL: NO_SHARED_CIPHER"),
        (ssl.SSLError(), FaultCode.TLS_FAILED, "OpenSSL: no reason given"),
    ],
)
def test_a_failed_connection_has_the_code_of_its_cause(
    error: BaseException, code: FaultCode, evidence: str
) -> None:
    found = make_connection_error(error, "registry.example:443")

    assert (found.code, found.evidence) == (code, evidence)
    assert "registry.example:443" in found.message
