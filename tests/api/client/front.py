"""A server in front of the real API, on a socket, that fails as a test says."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx2
from aiohttp import web

from tests.fakes.web import open_fake

Fault = Callable[[], web.Response] | str
"""Makes an answer in place of the API's; ``reset``: before the API got it; ``lost``: after it."""


@dataclass
class Front:
    """``faults`` happen to the first requests, one to each; the others reach the API."""

    url: str = ""
    faults: list[Fault] = field(default_factory=list)
    seen: list[web.Request] = field(default_factory=list)


@asynccontextmanager
async def open_front(api: httpx2.AsyncClient, *faults: Fault) -> AsyncIterator[Front]:
    """Serve until the block is left; ``api`` asks the real one."""
    front = Front(faults=list(faults))

    async def answer(request: web.Request) -> web.StreamResponse:
        fault = front.faults.pop(0) if front.faults else None
        body = await request.read()
        if callable(fault):
            return fault()
        if fault == "reset":
            return _abort(request)
        headers = {name: value for name, value in request.headers.items() if name != "Host"}
        got = await api.request(request.method, request.path_qs, content=body, headers=headers)
        if fault == "lost":
            return _abort(request)
        return web.Response(status=got.status_code, body=got.content, headers=_kept(got))

    async with open_fake(answer) as fake:
        front.url, front.seen = f"http://{fake.host}", fake.requests
        yield front


def _abort(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def _kept(answer: httpx2.Response) -> dict[str, str]:
    return {
        name: value
        for name, value in answer.headers.items()
        if name == "content-type" or name.startswith("x-")
    }
