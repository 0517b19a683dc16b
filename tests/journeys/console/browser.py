"""Chromium for journeys: one process, one person's tab at a time, and what it complained of."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import ConsoleMessage, Page, sync_playwright

PASSWORD = "correct horse battery"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
RUN_AXE = "rules => axe.run(document, {runOnly: {type: 'tag', values: rules}})"
OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@dataclass
class Tab:
    """A person's tab; ``errors`` are those of its console, and reports of the policy."""

    page: Page
    url: str
    axe: Path
    errors: list[str] = field(default_factory=list)

    def open(self, path: str) -> None:
        self.page.goto(f"{self.url}{path}")

    def join(self, path: str, email: str, name: str) -> None:
        """Accept an invitation."""
        self.open(path)
        self.page.get_by_label("Name").fill(name)
        self.page.get_by_label("E-mail").fill(email)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Join").click()
        self.page.get_by_role("heading", name="Overview").wait_for()

    def violations(self) -> list[str]:
        """Return what axe finds wrong on the page, each rule with the elements."""
        # By the debugger's protocol: the policy of the page allows no script of others.
        self.page.evaluate(self.axe.read_text())
        found = self.page.evaluate(RUN_AXE, RULES)["violations"]
        return [f"{rule['id']}: {node['html'][:200]}" for rule in found for node in rule["nodes"]]

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than the window."""
        return int(self.page.evaluate(OVERFLOW))


@contextmanager
def open_chromium() -> Iterator[Chromium]:
    program = shutil.which("chromium")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("chromium is missing: apt-get install chromium")
        pytest.skip("journeys in a browser need chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_tab(chromium: Chromium, url: str, node: Path, **options: Any) -> Iterator[Tab]:
    """Open a tab of another person's browser."""
    context = chromium.new_context(**options)
    try:
        page = context.new_page()
        tab = Tab(page, url, node / "node_modules" / "axe-core" / "axe.min.js")

        def record(message: ConsoleMessage) -> None:
            if message.type == "error":
                tab.errors.append(f"{message.text} {message.location['url']}")

        page.on("console", record)
        page.on("pageerror", lambda error: tab.errors.append(str(error)))
        yield tab
    finally:
        context.close()
