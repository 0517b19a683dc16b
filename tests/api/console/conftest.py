"""Browsers of members, each with a role."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from starlette.applications import Starlette

from tests.api.console.browsing import Browser, invite, join, open_browser
from tests.databases import Database

OWNER = "owner@example.com"


@pytest.fixture
async def browser(app: Starlette) -> AsyncIterator[Browser]:
    """A browser that is not signed in."""
    async with open_browser(app) as browser:
        yield browser


@pytest.fixture
async def owner(app: Starlette, database: Database) -> AsyncIterator[Browser]:
    """The browser of an owner."""
    async with open_browser(app) as browser:
        assert (await join(browser, invite(database, "owner"), OWNER)).status_code == 303
        yield browser


@pytest.fixture
async def viewer(app: Starlette, owner: Browser, database: Database) -> AsyncIterator[Browser]:
    """The browser of a viewer, of an organization that has an owner."""
    async with open_browser(app) as browser:
        joined = await join(browser, invite(database, "viewer"), "viewer@example.com", "Vera")
        assert joined.status_code == 303
        yield browser


@pytest.fixture
async def outsider(
    app: Starlette, stranger: httpx2.AsyncClient, database: Database
) -> AsyncIterator[Browser]:
    """The browser of the owner of another organization."""
    token = invite(database, "owner", "outsider@example.com")
    database.execute(
        "UPDATE invitation SET organization_id = 'org-2', invited_by = 'key-2'"
        " WHERE email = 'outsider@example.com'"
    )
    async with open_browser(app) as browser:
        assert (await join(browser, token, "outsider@example.com", "Otto")).status_code == 303
        yield browser
