"""The pages in a real Chromium: without errors, with keys, also without a script."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from starlette.applications import Starlette

from tests.api.asking import create_registry
from tests.api.console.browsing import invite
from tests.api.console.chromium import Tab, open_chromium, open_tab
from tests.api.events.reading import serving
from tests.databases import Database

PAGES = ("", "/registries", "/no-such-page")


@pytest.fixture
async def tab(app: Starlette, database: Database) -> AsyncIterator[Tab]:
    """The tab of an owner."""
    async with (
        serving(app) as (_, url),
        open_chromium() as chromium,
        open_tab(chromium, url) as tab,
    ):
        await tab.join(invite(database, "owner"), "owner@example.com")
        yield tab


async def test_every_page_is_shown_without_an_error(tab: Tab, client: httpx2.AsyncClient) -> None:
    await create_registry(client)
    for path in PAGES:
        await tab.open(path)

    assert [error for error in tab.errors if "404" not in error] == []


async def test_keys_lead_to_pages_rows_and_the_filter(tab: Tab, client: httpx2.AsyncClient) -> None:
    registry = await create_registry(client)
    await tab.page.keyboard.press("g")
    await tab.page.keyboard.press("r")
    await tab.page.get_by_role("heading", name="Registries").wait_for()
    await tab.page.keyboard.press("/")
    await tab.page.keyboard.type(registry["registryName"])
    await tab.page.keyboard.press("Enter")
    await tab.page.wait_for_url("**/registries?q=*")
    await tab.page.keyboard.press("j")
    await tab.page.keyboard.press("Enter")

    await tab.page.wait_for_url(f"**/registries/{registry['registryId']}")
    assert tab.errors == []


async def test_a_list_shows_what_is_new_without_loading_the_page(
    tab: Tab, client: httpx2.AsyncClient
) -> None:
    await tab.open("")
    await create_registry(client)

    await tab.page.get_by_role("link", name="1 registries").wait_for(timeout=15_000)
    assert tab.errors == []
