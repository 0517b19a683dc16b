"""A browser without a script: it keeps cookies, and fills forms."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import unescape
from typing import Any

import httpx2
from starlette.applications import Starlette

from api.procedure.auth import hash_secret, make_secret
from shared.ids import make_id
from tests.databases import Database

PASSWORD = "correct horse battery"
ORIGIN = "http://console.example"
_CSRF = re.compile(r'name="csrf" value="([^"]+)"')


class Browser:
    """A visitor of the console, signed in or not."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self.client = client
        self.csrf = ""

    async def get(self, path: str, **params: str) -> httpx2.Response:
        answer = await self.client.get(f"/console{path}", params=params)
        if found := _CSRF.search(answer.text):
            self.csrf = unescape(found[1])
        return answer

    async def post(self, path: str, **fields: Any) -> httpx2.Response:
        """Send a form of the page that was loaded last."""
        return await self.client.post(
            f"/console{path}",
            data={"csrf": self.csrf, **fields},
            headers={"origin": ORIGIN},
        )

    async def sign_in(self, email: str, password: str = PASSWORD, **fields: str) -> httpx2.Response:
        answer = await self.post("/sign-in", email=email, password=password, **fields)
        if answer.status_code == 303:
            await self.get("")
        return answer

    @property
    def cookie(self) -> str | None:
        return self.client.cookies.get("wharf_session", domain="console.example")

    @cookie.setter
    def cookie(self, token: str) -> None:
        self.client.cookies.set("wharf_session", token, "console.example", "/console")


@asynccontextmanager
async def open_browser(app: Starlette) -> AsyncIterator[Browser]:
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url=ORIGIN) as client:
        yield Browser(client)


def invite(database: Database, role: str, email: str | None = None) -> str:
    """Store an invitation of the first organization's first key; return its token."""
    token = make_secret("whi_")
    database.execute(
        "INSERT INTO invitation (invitation_id, organization_id, email, role, token_hash,"
        " invited_by, expires_at)"
        " SELECT %s, organization_id, %s, %s, %s, api_key_id, now() + interval '1 hour'"
        " FROM organization JOIN api_key USING (organization_id)"
        " ORDER BY organization.created_at, api_key.created_at LIMIT 1",
        make_id(),
        email,
        role,
        hash_secret(token),
    )
    return token


async def join(
    browser: Browser, token: str, email: str, name: str = "Ada", **fields: str
) -> httpx2.Response:
    """Accept an invitation; the browser is signed in then."""
    form = {"name": name, "email": email, "password": PASSWORD, **fields}
    answer = await browser.post(f"/join/{token}", **form)
    if answer.status_code == 303:
        await browser.get("")
    return answer
