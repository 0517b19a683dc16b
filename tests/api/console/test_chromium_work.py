"""Pages of jobs and applications in a real Chromium: live, also without a script."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.async_api import expect
from starlette.applications import Starlette

from shared.settings import ApiSettings
from tests.api.console.browsing import invite
from tests.api.console.chromium import Tab, open_chromium, open_tab
from tests.api.console.hostile import HOSTILE
from tests.api.deploying import create_deployable, make_point
from tests.api.events.reading import serving
from tests.api.fleet import TestServer
from tests.databases import Database
from tests.waiting import wait_until
from worker.local.processes import Child, free_port, is_listening

OWNER = "owner@example.com"
WIDER = "document.documentElement.scrollWidth - innerWidth"
"""The pixels by which a page is wider than its window."""


@pytest.fixture
async def tab(app: Starlette, database: Database) -> AsyncIterator[Tab]:
    """The tab of an owner."""
    async with (
        serving(app) as (_, url),
        open_chromium() as chromium,
        open_tab(chromium, url) as tab,
    ):
        await tab.join(invite(database, "owner"), OWNER)
        yield tab


async def pull(client: httpx2.AsyncClient) -> str:
    job_id: str = (await client.post("/api/image.pull", json={"image": "nginx"})).json()["jobId"]
    return job_id


async def report(server: TestServer, job: Any, layers: list[dict[str, Any]]) -> None:
    running = {"job_id": job.job_id, "attempt": job.attempt, "progress": {"layers": layers}}
    await server.call("heartbeat", {"incarnation": server.incarnation, "jobs": [running]})


async def test_a_job_is_followed_while_it_runs(
    tab: Tab, client: httpx2.AsyncClient, server: TestServer
) -> None:
    job_id = await pull(client)
    await tab.open(f"/jobs/{job_id}")
    job = await server.next_job()
    log = tab.page.locator("#log")

    await server.event(job, "log", {"text": "one\n"})
    await server.event(job, "log", {"text": HOSTILE})
    await expect(log).to_contain_text("one")
    await expect(log).to_contain_text("<b onclick=x>")
    layer = {"id": "a1b2", "state": "moving", "current_bytes": 512, "total_bytes": 1024}
    await report(server, job, [layer])
    await expect(tab.page.get_by_label("Layer a1b2")).to_have_attribute("value", "512")
    await report(server, job, [{**layer, "current_bytes": 768}])
    await expect(tab.page.get_by_label("Layer a1b2")).to_have_attribute("value", "768")
    await expect(tab.page.locator("#speed")).to_contain_text("/s")
    await tab.page.set_viewport_size({"width": 360, "height": 800})
    assert await tab.page.evaluate(WIDER) <= 0
    await server.finish(job, "succeeded", result={"reference": "docker.io/library/nginx:latest"})

    await expect(tab.page.locator("h1 .state")).to_have_text("succeeded")
    assert (await log.inner_text()).splitlines()[0] == "one"
    assert await tab.page.locator("#log b").count() == 0
    assert tab.errors == []


@dataclass
class ApiProcess:
    """An API process on the test's database; each start is on the same port."""

    settings: ApiSettings
    log: Path
    port: int = field(default_factory=free_port)
    child: Child | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        env = {
            "WHARF_DATABASE_URL": self.settings.database_url.get_secret_value(),
            "WHARF_VAULT_PUBLIC_KEY": self.settings.vault_public_key,
        }
        argv = (sys.executable, "-m", "api", "--port", str(self.port))
        self.child = Child.start("api", argv, log=self.log, env=env, without="WHARF_")
        await wait_until(lambda: is_listening("127.0.0.1", self.port), seconds=60)

    def kill(self) -> None:
        if self.child is not None:
            self.child.kill()


@pytest.fixture
def api(settings: ApiSettings, tmp_path: Path) -> Iterator[ApiProcess]:
    process = ApiProcess(settings, tmp_path / "api.log")
    yield process
    process.kill()


async def test_a_page_outlives_its_api_process_and_catches_up_without_losing_a_line(
    api: ApiProcess, client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    job_id = await pull(client)
    job = await server.next_job()
    await api.start()
    async with open_chromium() as chromium, open_tab(chromium, api.url) as tab:
        await tab.join(invite(database, "owner"), OWNER)
        await tab.open(f"/jobs/{job_id}")
        log, notice = tab.page.locator("#log"), tab.page.get_by_text("The connection to Wharfinger")
        bar = tab.page.get_by_label("Layer a1b2")
        layer = {"id": "a1b2", "state": "moving", "current_bytes": 512, "total_bytes": 1024}
        await server.event(job, "log", {"text": "one\n"})
        await report(server, job, [layer])
        await expect(log).to_contain_text("one")
        await expect(bar).to_have_attribute("value", "512")
        await expect(notice).to_be_hidden()

        api.kill()
        await expect(notice).to_be_visible()
        for text in ("two\n", "three\n"):
            await server.event(job, "log", {"text": text})
        await report(server, job, [{**layer, "current_bytes": 768}])
        await api.start()

        await expect(log).to_contain_text("three", timeout=30_000)
        await expect(notice).to_be_hidden()
        await expect(bar).to_have_attribute("value", "768")
        assert (await log.inner_text()).splitlines() == ["one", "two", "three"]
        await server.finish(job, "succeeded", result={"reference": "docker.io/library/nginx:1"})
        await expect(tab.page.locator("h1 .state")).to_have_text("succeeded")
        assert [error for error in tab.errors if "net::ERR_" not in error] == []


async def test_pages_of_things_are_shown_without_an_error(
    tab: Tab, client: httpx2.AsyncClient, server: TestServer
) -> None:
    application = await create_deployable(client, [server], rollbackActive=True)
    point = await make_point(client, server, application)
    job_id = await pull(client)
    root = f"/applications/{application['applicationId']}"
    tabs = ("", "/deployments", "/builds", "/logs", "/hooks", "/settings", "/remove")

    for path in (
        *("/jobs", f"/jobs/{job_id}", "/jobs/cancel", "/rollbacks"),
        *(f"{root}{each}" for each in tabs),
        f"{root}/rollbacks/{point['rollbackId']}",
        f"/deployments/{point['deploymentId']}",
        f"/builds/{point['buildId']}",
    ):
        await tab.open(path)
        assert await tab.page.locator("h1").count() == 1, path
        await tab.page.set_viewport_size({"width": 360, "height": 800})
        assert await tab.page.evaluate(WIDER) <= 0, path

    assert tab.errors == []


async def test_of_two_tabs_that_roll_back_at_once_one_asks_again(
    tab: Tab, client: httpx2.AsyncClient, server: TestServer
) -> None:
    application = await create_deployable(client, [server], rollbackActive=True)
    point = await make_point(client, server, application)
    chosen = {"applicationId": application["applicationId"]}
    before = (await client.get("/api/deployment.all", params=chosen)).json()
    tabs = (tab.page, await tab.page.context.new_page())
    path = f"/console/applications/{chosen['applicationId']}/rollbacks/{point['rollbackId']}"
    for page in tabs:
        await page.goto(f"{tab.url}{path}")

    buttons = [page.get_by_role("button", name="Roll back to version 1") for page in tabs]
    await asyncio.gather(*(button.click() for button in buttons))
    alert = "the application has changed since this page was shown"
    deployment = [page.get_by_role("table", name="Servers", exact=True) for page in tabs]
    for page, table in zip(tabs, deployment, strict=True):
        await expect(page.get_by_role("alert").or_(table)).to_be_visible()

    [refused] = [page for page in tabs if page.url.endswith(path)]
    await expect(refused.get_by_role("alert")).to_contain_text(alert)
    after = (await client.get("/api/deployment.all", params=chosen)).json()
    assert len(after) == len(before) + 1
    # The refused page shows what is now, and its button is bound to that.
    await refused.get_by_role("button", name="Roll back to version 1").click()
    await refused.wait_for_url("**/deployments/*")


async def test_an_application_is_created_and_deployed_without_a_script(
    app: Starlette, client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    async with (
        serving(app) as (_, url),
        open_chromium() as chromium,
        open_tab(chromium, url, java_script_enabled=False) as tab,
    ):
        await tab.join(invite(database, "owner"), OWNER)
        page = tab.page
        await tab.open("/applications/new")
        await page.get_by_label("Name", exact=True).fill("Shop")
        await page.get_by_label("An image that is ready").check()
        await page.get_by_label("Image", exact=True).fill("nginx:1.29")
        await page.get_by_role("button", name="Next: Build").click()
        await page.get_by_role("button", name="Next: Where it runs").click()
        await page.get_by_label("alpha").check()
        await page.get_by_label("Ports").fill("8080:80")
        await page.get_by_role("button", name="Next: Health").click()
        await page.get_by_role("button", name="Create the application").click()
        await page.get_by_role("heading", name="Shop").wait_for()
        await page.get_by_role("button", name="Deploy", exact=True).first.click()
        await page.get_by_role("heading", name="Deployment").wait_for()
        await page.get_by_role("button", name="Cancel the deployment").click()
        await page.get_by_role("status").wait_for()

    [application] = (await client.get("/api/application.all")).json()
    assert application["serverIds"] == [server.server_id]
    assert application["ports"][0]["publishedPort"] == 8080
