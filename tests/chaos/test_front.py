"""The front knows whether the sender of a manifest still waited for the registry's answer."""

import asyncio

import pytest
from aiohttp import web

from tests.chaos.front import open_front
from tests.fakes.web import open_fake
from tests.waiting import wait_until

PUT = b"PUT /v2/app/manifests/1 HTTP/1.1\r\nHost: registry\r\nContent-Length: 2\r\n\r\n{}"


@pytest.mark.parametrize("leaves", [False, True], ids=["waits", "has given up"])
async def test_a_manifest_whose_sender_has_given_up_is_distinguished(*, leaves: bool) -> None:
    go_on = asyncio.Event()

    async def take(_: web.Request) -> web.StreamResponse:
        await go_on.wait()
        return web.Response(status=201, headers={"Docker-Content-Digest": "sha256:x"})

    async with open_fake(take) as registry, open_front(registry.host, listen="127.0.0.1") as opened:
        front, port = opened
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(PUT)
        await writer.drain()
        await wait_until(lambda: bool(registry.requests))
        if leaves:
            writer.close()
            await writer.wait_closed()
            for _ in range(10):
                await asyncio.sleep(0)  # the front, in this loop, sees it
        go_on.set()
        await wait_until(lambda: bool(front.puts))
        writer.close()

    assert [put.is_abandoned for put in front.puts] == [leaves]
