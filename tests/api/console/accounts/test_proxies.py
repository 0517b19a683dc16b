"""The console behind a proxy with TLS: what a trusted proxy says of a caller counts."""

import asyncio

import httpx2
import pytest
from starlette.applications import Starlette

from api.__main__ import Server, make_config
from tests.api.console.browsing import PASSWORD, Browser
from tests.api.console.conftest import OWNER
from tests.databases import Database
from tests.waiting import wait_until
from worker.local.processes import free_port, is_listening

TRUSTED = ("127.0.0.1", "198.51.100.7", True)
OTHERS = [("192.0.2.1", "127.0.0.1", False), ("", "127.0.0.1", False)]


@pytest.mark.parametrize("case", [TRUSTED, *OTHERS], ids=["trusted", "another", "none"])
async def test_a_proxy_is_believed_only_if_it_is_trusted(
    app: Starlette, owner: Browser, database: Database, case: tuple[str, str, bool]
) -> None:
    proxies, address, is_secure = case
    port = free_port()
    server = Server(make_config(app, "127.0.0.1", port, proxies), app)
    task = asyncio.create_task(server.serve())
    headers = {"x-forwarded-proto": "https", "x-forwarded-for": "198.51.100.7"}
    try:
        await wait_until(lambda: is_listening("127.0.0.1", port))
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            answer = await client.post(
                "/console/sign-in", data={"email": OWNER, "password": PASSWORD}, headers=headers
            )
    finally:
        server.should_exit = True
        await task

    assert answer.status_code == 303
    assert ("Secure" in answer.headers["set-cookie"]) is is_secure
    rows = database.execute("SELECT address FROM user_session ORDER BY created_at DESC LIMIT 1")
    assert rows == [(address,)]
