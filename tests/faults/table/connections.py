"""Connections that fail before any answer, and uploads that lead elsewhere."""

import asyncio
import re
from collections.abc import Callable

from aiohttp import web

from shared.faults import FaultCode as Code
from tests.faults.fault import Fault, Stage, Tls, everywhere, writing
from tests.faults.server import Edit


def moves_location(change: Callable[[str], str]) -> Edit:
    """Return an edit of the ``Location`` of an upload."""

    def edit(_: web.Request, answer: web.Response) -> web.Response:
        if "Location" in answer.headers:
            answer.headers["Location"] = change(answer.headers["Location"])
        return answer

    return edit


LOCATIONS = (
    Fault(
        "the upload's location is plain HTTP",
        writing(Code.LOCATION_MISMATCH, test=(Code.LOCATION_MISMATCH,)),
        Stage.UPLOAD_START,
        edit=moves_location(lambda url: url.replace("https://", "http://")),
    ),
    Fault(
        "the upload's location has lost the port",
        writing(Code.LOCATION_MISMATCH, test=(Code.LOCATION_MISMATCH,)),
        Stage.UPLOAD_START,
        edit=moves_location(lambda url: re.sub(r"(//[^/:]+):\d+/", r"\1/", url)),
    ),
)


async def _stay_silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    while await reader.read(4096):
        pass


async def _hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.transport.abort()


async def _greet_as_ssh(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")
    await writer.drain()
    await reader.read(4096)


SILENT_SECONDS = 45.0
CONNECTIONS = (
    Fault("nothing listens", everywhere(Code.CONN_REFUSED), port="closed"),
    Fault(
        "packets are dropped",
        everywhere(Code.CONN_TIMEOUT),
        port="full",
        within_seconds=SILENT_SECONDS,
    ),
    Fault(
        "no such machine",
        everywhere(Code.NO_ROUTE, Code.CONN_TIMEOUT),
        port="no machine",
        within_seconds=SILENT_SECONDS,
    ),
    Fault(
        "a silent server",
        everywhere(Code.CONN_TIMEOUT),
        talk=_stay_silent,
        tls=Tls.NONE,
        within_seconds=SILENT_SECONDS,
    ),
    Fault(
        "silent after the handshake",
        everywhere(Code.CONN_TIMEOUT),
        talk=_stay_silent,
        within_seconds=SILENT_SECONDS,
    ),
    Fault(
        "hangs up before the handshake", everywhere(Code.CONN_RESET), talk=_hang_up, tls=Tls.NONE
    ),
    Fault("hangs up after the request", everywhere(Code.CONN_RESET), talk=_hang_up),
    Fault("an SSH server", everywhere(Code.NOT_A_REGISTRY), talk=_greet_as_ssh, tls=Tls.NONE),
    Fault("plain HTTP", everywhere(Code.TLS_NOT_OFFERED), tls=Tls.NONE),
    Fault("an expired certificate", everywhere(Code.TLS_EXPIRED), tls=Tls.EXPIRED),
    Fault("an unknown CA", everywhere(Code.TLS_UNKNOWN_CA), tls=Tls.UNKNOWN_CA),
    Fault("a certificate of another name", everywhere(Code.TLS_NAME_MISMATCH), tls=Tls.WRONG_NAME),
    Fault("a common name alone", everywhere(Code.TLS_NAME_MISMATCH), tls=Tls.COMMON_NAME_ONLY),
    Fault("a self-signed certificate", everywhere(Code.TLS_UNKNOWN_CA), tls=Tls.SELF_SIGNED),
    Fault(
        "the intermediate certificate is missing",
        everywhere(Code.TLS_UNKNOWN_CA),
        tls=Tls.NO_INTERMEDIATE,
    ),
    Fault(
        "a name that does not exist",
        everywhere(Code.DNS_NOT_FOUND, Code.DNS_FAILURE),
        port="no name",
        within_seconds=60.0,
    ),
    Fault("client certificate, TLS 1.2", everywhere(Code.TLS_CLIENT_CERT), tls=Tls.CLIENT_TLS12),
    Fault("client certificate, TLS 1.3", everywhere(Code.TLS_CLIENT_CERT), tls=Tls.CLIENT_TLS13),
    Fault("no common TLS version", everywhere(Code.TLS_FAILED), tls=Tls.OLD),
)
