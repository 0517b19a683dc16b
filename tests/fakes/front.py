"""A web server before a real registry: it passes everything on, but for what a test keeps back."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

from tests.fakes.web import Fake, open_fake

Keep = Callable[[web.Request], Awaitable[web.StreamResponse | None]]
"""Answers in the registry's place, or says ``None``."""

HOP_BY_HOP = {"connection", "content-length", "content-encoding", "transfer-encoding"}


@asynccontextmanager
async def open_front(host: str, keep: Keep, *, listen: str = "127.0.0.1") -> AsyncIterator[Fake]:
    """Serve for the registry at ``host`` until the block is left."""
    async with aiohttp.ClientSession(auto_decompress=False) as session:

        async def answer(request: web.Request) -> web.StreamResponse:
            kept = await keep(request)
            return kept or await relay(session, host, request)

        async with open_fake(answer, listen=listen) as fake:
            yield fake


async def relay(
    session: aiohttp.ClientSession, host: str, request: web.Request
) -> web.StreamResponse:
    """Pass a request on to the registry at ``host``, and its answer back."""
    async with session.request(
        request.method,
        f"http://{host}{request.rel_url}",
        # aiohttp says by itself that a body comes in chunks, as an Engine sends layers.
        headers={k: v for k, v in request.headers.items() if k.lower() != "transfer-encoding"},
        data=request.content if request.can_read_body else None,
        allow_redirects=False,
    ) as answer:
        headers = {k: v for k, v in answer.headers.items() if k.lower() not in HOP_BY_HOP}
        if request.method == "HEAD":
            headers["Content-Length"] = answer.headers.get("Content-Length", "0")
        return web.Response(status=answer.status, headers=headers, body=await answer.read())
