"""The two connections to the API: one blocks, one waits in an event loop.

All other code of the client is written once, on the interface that both have.
"""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol, TypeVar

import httpx2

from wharfinger.content import Content

Item = TypeVar("Item")

Check = Callable[[], None]
"""Called for each chunk of a stream; it raises to end the stream."""


@dataclass(frozen=True)
class Request:
    """A request below the API's URL; ``read_seconds`` replaces the usual limit of a pause."""

    method: str
    path: str
    headers: dict[str, str]
    params: dict[str, str] | None = None
    json: dict[str, object] | None = None
    content: Content | None = None
    read_seconds: float | None = None


Stream = tuple[httpx2.Response, AsyncGenerator[httpx2.ServerSentEvent, None]]


class Connection(Protocol):
    """The parts of HTTP and of time that the client uses."""

    async def send(self, request: Request) -> httpx2.Response:
        """Send it, and read the whole answer."""

    def listen(
        self, request: Request, check: Check
    ) -> contextlib.AbstractAsyncContextManager[Stream]:
        """Open a stream; yield its answer, read if it is not 200, and its events."""

    async def sleep(self, pause: timedelta) -> None:
        """Wait."""

    def now(self) -> float:
        """Return the seconds of a monotonic clock."""


class BlockingConnection:
    """A connection that blocks its thread; its coroutines never suspend."""

    def __init__(
        self,
        client: httpx2.Client,
        sleep: Callable[[float], None],
        now: Callable[[], float],
    ) -> None:
        self.client = client
        self.now = now
        self._sleep = sleep

    async def send(self, request: Request) -> httpx2.Response:
        content = request.content.chunks() if request.content else None
        return self.client.send(_build(self.client, request, content))

    @contextlib.asynccontextmanager
    async def listen(self, request: Request, check: Check) -> AsyncGenerator[Stream, None]:
        with contextlib.closing(
            self.client.send(_build(self.client, request, None), stream=True)
        ) as response:
            if response.status_code != httpx2.codes.OK:
                response.read()
            elif isinstance(response.stream, httpx2.SyncByteStream):
                response.stream = _Checked(response.stream, check)
            yield response, _one_by_one(httpx2.EventSource(response))

    async def sleep(self, pause: timedelta) -> None:
        self._sleep(pause.total_seconds())


class AsyncConnection:
    """A connection for an event loop."""

    def __init__(
        self,
        client: httpx2.AsyncClient,
        sleep: Callable[[float], Awaitable[None]],
        now: Callable[[], float],
    ) -> None:
        self.client = client
        self.now = now
        self._sleep = sleep

    async def send(self, request: Request) -> httpx2.Response:
        content = _one_by_one(request.content.chunks()) if request.content else None
        return await self.client.send(_build(self.client, request, content))

    @contextlib.asynccontextmanager
    async def listen(self, request: Request, check: Check) -> AsyncGenerator[Stream, None]:
        response = await self.client.send(_build(self.client, request, None), stream=True)
        async with contextlib.aclosing(response):
            if response.status_code != httpx2.codes.OK:
                await response.aread()
            elif isinstance(response.stream, httpx2.AsyncByteStream):
                response.stream = _AsyncChecked(response.stream, check)
            yield response, _received(httpx2.EventSource(response))

    async def sleep(self, pause: timedelta) -> None:
        await self._sleep(pause.total_seconds())


def _build(
    client: httpx2.Client | httpx2.AsyncClient,
    request: Request,
    content: Iterator[bytes] | AsyncIterator[bytes] | None,
) -> httpx2.Request:
    timeout = client.timeout
    if request.read_seconds is not None:
        timeout = httpx2.Timeout(request.read_seconds, connect=timeout.connect)
    return client.build_request(
        request.method,
        request.path,
        headers=request.headers,
        params=request.params,
        json=request.json,
        content=content,
        timeout=timeout,
    )


async def _one_by_one(items: Iterable[Item]) -> AsyncGenerator[Item, None]:
    for item in items:
        yield item


async def _received(
    source: httpx2.EventSource,
) -> AsyncGenerator[httpx2.ServerSentEvent, None]:
    async for event in source:
        yield event


class _Checked(httpx2.SyncByteStream):
    def __init__(self, stream: httpx2.SyncByteStream, check: Check) -> None:
        self._stream, self._check = stream, check

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            self._check()
            yield chunk

    def close(self) -> None:
        self._stream.close()


class _AsyncChecked(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, check: Check) -> None:
        self._stream, self._check = stream, check

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            self._check()
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()
