"""A registry with a fault: a real one behind a server that answers in its place."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

from tests.fakes.front import relay

Respond = Callable[[web.Request], Awaitable[web.StreamResponse | None]]
"""Answer in place of the registry, or return ``None`` to forward the request."""

Edit = Callable[[web.Request, web.Response], web.StreamResponse]
"""Change the registry's answer."""

MAX_HEADER_BYTES = 128 * 1024


@dataclass
class Front:
    """A server before the registry at ``target``; ``host`` is its own ``address:port``."""

    target: str
    session: aiohttp.ClientSession
    respond: Respond
    edit: Edit | None = None
    scheme: str = "https"
    host: str = ""
    requests: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        self.requests.append(f"{request.method} {request.path}")
        answered = await self.respond(request)
        if answered is not None:
            return answered
        added = {"X-Forwarded-Proto": self.scheme}
        forwarded = await relay(self.session, self.target, request, added=added)
        return self.edit(request, forwarded) if self.edit else forwarded


@asynccontextmanager
async def open_front(
    target: str,
    respond: Respond,
    *,
    listen: str,
    tls: ssl.SSLContext | None,
    edit: Edit | None = None,
) -> AsyncIterator[Front]:
    """Serve until the block is left."""
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        front = Front(target, session, respond, edit, "https" if tls else "http")
        application = web.Application(client_max_size=1024**3)
        application.router.add_route("*", "/{path:.*}", front.answer)
        runner = web.AppRunner(
            application,
            shutdown_timeout=0.1,
            access_log=None,
            max_field_size=MAX_HEADER_BYTES,
            max_line_size=MAX_HEADER_BYTES,
        )
        await runner.setup()
        await web.TCPSite(runner, listen, 0, ssl_context=tls).start()
        front.host = f"{listen}:{runner.addresses[0][1]}"
        try:
            yield front
        finally:
            await runner.cleanup()


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def open_raw(
    talk: Talk, *, listen: str, tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """Serve connections that speak no HTTP; yield ``address:port``."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, listen, 0, ssl=tls)
    address, port = server.sockets[0].getsockname()[:2]
    try:
        yield f"{address}:{port}"
    finally:
        server.close()
