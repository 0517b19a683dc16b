"""A small web server on a real socket that answers what a test says, and remembers what it got."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

MAX_HEADER_BYTES = 64 * 1024


@dataclass
class Fake:
    """``host`` is ``address:port``; ``requests`` are kept in the order in which they came."""

    address: str = "127.0.0.1"
    port: int = 0
    requests: list[web.Request] = field(default_factory=list)

    @property
    def host(self) -> str:
        return f"{self.address}:{self.port}"

    @property
    def lines(self) -> list[str]:
        """``GET /v2/``, without queries."""
        return [f"{request.method} {request.path}" for request in self.requests]

    @property
    def authorizations(self) -> list[str]:
        """Return all credentials that were sent."""
        found = (request.headers.get("Authorization") for request in self.requests)
        return [value for value in found if value is not None]


@asynccontextmanager
async def open_fake(
    answer: Answer,
    *,
    tls: ssl.SSLContext | None = None,
    listen: str = "127.0.0.1",
    port: int = 0,
) -> AsyncIterator[Fake]:
    """Serve until the block is left."""
    fake = Fake(listen)

    async def handle(request: web.Request) -> web.StreamResponse:
        fake.requests.append(request)
        return await answer(request)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(
        application,
        shutdown_timeout=0.1,
        max_field_size=MAX_HEADER_BYTES,
        max_line_size=MAX_HEADER_BYTES,
    )
    await runner.setup()
    await web.TCPSite(runner, listen, port, ssl_context=tls).start()
    fake.port = runner.addresses[0][1]
    try:
        yield fake
    finally:
        await runner.cleanup()


def says(
    status: int, *, text: str = "", kind: str = "text/plain", headers: dict[str, str] | None = None
) -> Answer:
    """The same answer to everything."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=text, content_type=kind, headers=headers)

    return answer
