"""The login of a registry is rotated in the console: refused, used, taken back, removed."""

from playwright.sync_api import expect

from tests.journeys.conftest import PASSWORD, Port, login
from tests.journeys.console.browser import Tab

MILLISECONDS = 60_000


def test_a_login_is_refused_then_switched_then_taken_back(owner: Tab, port: Port) -> None:
    page = owner.page
    named = {**login(port.registry, PASSWORD), "registryName": "rotated"}
    registry_id = port.stack.call("registry.create", named)["registryId"]
    owner.open(f"/console/registries/{registry_id}")

    rotate(owner, "not the password")
    expect(page.get_by_text("refused", exact=True)).to_be_visible(timeout=MILLISECONDS)
    expect(page.get_by_role("cell", name="auth_bad_credentials").first).to_be_visible()

    rotate(owner, PASSWORD)
    expect(page.get_by_text("switched", exact=True)).to_be_visible(timeout=MILLISECONDS)
    expect(page.get_by_role("cell", name="passed").first).to_be_visible()
    page.get_by_role("button", name="Use the old login again").click()
    expect(page.get_by_text("rolled back", exact=True)).to_be_visible()

    page.get_by_role("link", name="Remove").click()
    page.get_by_role("button", name="Remove").click()
    expect(page.get_by_text("rotated is removed.")).to_be_visible()
    left = [each["registryName"] for each in port.stack.call("registry.all")]
    assert "rotated" not in left
    assert [error for error in owner.errors if "Failed to load resource" not in error] == []


def rotate(tab: Tab, password: str) -> None:
    tab.page.get_by_role("link", name="Rotate the login").click()
    tab.page.get_by_role("textbox", name="Password or token").fill(password)
    tab.page.get_by_role("button", name="Test and rotate").click()
    expect(tab.page.get_by_text("The new login is being tested.")).to_be_visible()
