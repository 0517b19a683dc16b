"""A connection to one Docker Engine; the only module that knows aiodocker.

aiodocker brings the transport; what it gets wrong with transfers is done here instead. It never
closes the answer of a stream, so cancelling a pull there does not cancel it; it takes a stalled
stream for a finished one; it asks for the API version once per caller and then never again; it has
no time limits; and it lets at most 100 streams be open at a time.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
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
from worker.engine.errors import Doing, make_error
from worker.engine.transport.call import Answer, Call, validated
from worker.engine.transport.information import (
    EngineInfo,
    EngineVersion,
    InfoAnswer,
    VersionAnswer,
    choose_api_version,
)
from worker.engine.transport.stream import JsonLines, Watchdog
from worker.engine.transport.text import join_frames

CONTROL = timedelta(seconds=10)
"""The whole time of a short call: an Engine that is slower than that hangs."""

CONNECT = timedelta(seconds=5)
MAX_CONTROL_CALLS = 64
MAX_OUTPUT = 64 * 1024
CANNOT_CONNECT = 900
"""aiodocker's own status for a connection that failed."""


ReadAnswer = Callable[[aiohttp.ClientResponse, Call], Awaitable[JsonValue]]

BUILDKIT = "2"
"""What ``Builder-Version`` says of BuildKit (Docker Engine API, "Ping")."""


class Engine:
    """One Engine, reached by ``unix:///path`` or ``tcp://host:port``.

    It belongs to the event loop it was made in. Nothing is sent until the first call, and an Engine
    that was away is found again by the next call. Every method raises `EngineError`.
    """

    def __init__(self, docker_host: str) -> None:
        self.docker_host = docker_host
        self._control = _make_client(docker_host, limit=MAX_CONTROL_CALLS)
        self._streams = _make_client(docker_host, limit=0)
        self._api_version: str | None = None
        self._negotiation = asyncio.Lock()

    @classmethod
    def open(cls, docker_host: str) -> Self:
        """An Engine to be closed by `close`, or by leaving ``async with``.

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
        """Close all connections; transfers that are under way end."""
        for client in (self._control, self._streams):
            await client.close()
            if client.connector is not None:
                await client.connector.close()

    async def ping(self) -> None:
        """Return if the Engine answers."""
        await self._ask(Call("GET", "_ping", Doing("ping"), is_versioned=False), CONTROL)

    async def offers_buildkit(self) -> bool:
        """Whether the Engine itself prefers BuildKit for what is built over its API."""
        call = Call("GET", "_ping", Doing("ping"), is_versioned=False)
        return await self._ask(call, CONTROL, _builder_version) == BUILDKIT

    async def version(self) -> EngineVersion:
        """What the Engine says that it is, asked anew."""
        call = Call("GET", "version", Doing("version"), is_versioned=False)
        return validated(VersionAnswer, await self._ask(call, CONTROL), call.doing).as_version()

    async def info(self) -> EngineInfo:
        """How the Engine is set up."""
        version = await self.version()
        answer = await self.request_as(InfoAnswer, "GET", "info", doing=Doing("info"))
        return answer.as_info(version, api_version=await self._negotiated())

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: JsonValue = None,
        limit: timedelta = CONTROL,
        doing: Doing | None = None,
    ) -> JsonValue:
        """The decoded JSON of a call that takes ``limit`` at most; other answers as text.

        ``path`` is without version and without a slash at its start: ``images/json``.
        """
        data = None if body is None else json.dumps(body).encode()
        named = doing or Doing(f"{method} {path}")
        call = Call(method, path, named, params or {}, headers or {}, data)
        return await self._ask(call, limit)

    async def request_as(
        self,
        answer: type[Answer],
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: JsonValue = None,
        limit: timedelta = CONTROL,
        doing: Doing | None = None,
    ) -> Answer:
        """The answer of such a call, which has to be of this shape."""
        named = doing or Doing(f"{method} {path}")
        value = await self.request(
            method, path, params=params, headers=headers, body=body, limit=limit, doing=named
        )
        return validated(answer, value, named)

    async def output(self, path: str, *, params: Mapping[str, str], doing: Doing) -> str:
        """What a container printed, `MAX_OUTPUT` bytes of it at most."""
        return str(await self._ask(Call("GET", path, doing, params), CONTROL, _printed))

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
        doing: Doing | None = None,
    ) -> AsyncIterator[JsonLines]:
        """The lines of a long call; leaving the block, in whatever way, ends it on the Engine too.

        Raises:
            EngineError: ``engine_stalled`` when nothing moved for ``idle``,
                ``engine_stream_truncated`` when the connection broke. A line that reports an error
                is handed on as it is.
        """
        named = doing or Doing(f"{method} {path}")
        watchdog = Watchdog(idle, str(named))
        call = Call(method, path, named, params or {}, headers or {}, data, watchdog)
        async with self._answer(self._streams, call) as response:
            yield JsonLines(partial(_read, response, call))

    async def _ask(self, call: Call, limit: timedelta, read: ReadAnswer | None = None) -> JsonValue:
        try:
            async with (
                asyncio.timeout(limit.total_seconds()),
                self._answer(self._control, call) as response,
            ):
                return await (read or _decoded)(response, call)
        except TimeoutError as error:
            raise self._unreachable(
                call, f"no answer within {limit.total_seconds():g} s"
            ) from error

    @asynccontextmanager
    async def _answer(self, client: Docker, call: Call) -> AsyncIterator[aiohttp.ClientResponse]:
        response = await self._send_versioned(client, call)
        try:
            yield response
        finally:
            response.close()  # this is the cancel: an Engine stops when its client goes

    async def _send_versioned(self, client: Docker, call: Call) -> aiohttp.ClientResponse:
        if not call.is_versioned:
            return await self._send(client, call)
        client.api_version = used = f"v{await self._negotiated()}"
        try:
            return await self._send(client, call)
        except EngineError as error:
            if error.code != FaultCode.ENGINE_API_VERSION:
                raise
            self._forget(used)
            if not call.can_be_repeated:
                raise
        client.api_version = f"v{await self._negotiated()}"
        return await self._send(client, call)

    async def _send(self, client: Docker, call: Call) -> aiohttp.ClientResponse:
        try:
            async with call.watching():
                return await client._do_query(  # noqa: SLF001 - aiodocker has no public door to a bare answer
                    call.path,
                    call.method,
                    params=dict(call.params),
                    headers=dict(call.headers),
                    data=call.watched_data(),
                    timeout=aiohttp.ClientTimeout(sock_connect=CONNECT.total_seconds()),
                    versioned_api=call.is_versioned,
                )
        except DockerError as error:
            if error.status == CANNOT_CONNECT:
                raise self._unreachable(call, "no connection") from error
            words = error.message
        except aiohttp.ServerTimeoutError as error:
            raise self._unreachable(call, "no connection") from error
        except (aiohttp.ClientError, ValueError, LookupError) as error:
            raise self._unreachable(call, "no sensible answer") from error
        raise make_error(words, call.doing)  # out here, so that the bare words do not ride along

    def _unreachable(self, call: Call, what: str) -> EngineError:
        return EngineError(
            FaultCode.ENGINE_UNREACHABLE,
            f"{call.doing}: {what} from the Docker Engine at {self.docker_host}",
        )

    async def _negotiated(self) -> str:
        """The API version in use; whoever waits for another's question waits no longer than it."""
        call = Call("GET", "version", Doing("version"))
        try:
            async with asyncio.timeout(CONTROL.total_seconds()), self._negotiation:
                if self._api_version is None:
                    self._api_version = choose_api_version(await self.version())
                return self._api_version
        except TimeoutError as error:
            raise self._unreachable(call, "no answer") from error

    def _forget(self, used: str) -> None:
        """Another call may have asked anew in the meantime: its answer stays."""
        if f"v{self._api_version}" == used:
            self._api_version = None


def _make_client(docker_host: str, *, limit: int) -> Docker:
    # A connection serves one call (force_close): one that an Engine closed while it lay in the
    # pool would fail the next POST. The connector is ours, so aiodocker does not close it.
    scheme, separator, rest = docker_host.partition("://")
    if scheme == "unix" and rest.startswith("/"):
        pipe = aiohttp.UnixConnector(rest, limit=limit, force_close=True)
        return Docker("unix://localhost", connector=pipe)
    if scheme == "tcp" and rest:
        tcp = aiohttp.TCPConnector(limit=limit, force_close=True)
        return Docker(f"tcp://{rest}", connector=tcp)
    raise SetupError(
        f"DOCKER_HOST is unix:///path or tcp://host:port, not {scheme}{separator}…",
        remedy="On most servers it is unix:///var/run/docker.sock.",
    )


async def _read(response: aiohttp.ClientResponse, call: Call) -> bytes:
    try:
        async with call.watching():
            return await response.content.readany()
    except aiohttp.ClientError as error:
        raise EngineError(
            FaultCode.ENGINE_STREAM_TRUNCATED,
            f"{call.doing}: the Docker Engine broke off ({type(error).__name__})",
        ) from error


async def _decoded(response: aiohttp.ClientResponse, call: Call) -> JsonValue:
    try:
        text = await response.text()
        is_json = response.content_type == "application/json" and text.strip()
        answer: JsonValue = json.loads(text) if is_json else text
    except (aiohttp.ClientError, ValueError) as error:
        raise EngineError(
            FaultCode.ENGINE_STREAM_TRUNCATED, f"{call.doing}: the Docker Engine broke off"
        ) from error
    return answer


async def _printed(response: aiohttp.ClientResponse, call: Call) -> JsonValue:
    content = b""
    try:
        while len(content) < MAX_OUTPUT and (chunk := await response.content.readany()):
            content += chunk
    except aiohttp.ClientError as error:
        raise EngineError(
            FaultCode.ENGINE_STREAM_TRUNCATED, f"{call.doing}: the Docker Engine broke off"
        ) from error
    text = join_frames(content)
    return text if len(content) < MAX_OUTPUT else text.rpartition("\n")[0]


async def _builder_version(response: aiohttp.ClientResponse, call: Call) -> JsonValue:
    """Engines from API 1.42 on say it in a header; before, BuildKit had to be switched on."""
    await _decoded(response, call)
    return response.headers.get("Builder-Version", "")
