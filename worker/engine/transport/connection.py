"""The connection to one Docker Engine; the only module that uses aiodocker.

aiodocker provides the transport; its faults with transfers are corrected here. It never closes the
response of a stream, so cancelling a pull there does not cancel it. It takes a stalled stream for a
finished one. It requests the API version once per client and then never again. It has no time
limits. And at most 100 streams can be open at a time.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Self

import aiohttp
from aiodocker import Docker, DockerError
from pydantic import JsonValue

from shared.errors import EngineError, SetupError
from shared.faults import FaultCode
from worker.engine.errors import EngineOperation, make_error
from worker.engine.transport.call import Call, Model, validate_response
from worker.engine.transport.information import (
    EngineInfo,
    EngineVersion,
    InfoResponse,
    VersionResponse,
    choose_api_version,
)
from worker.engine.transport.stream import (
    JsonLines,
    JsonObject,
    ReportedStates,
    Watchdog,
    read_states,
)
from worker.engine.transport.text import OutputFrames, join_frames

CONTROL_TIMEOUT = timedelta(seconds=10)
"""The time limit of a short call; an Engine that takes longer hangs."""

CONNECT_TIMEOUT = timedelta(seconds=5)
MAX_CONTROL_CALLS = 64
MAX_OUTPUT = 64 * 1024
FORBIDDEN = 403
CANNOT_CONNECT = 900
"""aiodocker's own status for a connection that failed."""


ReadResponse = Callable[[aiohttp.ClientResponse, Call], Awaitable[JsonValue]]

BUILDKIT = "2"
"""The value of ``Builder-Version`` for BuildKit (Docker Engine API, "Ping")."""


class Engine:
    """One Engine, reached by ``unix:///path`` or ``tcp://host:port``.

    It belongs to the event loop that created it. Nothing is sent before the first call, and the
    next call reconnects to an Engine that was unavailable. Every method raises `EngineError`.
    """

    def __init__(self, docker_host: str) -> None:
        self.docker_host = docker_host
        self._control = _make_client(docker_host, limit=MAX_CONTROL_CALLS)
        self._streams = _make_client(docker_host, limit=0)
        self._api_version: str | None = None
        self._negotiation = asyncio.Lock()

    @classmethod
    def open(cls, docker_host: str) -> Self:
        """Make an Engine; close it with `close`, or by leaving ``async with``.

        Raises:
            SetupError: neither a ``unix://`` nor a ``tcp://`` address.
        """
        return cls(docker_host)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections; running transfers end."""
        for client in (self._control, self._streams):
            await client.close()
            if client.connector is not None:
                await client.connector.close()

    async def ping(self) -> None:
        """Return if the Engine answers."""
        await self._request(
            Call("GET", "_ping", EngineOperation("reach the Docker Engine"), is_versioned=False),
            CONTROL_TIMEOUT,
        )

    async def prefers_buildkit(self) -> bool:
        """Return whether the Engine itself prefers BuildKit for builds over its API."""
        call = Call("GET", "_ping", EngineOperation("reach the Docker Engine"), is_versioned=False)
        return await self._request(call, CONTROL_TIMEOUT, _builder_version) == BUILDKIT

    async def version(self) -> EngineVersion:
        """Request the Engine's version."""
        call = Call(
            "GET",
            "version",
            EngineOperation("read the Docker Engine's version"),
            is_versioned=False,
        )
        return validate_response(
            VersionResponse, await self._request(call, CONTROL_TIMEOUT), call.operation
        ).as_version()

    async def info(self) -> EngineInfo:
        """Request the Engine's configuration."""
        version = await self.version()
        response = await self.request_as(
            InfoResponse,
            "GET",
            "info",
            operation=EngineOperation("read the Docker Engine's settings"),
        )
        return response.as_info(version, api_version=await self._negotiate_api_version())

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: JsonValue = None,
        limit: timedelta = CONTROL_TIMEOUT,
        operation: EngineOperation | None = None,
    ) -> JsonValue:
        """Call the Engine within ``limit`` and return the decoded JSON, or the text.

        ``path`` is without version and without a slash at its start: ``images/json``.
        """
        data = None if body is None else json.dumps(body).encode()
        operation = operation or EngineOperation(f"send {method} {path}")
        call = Call(method, path, operation, params or {}, headers or {}, data)
        return await self._request(call, limit)

    async def request_as(
        self,
        model: type[Model],
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: JsonValue = None,
        limit: timedelta = CONTROL_TIMEOUT,
        operation: EngineOperation | None = None,
    ) -> Model:
        """Call the Engine and return the response as an instance of ``model``."""
        operation = operation or EngineOperation(f"send {method} {path}")
        value = await self.request(
            method,
            path,
            params=params,
            headers=headers,
            body=body,
            limit=limit,
            operation=operation,
        )
        return validate_response(model, value, operation)

    async def allows(
        self, method: str, path: str, *, params: Mapping[str, str], body: JsonValue = None
    ) -> bool:
        """Return whether a call is allowed: the answer has any other status than 403.

        A proxy in front of the Engine, or a plugin for authorization, answers 403.
        """
        data = None if body is None else json.dumps(body).encode()
        call = Call(method, path, EngineOperation(f"{method} {path}"), params, {}, data)
        try:
            await self._request(call, CONTROL_TIMEOUT)
        except EngineError as error:
            if error.code == FaultCode.ENGINE_UNREACHABLE:
                raise
            cause = error.__cause__
            return not (isinstance(cause, _StatusError) and cause.status == FORBIDDEN)
        return True

    async def output(
        self, path: str, *, params: Mapping[str, str], operation: EngineOperation
    ) -> str:
        """Return the output of a container, at most `MAX_OUTPUT` bytes."""
        return str(
            await self._request(Call("GET", path, operation, params), CONTROL_TIMEOUT, _read_output)
        )

    async def newest_output(
        self, path: str, *, params: Mapping[str, str], operation: EngineOperation
    ) -> OutputFrames:
        """Return the newest frames of a container's output."""
        frames = OutputFrames()

        async def read(response: aiohttp.ClientResponse, call: Call) -> JsonValue:
            try:
                while chunk := await response.content.readany():
                    frames.feed(chunk)
            except aiohttp.ClientError as error:
                raise _broken_off(call) from error
            return None

        await self._request(Call("GET", path, operation, params), CONTROL_TIMEOUT, read)
        return frames

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        idle: timedelta,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        data: bytes | AsyncIterator[bytes] | None = None,
        operation: EngineOperation | None = None,
        read_states: Callable[[JsonObject], ReportedStates] = read_states,
    ) -> AsyncIterator[JsonLines]:
        """Open a long call and yield its lines; leaving the block also ends it on the Engine.

        Lines whose ``read_states`` reports no change do not count as movement.

        Raises:
            EngineError: ``engine_stalled`` when nothing moved for ``idle``,
                ``engine_stream_truncated`` when the connection broke. A line that reports an error
                is handed on as it is.
        """
        operation = operation or EngineOperation(f"send {method} {path}")
        watchdog = Watchdog(idle, str(operation))
        call = Call(method, path, operation, params or {}, headers or {}, data, watchdog)
        async with self._open_response(self._streams, call) as response:
            watchdog.moved()
            yield JsonLines(partial(_read, response, call), watchdog.moved, read_states)

    async def download(
        self, path: str, *, idle: timedelta, operation: EngineOperation
    ) -> AsyncGenerator[bytes, None]:
        """Yield a response of any size in pieces; close the iterator to end the call.

        Raises:
            EngineError: as `stream`.
        """
        watchdog = Watchdog(idle, str(operation))
        call = Call("GET", path, operation, watchdog=watchdog)
        async with self._open_response(self._streams, call) as response:
            watchdog.moved()
            while chunk := await _read(response, call):
                watchdog.moved()
                yield chunk

    async def _request(
        self, call: Call, limit: timedelta, read: ReadResponse | None = None
    ) -> JsonValue:
        try:
            async with (
                asyncio.timeout(limit.total_seconds()),
                self._open_response(self._control, call) as response,
            ):
                return await (read or _read_json)(response, call)
        except TimeoutError as error:
            raise self._unreachable(
                call, f"no response within {limit.total_seconds():g} s"
            ) from error

    @asynccontextmanager
    async def _open_response(
        self, client: Docker, call: Call
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        response = await self._send_versioned(client, call)
        try:
            yield response
        finally:
            response.close()  # this cancels the call: an Engine stops when its client disconnects

    async def _send_versioned(self, client: Docker, call: Call) -> aiohttp.ClientResponse:
        if not call.is_versioned:
            return await self._send(client, call)
        client.api_version = used = f"v{await self._negotiate_api_version()}"
        try:
            return await self._send(client, call)
        except EngineError as error:
            if error.code != FaultCode.ENGINE_API_VERSION:
                raise
            self._discard_api_version(used)
            if not call.is_repeatable:
                raise
        client.api_version = f"v{await self._negotiate_api_version()}"
        return await self._send(client, call)

    async def _send(self, client: Docker, call: Call) -> aiohttp.ClientResponse:
        try:
            async with call.watch():
                return await client._do_query(  # noqa: SLF001 - aiodocker has no public method for a raw response
                    call.path,
                    call.method,
                    params=dict(call.params),
                    headers=dict(call.headers),
                    data=call.watch_data(),
                    timeout=aiohttp.ClientTimeout(sock_connect=CONNECT_TIMEOUT.total_seconds()),
                    versioned_api=call.is_versioned,
                )
        except DockerError as error:
            if error.status == CANNOT_CONNECT:
                raise self._unreachable(call, "no connection") from error
            text, status = error.message, error.status
        except aiohttp.ServerTimeoutError as error:
            raise self._unreachable(call, "no connection") from error
        except (aiohttp.ClientError, ValueError, LookupError) as error:
            raise self._unreachable(call, "no valid response") from error
        # Not in ``except``: its context is not redacted.
        raise make_error(text, call.operation, status=status) from _StatusError(status)

    def _unreachable(self, call: Call, what: str) -> EngineError:
        return EngineError(
            FaultCode.ENGINE_UNREACHABLE,
            f"{call.operation}: {what} from the Docker Engine at {self.docker_host}",
        )

    async def _negotiate_api_version(self) -> str:
        """Return the API version; concurrent callers share one request for it."""
        call = Call("GET", "version", EngineOperation("read the Docker Engine's version"))
        try:
            async with asyncio.timeout(CONTROL_TIMEOUT.total_seconds()), self._negotiation:
                if self._api_version is None:
                    self._api_version = choose_api_version(await self.version())
                return self._api_version
        except TimeoutError as error:
            raise self._unreachable(call, "no response") from error

    def _discard_api_version(self, used: str) -> None:
        """Discard the version that was used, unless another call has already renewed it."""
        if f"v{self._api_version}" == used:
            self._api_version = None


class _StatusError(Exception):
    """The status of an answer, without its text."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status


def _make_client(docker_host: str, *, limit: int) -> Docker:
    # A connection serves one call (force_close): one that the Engine closed while it was in the
    # pool would fail the next POST. We made the connector, so aiodocker does not close it.
    scheme, separator, rest = docker_host.partition("://")
    if scheme == "unix" and rest.startswith("/"):
        pipe = aiohttp.UnixConnector(rest, limit=limit, force_close=True)
        return Docker("unix://localhost", connector=pipe)
    if scheme == "tcp" and rest:
        tcp = aiohttp.TCPConnector(limit=limit, force_close=True)
        return Docker(f"tcp://{rest}", connector=tcp)
    raise SetupError(
        f"DOCKER_HOST must be unix:///path or tcp://host:port, not {scheme}{separator}…",
        remedy="On most servers it is unix:///var/run/docker.sock.",
    )


async def _read(response: aiohttp.ClientResponse, call: Call) -> bytes:
    try:
        async with call.watch():
            return await response.content.readany()
    except aiohttp.ClientError as error:
        raise EngineError(
            FaultCode.ENGINE_STREAM_TRUNCATED,
            f"{call.operation}: the Docker Engine disconnected too early ({type(error).__name__})",
        ) from error


async def _read_json(response: aiohttp.ClientResponse, call: Call) -> JsonValue:
    try:
        text = await response.text()
        is_json = response.content_type == "application/json" and text.strip()
        value: JsonValue = json.loads(text) if is_json else text
    except (aiohttp.ClientError, ValueError) as error:
        raise _broken_off(call) from error
    return value


async def _read_output(response: aiohttp.ClientResponse, call: Call) -> JsonValue:
    content = b""
    try:
        while len(content) < MAX_OUTPUT and (chunk := await response.content.readany()):
            content += chunk
    except aiohttp.ClientError as error:
        raise _broken_off(call) from error
    text = join_frames(content)
    return text if len(content) < MAX_OUTPUT else text.rpartition("\n")[0]


def _broken_off(call: Call) -> EngineError:
    return EngineError(
        FaultCode.ENGINE_STREAM_TRUNCATED,
        f"{call.operation}: the Docker Engine disconnected too early",
    )


async def _builder_version(response: aiohttp.ClientResponse, call: Call) -> JsonValue:
    """Return the header of Engines from API 1.42 on; older ones had BuildKit off by default."""
    await _read_json(response, call)
    return response.headers.get("Builder-Version", "")
