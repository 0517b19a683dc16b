"""The pages in a real Chromium: without errors, with keys, also without a script."""

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest
from playwright.async_api import expect
from starlette.applications import Starlette

from tests.api.asking import GHCR, create_registry
from tests.api.console.browsing import invite
from tests.api.console.chromium import Tab, open_chromium, open_tab
from tests.api.events.reading import serving
from tests.api.fleet import TestServer, bad_error, good_report, make_stage
from tests.databases import Database

PAGES = (
    *("", "/registries", "/registries/new", "/matrix", "/servers", "/servers/new"),
    *("/webhooks", "/webhooks/new"),
    *(f"/registries/{{registry}}{end}" for end in ("", "/edit", "/rotate", "/remove")),
    *(f"/servers/{{server}}{end}" for end in ("", "/edit", "/remove")),
    *(f"/webhooks/{{webhook}}{end}" for end in ("", "/edit", "/remove")),
    "/matrix/{registry}/{server}",
    *("/jobs", "/jobs?state=failed", "/jobs/cancel", "/images/pull", "/images/tag"),
    "/no-such-page",
)


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


async def test_every_page_is_shown_without_an_error(
    tab: Tab, client: httpx2.AsyncClient, server: TestServer
) -> None:
    registry = (await create_registry(client))["registryId"]
    webhook = (await client.post("/api/webhook.create", json={"url": "https://ci.example"})).json()
    ids = {"registry": registry, "server": server.server_id, "webhook": webhook["webhookId"]}
    for path in PAGES:
        await tab.open(path.format(**ids))
        await tab.page.get_by_role("heading", level=1).wait_for()

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


async def test_a_login_is_tested_and_corrected_in_the_form_that_keeps_it(
    tab: Tab, client: httpx2.AsyncClient, server: TestServer
) -> None:
    page = tab.page
    await tab.open("/registries/new")
    await page.get_by_label("Name", exact=True).fill("GitHub")
    await page.get_by_label("Address").fill(GHCR["registryUrl"])
    await page.get_by_label("Username", exact=True).fill(GHCR["username"])
    await page.get_by_label("Password or token", exact=True).fill("wrong")
    await page.get_by_role("button", name="Test only").click()
    await server.fail_next(bad_error())
    await page.get_by_text("ghcr.io refuses the username and password").wait_for()

    password = page.get_by_label("Password or token", exact=True)
    assert await password.input_value() == "wrong"
    await password.fill("right")
    await asyncio.gather(
        page.get_by_role("button", name="Test and add").click(),
        server.succeed_next(good_report()),
    )

    await page.get_by_role("heading", name="GitHub").wait_for()
    assert tab.errors == []


async def test_the_stages_of_a_test_appear_one_after_the_other(
    tab: Tab, client: httpx2.AsyncClient, server: TestServer
) -> None:
    stored = await create_registry(client)
    page = tab.page
    await tab.open(f"/registries/{stored['registryId']}")
    await page.get_by_role("button", name="Test", exact=True).click()
    job = await server.next_job()
    dns, tcp = (make_stage(name) for name in ("dns", "tcp"))
    await server.show_progress(job, {"stages": [dns]})
    await expect(page.get_by_role("row", name="dns ok")).to_be_visible()
    await expect(page.get_by_role("row", name="parse running")).to_be_visible()
    assert await page.get_by_role("row", name="tcp ok").count() == 0
    await server.show_progress(job, {"stages": [dns, tcp]})
    await expect(page.get_by_role("row", name="tcp ok")).to_be_visible()
    await server.finish(job, "failed", error=bad_error())

    await expect(page.get_by_role("row", name="auth failed")).to_be_visible()
    assert page.url.endswith(f"/registries/{stored['registryId']}")
    await tab.open(f"/matrix/{stored['registryId']}/{server.server_id}")
    await page.get_by_role("button", name="Test again").click()
    job = await server.next_job()
    await server.show_progress(job, {"stages": [dns]})
    await expect(page.get_by_role("row", name="parse running")).to_be_visible()
    await server.finish(job, "succeeded", result=good_report())
    await expect(page.get_by_role("row", name="auth ok")).to_be_visible()
    assert await page.get_by_role("row", name="parse running").count() == 0
    assert tab.errors == []


async def test_a_form_that_changed_during_its_test_is_not_saved(
    tab: Tab, client: httpx2.AsyncClient, server: TestServer
) -> None:
    page = tab.page
    await tab.open("/registries/new")
    await page.get_by_label("Name", exact=True).fill("GitHub")
    await page.get_by_label("Address").fill(GHCR["registryUrl"])
    await page.get_by_label("Username", exact=True).fill(GHCR["username"])
    await page.get_by_label("Password or token", exact=True).fill("right")
    await page.get_by_role("button", name="Test and add").click()
    job = await server.next_job()
    await page.get_by_label("Password or token", exact=True).fill("another")
    await server.finish(job, "succeeded", result=good_report())

    await page.get_by_text("The form was changed during the test").wait_for()
    assert (await client.get("/api/registry.all")).json() == []
    assert tab.errors == []


async def test_a_refused_test_is_explained_beside_its_button(tab: Tab) -> None:
    await tab.open("/registries/new")
    await tab.page.get_by_label("Name", exact=True).fill("GitHub")
    await tab.page.get_by_role("button", name="Test only").click()

    await tab.page.get_by_text("Input validation failed").wait_for()
    assert await tab.page.get_by_label("Name", exact=True).input_value() == "GitHub"


async def test_the_join_command_is_copied_by_a_button(tab: Tab) -> None:
    await tab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await tab.open("/servers/new")
    await tab.page.get_by_label("Name", exact=True).fill("fra-1")
    await tab.page.get_by_role("button", name="Add and show the join command").click()
    await tab.page.get_by_role("button", name="Copy").first.click()
    await tab.page.get_by_role("button", name="Copied").wait_for()

    copied = await tab.page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith(f"WHARF_URL={tab.url} WHARF_JOIN_TOKEN=")
    assert tab.errors == []


async def test_a_registry_is_tested_and_added_without_a_script(
    app: Starlette, client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    async with (
        serving(app) as (_, url),
        open_chromium() as chromium,
        open_tab(chromium, url, java_script_enabled=False) as tab,
    ):
        await tab.join(invite(database, "owner"), "owner@example.com")
        await tab.open("/registries/new")
        await tab.page.get_by_label("Name", exact=True).fill("GitHub")
        await tab.page.get_by_label("Address").fill(GHCR["registryUrl"])
        await tab.page.get_by_label("Username", exact=True).fill(GHCR["username"])
        await tab.page.get_by_label("Password or token", exact=True).fill(GHCR["password"])
        await asyncio.gather(
            tab.page.get_by_role("button", name="Test and add").click(),
            server.succeed_next(good_report()),
        )

        await tab.page.get_by_role("heading", name="GitHub").wait_for()
        assert tab.errors == []
