"""A session with BuildKit, in which a builder requests files, secrets and logins during a build.

Plain ``POST /build`` cannot carry secrets and logins. ``POST /session`` reverses its connection:
the Engine makes gRPC calls to us on it ("session" of moby/buildkit), and a build that names the
session may use what is offered there.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from urllib.parse import urlsplit

import structlog
from h2.exceptions import ProtocolError
from pydantic import SecretStr

from shared.coroutines import end
from shared.errors import EngineError, InvalidReferenceError
from shared.faults import FaultCode
from shared.reference import parse_registry
from worker.engine.builds.files import DIFF_COPY, BuildFiles
from worker.engine.builds.grpc import CallError, Method, OpenExchange, Status, serve
from worker.engine.builds.protobuf import read_text, write_bytes, write_number
from worker.login import EngineLogin

OPEN_TIMEOUT = timedelta(seconds=10)

HEALTH = "/grpc.health.v1.Health/Check"
SECRET = "/moby.buildkit.secrets.v1.Secrets/GetSecret"  # noqa: S105 - the name of a method
CREDENTIALS = "/moby.filesync.v1.Auth/Credentials"

_SERVING = 1
_SWITCHED = "HTTP/1.1 101 "
_SERVER_ERROR = "HTTP/1.1 5"

log = structlog.get_logger()


@dataclass(frozen=True)
class SessionResources:
    """The secrets, by id, the registry logins and the files that one build may request.

    The Dockerfile is offered under the name ``dockerfile``.
    """

    secrets: Mapping[str, SecretStr]
    logins: Sequence[EngineLogin] = ()
    files: BuildFiles | None = None
    dockerfile: str = "Dockerfile"

    def exchanges(self) -> dict[str, OpenExchange]:
        """Return the exchange in which a builder gets the files, if there are any."""
        if self.files is None:
            return {}
        return {DIFF_COPY: partial(self.files.open_exchange, self.dockerfile)}

    def methods(self) -> dict[str, Method]:
        """Return the methods that a builder calls; the field numbers are BuildKit's."""
        return {HEALTH: _check, SECRET: self._get_secret, CREDENTIALS: self._find_credentials}

    def _get_secret(self, request: bytes) -> bytes:
        """Answer `secrets.proto`: request 1 ID; response 1 data."""
        name = read_text(request, 1)
        if name not in self.secrets:
            raise CallError(Status.NOT_FOUND, f"secret {name} not found")
        return write_bytes(1, self.secrets[name].get_secret_value().encode())

    def _find_credentials(self, request: bytes) -> bytes:
        """Answer `auth.proto`: request 1 Host; response 1 Username and 2 Secret, or nothing."""
        host = _canonical(read_text(request, 1))
        for login in self.logins:
            if login.host == host:
                secret = login.secret.get_secret_value()
                return write_bytes(1, login.username.encode()) + write_bytes(2, secret.encode())
        return b""


@asynccontextmanager
async def open_session(docker_host: str, resources: SessionResources) -> AsyncIterator[str]:
    """Open a session for one build and yield its id; it ends with the block.

    Raises:
        EngineError: ``engine_unreachable``, or ``build_unsupported`` if it is refused, for example
            by a proxy in front of the Engine that allows only some calls.
    """
    session_id, methods = secrets.token_hex(16), resources.methods()
    exchanges = resources.exchanges()
    async with _connection(docker_host) as (reader, writer):
        await _upgrade(docker_host, reader, writer, session_id, [*methods, *exchanges])
        serving = asyncio.create_task(_serve(reader, writer, methods, exchanges))
        try:
            yield session_id
        finally:
            await end(serving)


def _check(_: bytes) -> bytes:
    """Answer `health.proto`: response 1 status. Without it BuildKit closes the session."""
    return write_number(1, _SERVING)


def _canonical(host: str) -> str:
    try:
        return parse_registry(host).name
    except InvalidReferenceError:
        return host


async def _serve(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    methods: Mapping[str, Method],
    exchanges: Mapping[str, OpenExchange],
) -> None:
    """Serve the session; if it breaks, the build itself reports the error."""
    try:
        await serve(reader, writer, methods, exchanges)
    except (ProtocolError, OSError) as error:
        log.warning("build_session_lost", error=type(error).__name__)
    finally:
        writer.close()


@asynccontextmanager
async def _connection(
    docker_host: str,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    address = urlsplit(docker_host)
    async with _connecting(docker_host):
        if address.scheme == "unix":
            reader, writer = await asyncio.open_unix_connection(address.path)
        else:
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def _upgrade(
    docker_host: str,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    session_id: str,
    methods: Iterable[str],
) -> None:
    """Ask the Engine to reverse the connection."""
    lines = (
        "POST /session HTTP/1.1",
        "Host: docker",
        "Connection: Upgrade",
        "Upgrade: h2c",
        f"X-Docker-Expose-Session-Uuid: {session_id}",
        "X-Docker-Expose-Session-Name: wharf",
        # BuildKit takes files of an earlier session with this key for those of the same directory.
        f"X-Docker-Expose-Session-Sharedkey: {session_id}",
        *(f"X-Docker-Expose-Session-Grpc-Method: {method}" for method in methods),
    )
    async with _connecting(docker_host):
        writer.write("\r\n".join((*lines, "", "")).encode())
        head = await reader.readuntil(b"\r\n\r\n")
    status = head.decode(errors="replace").partition("\r\n")[0]
    if not status.startswith(_SWITCHED):
        is_unavailable = status.startswith(_SERVER_ERROR)
        raise EngineError(
            FaultCode.ENGINE_UNREACHABLE if is_unavailable else FaultCode.BUILD_UNSUPPORTED,
            f"build: the Docker Engine at {docker_host} refuses a session: {status}",
        )


@asynccontextmanager
async def _connecting(docker_host: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(OPEN_TIMEOUT.total_seconds()):
            yield
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise EngineError(
            FaultCode.ENGINE_UNREACHABLE,
            f"build: cannot open a session with the Docker Engine at {docker_host}",
        ) from error
