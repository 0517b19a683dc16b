"""A web server in front of a real registry: it forwards requests that a test does not intercept."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType

import aiohttp
from aiohttp import web

from tests.fakes.web import Fake, open_fake

Intercept = Callable[[web.Request], Awaitable[web.StreamResponse | None]]
"""Return a response in place of the registry, or ``None`` to forward the request."""

HOP_BY_HOP = {"connection", "content-length", "content-encoding", "transfer-encoding"}


@asynccontextmanager
async def open_front(
    host: str, intercept: Intercept, *, listen: str = "127.0.0.1"
) -> AsyncIterator[Fake]:
    """Serve for the registry at ``host`` until the block is left."""
    async with aiohttp.ClientSession(auto_decompress=False) as session:

        async def answer(request: web.Request) -> web.StreamResponse:
            intercepted = await intercept(request)
            return intercepted or await relay(session, host, request)

        async with open_fake(answer, listen=listen) as fake:
            yield fake


async def relay(
    session: aiohttp.ClientSession,
    host: str,
    request: web.Request,
    *,
    added: Mapping[str, str] = MappingProxyType({}),
) -> web.Response:
    """Forward a request to the registry at ``host``, with headers, and its response back."""
    # A list of pairs: an Engine sends one ``Accept`` for each media type.
    # aiohttp sets ``Transfer-Encoding`` itself for a chunked body, as an Engine sends layers.
    sent = [(k, v) for k, v in request.headers.items() if k.lower() != "transfer-encoding"]
    async with session.request(
        request.method,
        f"http://{host}{request.rel_url}",
        headers=[*sent, *added.items()],
        data=request.content if request.can_read_body else None,
        allow_redirects=False,
    ) as answer:
        headers = {k: v for k, v in answer.headers.items() if k.lower() not in HOP_BY_HOP}
        if request.method == "HEAD":
            headers["Content-Length"] = answer.headers.get("Content-Length", "0")
        return web.Response(status=answer.status, headers=headers, body=await answer.read())
