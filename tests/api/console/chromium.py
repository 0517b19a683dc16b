"""A real Chromium in front of the application: each page must be free of errors."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.async_api import Browser as Chromium
from playwright.async_api import BrowserContext, ConsoleMessage, Page, async_playwright

from tests.api.console.browsing import PASSWORD

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


@dataclass
class Tab:
    """A page of Chromium; ``errors`` are what its console and the policy reported."""

    page: Page
    url: str
    errors: list[str] = field(default_factory=list)

    async def open(self, path: str) -> None:
        await self.page.goto(f"{self.url}/console{path}")

    async def join(self, token: str, email: str, name: str = "Ada") -> None:
        await self.open(f"/join/{token}")
        await self.page.get_by_label("Name").fill(name)
        await self.page.get_by_label("E-mail").fill(email)
        await self.page.get_by_label("Password").fill(PASSWORD)
        await self.page.get_by_role("button", name="Join").click()
        await self.page.get_by_role("heading", name="Overview").wait_for()


@asynccontextmanager
async def open_chromium() -> AsyncIterator[Chromium]:
    program = shutil.which("chromium")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("chromium is missing: apt-get install chromium")
        pytest.skip("pages in a browser need chromium: apt-get install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def open_tab(chromium: Chromium, url: str, **options: Any) -> AsyncIterator[Tab]:
    """Open a page in a context of its own, as another person's browser."""
    context: BrowserContext = await chromium.new_context(**options)
    try:
        page = await context.new_page()
        tab = Tab(page, url)

        def record(message: ConsoleMessage) -> None:
            if message.type == "error":
                tab.errors.append(message.text)

        page.on("console", record)
        page.on("pageerror", lambda error: tab.errors.append(str(error)))
        yield tab
    finally:
        await context.close()
