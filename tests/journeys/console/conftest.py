"""The console of the journeys' stack, in a real Chromium."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser as Chromium

from tests.journeys.conftest import Port
from tests.journeys.console.browser import Tab, open_chromium, open_tab

OWNER = "owner@example.com"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    with open_chromium() as chromium:
        yield chromium


@pytest.fixture(scope="module")
def owner(port: Port, chromium: Chromium, node_modules: Path) -> Iterator[Tab]:
    """The tab of an owner, who joined by a link."""
    has_owner = any(member["role"] == "owner" for member in port.stack.call("user.all"))
    role = "admin" if has_owner else "owner"
    number = len(port.stack.call("user.all"))
    link = port.stack.call("organization.inviteMember", {"role": role})["path"]
    with open_tab(chromium, port.stack.url, node_modules) as tab:
        tab.join(link, f"{number}-{OWNER}", "Ada")
        yield tab
