"""A web front before a real registry that can answer in its place, badly, or hold a request up."""

import asyncio
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum

import aiohttp
from aiohttp import web

CHUNK_BYTES = 64 * 1024
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade"}
"""Header fields that are not passed on (RFC 9110, section 7.6.1)."""


class Misbehaviour(StrEnum):
    """The faults that the front makes in place of passing a request on."""

    BROKEN = "500"
    AWAY = "503"
    BUSY = "429"
    BUSY_FOR_A_WHILE = "429 with Retry-After"
    FORGETFUL = "401 in the middle"
    SHORT = "truncated"


@dataclass(frozen=True)
class Put:
    """A manifest that the registry took, at that moment of this machine's clock.

    ``is_abandoned``: its sender had closed the connection before the answer. What an Engine sent
    into a network that was cut comes out of it when the network is back, although the Engine has
    given up since: TCP sends again what was not acknowledged.
    """

    path: str
    digest: str
    at: float
    is_abandoned: bool


@dataclass
class HeldRequest:
    """Keeps what is asked by ``method`` of a path with ``part`` waiting until it may ``go_on``.

    ``is_done``: the registry has had the request, and only its answer is kept back. ``is_written``:
    only what is asked once the registry has taken a manifest: an Engine with the containerd store
    asks for it before, too.
    """

    method: str
    part: str
    is_done: bool
    is_written: bool = False
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def keep(self, request: web.Request, puts: Collection[Put], *, is_done: bool) -> None:
        requested = request.method == self.method and self.part in request.path
        if requested and is_done is self.is_done and (puts or not self.is_written):
            self.reached.set()
            await self.go_on.wait()


@dataclass
class Front:
    """``target`` is the registry's ``address:port``; ``mood``, ``hold`` may be set at any time."""

    target: str
    session: aiohttp.ClientSession
    mood: Misbehaviour | None = None
    hold: HeldRequest | None = None
    retry_after_seconds: int = 3
    spoiled: int = 0
    puts: list[Put] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        refusal = self._refusal(request)
        if refusal is not None:
            self.spoiled += 1
            return refusal
        if self.hold is not None:
            await self.hold.keep(request, self.puts, is_done=False)
        if request.transport is None:
            return web.Response(status=499)  # its client has gone: it was lost on the way
        try:
            return await self._hand_on(request)
        except (aiohttp.ClientError, OSError):
            return web.Response(status=502)

    def _refusal(self, request: web.Request) -> web.Response | None:
        match self.mood:
            case Misbehaviour.BROKEN | Misbehaviour.AWAY:
                return web.Response(status=int(self.mood))
            case Misbehaviour.BUSY:
                return web.Response(status=429)
            case Misbehaviour.BUSY_FOR_A_WHILE:
                wait = {"Retry-After": str(self.retry_after_seconds)}
                return web.Response(status=429, headers=wait)
            case Misbehaviour.FORGETFUL if request.method in {"PUT", "PATCH"}:
                realm = {"WWW-Authenticate": 'Basic realm="registry"'}
                return web.Response(status=401, headers=realm)
            case _:
                return None

    async def _hand_on(self, request: web.Request) -> web.StreamResponse:
        async with self.session.request(
            request.method,
            f"http://{self.target}{request.raw_path}",
            headers=_headers(request.headers),
            data=request.content.iter_chunked(CHUNK_BYTES) if request.can_read_body else None,
            allow_redirects=False,
        ) as theirs:
            self._remember(request, theirs)
            if self.hold is not None:
                await self.hold.keep(request, self.puts, is_done=True)
            ours = web.StreamResponse(status=theirs.status, headers=_headers(theirs.headers))
            await ours.prepare(request)
            async for chunk in theirs.content.iter_chunked(CHUNK_BYTES):
                if self.mood is Misbehaviour.SHORT and self._cut_off(request):
                    await ours.write(chunk[: len(chunk) // 2])
                    return _hang_up(request, ours)
                await ours.write(chunk)
            await ours.write_eof()
            return ours

    def _cut_off(self, request: web.Request) -> bool:
        self.spoiled += 1
        return request.method == "GET"

    def _remember(self, request: web.Request, theirs: aiohttp.ClientResponse) -> None:
        if request.method == "PUT" and "/manifests/" in request.path and theirs.status == 201:
            digest = theirs.headers.get("Docker-Content-Digest", "")
            is_abandoned = request.transport is None
            self.puts.append(Put(request.path, digest, time.time(), is_abandoned))


def _headers(headers: aiohttp.typedefs.LooseHeaders) -> list[tuple[str, str]]:
    pairs = headers.items() if hasattr(headers, "items") else headers
    return [(str(n), str(v)) for n, v in pairs if str(n).lower() not in HOP_BY_HOP]


def _hang_up(request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return answer


@asynccontextmanager
async def open_front(target: str, *, listen: str) -> AsyncIterator[tuple[Front, int]]:
    """The front and the port it listens on, until the block is left."""
    limits = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=60)
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(
        timeout=limits, connector=connector, auto_decompress=False
    ) as session:
        front = Front(target, session)
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", front.answer)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, listen, 0).start()
        try:
            yield front, runner.addresses[0][1]
        finally:
            await runner.cleanup()
