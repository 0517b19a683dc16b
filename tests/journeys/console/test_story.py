"""A team does its work with the console alone, on real parts and in a real Chromium."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import expect

from tests.journeys.conftest import PASSWORD, Port
from tests.journeys.console.browser import Tab, open_tab
from tests.worker.engine.contexts import BASE, make_base
from worker.local.images import make_image
from worker.local.registry import LocalRegistry
from worker.local.repository import LocalRepository

SERVES = "trap 'exit 0' TERM; sleep 999 & wait"
BREAKS = "exit 3"
SECONDS = 90_000.0
SCREENSHOTS = "WHARF_SCREENSHOTS"
"""The folder where the pictures of the README are stored, if it is set."""


@pytest.fixture
def kept(port: Port, tmp_path: Path) -> Iterator[LocalRegistry]:
    """A registry that no page knows yet."""
    registry = LocalRegistry.start(
        tmp_path / "kept", address=port.fleet.address, users={"porter": PASSWORD}
    )
    yield registry
    registry.stop()


@pytest.fixture
def repository(port: Port, tmp_path: Path) -> Iterator[LocalRepository]:
    (tmp_path / "git").mkdir()
    files = {"Dockerfile": dockerfile(SERVES), "page": b"ahoy"}
    served = LocalRepository.start(tmp_path / "git", address=port.fleet.address, files=files)
    yield served
    served.stop()


def dockerfile(command: str) -> bytes:
    """Return a Dockerfile whose image runs a command of the shell."""
    return f'FROM {BASE}\nCOPY page /page\nCMD ["/bin/sh", "-c", "{command}"]\n'.encode()


def push_commit(repository: LocalRepository, command: str) -> None:
    """Commit another Dockerfile to the repository's branch."""
    work = repository.directory / "work"
    (work / "Dockerfile").write_bytes(dockerfile(command))
    git = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    subprocess.run([*git, "commit", "--quiet", "--all", "--message=Change"], cwd=work, check=True)
    bare = str(repository.directory / "app.git")
    subprocess.run([*git, "push", "--quiet", bare, "main"], cwd=work, check=True)


def picture(tab: Tab, name: str) -> None:
    if folder := os.environ.get(SCREENSHOTS):
        tab.page.wait_for_timeout(300)
        tab.page.screenshot(path=str(Path(folder) / f"{name}.png"))


def test_a_registry_is_added_after_its_stages_are_green(owner: Tab, kept: LocalRegistry) -> None:
    page = owner.page
    owner.open("/console/registries")
    page.get_by_role("link", name="Add a registry").first.click()
    page.get_by_label("Name", exact=True).fill("kept")
    page.get_by_label("Address").fill(kept.host)
    page.get_by_role("textbox", name="Username").fill("porter")
    page.get_by_role("textbox", name="Password or token").fill("not the password")
    page.get_by_text("TLS: own CA, client certificate, plain HTTP").click()
    page.get_by_label("Allow plain HTTP: the login may be sent without TLS").check()
    page.get_by_role("button", name="Test and add").click()

    expect(page.get_by_role("cell", name="failed auth_bad_credentials")).to_be_visible(
        timeout=SECONDS
    )
    expect(page.get_by_label("Name", exact=True)).to_have_value("kept")
    page.get_by_role("textbox", name="Password or token").fill(PASSWORD)
    page.get_by_role("button", name="Test only").click()
    expect(page.get_by_text("Verified:", exact=True)).to_be_visible(timeout=SECONDS)
    expect(page.get_by_role("row", name="push ok")).to_be_visible()
    picture(owner, "test")
    page.get_by_role("button", name="Test and add").click()
    expect(page.get_by_role("heading", name="kept", level=1)).to_be_visible(timeout=SECONDS)
    picture(owner, "registry")
    assert owner.errors == []


def test_the_matrix_tests_all_from_all(owner: Tab, port: Port) -> None:
    page = owner.page
    owner.open("/console/matrix")
    page.get_by_role("button", name="Test all from all").click()

    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="ours", exact=True))
    expect(row.locator(".state.ok")).to_have_count(len(port.servers), timeout=SECONDS)
    picture(owner, "matrix")
    row.locator("a.cell").first.click()
    expect(page.get_by_role("row", name="auth ok")).to_be_visible()
    assert owner.errors == []


def test_a_push_shows_its_bars_and_is_cancelled(owner: Tab, port: Port) -> None:
    page = owner.page
    make_image(
        port.fleet.hosts[0].docker_host, "team/story:1", layer_bytes=(60_000_000, 60_000_000)
    )
    owner.open("/console/images/push")
    page.get_by_label("Image on the server").fill("team/story:1")
    page.get_by_label("To the registry").select_option(label="ours")
    page.get_by_label("Server", exact=True).select_option(label=port.servers[0].name)
    with port.slow_link(0, "80mbit"):
        page.get_by_role("button", name="Push an image").click()
        bar = page.get_by_role("progressbar").first
        expect(bar).to_be_visible(timeout=SECONDS)
        page.wait_for_function("() => document.querySelector('progress')?.value > 0")
        first = float(bar.get_attribute("value") or 0)
        page.wait_for_function(
            "seen => document.querySelector('progress')?.value > seen", arg=first
        )
        picture(owner, "job")
        page.get_by_role("button", name="Cancel the job").click()
        expect(page.locator("h1 .state.cancelled")).to_be_visible(timeout=SECONDS)
    assert owner.errors == []


def test_an_application_is_deployed_a_broken_version_refused_and_the_good_one_restored(
    owner: Tab, port: Port, repository: LocalRepository
) -> None:
    page = owner.page
    make_base(port.fleet.hosts[0].docker_host)
    owner.open("/console/applications")
    page.get_by_role("link", name="Create an application").first.click()
    page.get_by_label("Name", exact=True).fill("story")
    page.get_by_label("A git repository with a Dockerfile").check()
    page.get_by_label("URL of the repository").fill(repository.url)
    page.get_by_role("button", name="Next").click()
    page.get_by_label("Push to").select_option(label="ours")
    page.get_by_label("Keep for rollbacks in").select_option(label="ours")
    page.get_by_label("Build on").select_option(label=port.servers[0].name)
    page.get_by_role("button", name="Next").click()
    page.get_by_label(port.servers[0].name).check()
    page.get_by_role("button", name="Next").click()
    page.get_by_role("button", name="Create the application").click()
    expect(page.get_by_role("heading", name="story", level=1)).to_be_visible()
    application = page.url

    page.get_by_role("button", name="Build and deploy").click()
    expect(page.locator("h1 .state.succeeded")).to_be_visible(timeout=SECONDS)

    push_commit(repository, BREAKS)
    page.goto(application)
    page.get_by_role("button", name="Build and deploy").click()
    expect(page.get_by_text("This version was refused.")).to_be_visible(timeout=SECONDS)
    picture(owner, "deployment")

    page.goto(application)
    expect(page.get_by_role("row", name=f"{port.servers[0].name} version 1")).to_be_visible()
    picture(owner, "application")
    page.get_by_role("link", name="Rollback points").last.click()
    page.get_by_role("link", name="Roll back…").first.click()
    expect(page.get_by_role("heading", name="What will happen")).to_be_visible()
    page.get_by_role("button", name="Roll back to version 1").click()
    expect(page.locator("h1 .state.succeeded")).to_be_visible(timeout=SECONDS)
    assert owner.errors == []


def test_an_invited_viewer_sees_all_and_changes_nothing(
    owner: Tab, port: Port, chromium: Chromium, node_modules: Path
) -> None:
    page = owner.page
    owner.open("/console/people")
    page.get_by_label("Role", exact=True).select_option("viewer")
    page.get_by_role("button", name="Make an invitation").click()
    link = page.locator(".notice [data-copy]").get_attribute("data-copy") or ""

    with open_tab(chromium, port.stack.url, node_modules) as viewer:
        viewer.join(link.removeprefix(port.stack.url), "story-viewer@example.com", "Vera")
        for path in ("registries", "servers", "applications", "keys", "webhooks", "matrix"):
            viewer.open(f"/console/{path}")
            main = viewer.page.get_by_role("main")
            expect(main.get_by_role("heading", level=1)).to_be_visible()
            assert main.locator("form[method=post]").count() == 0, path
        assert viewer.errors == []
        csrf = viewer.page.locator("input[name=csrf]").first.get_attribute("value") or ""
        refused = viewer.page.request.post(
            f"{port.stack.url}/console/registries/{port.registry_id}/remove",
            form={"csrf": csrf},
            headers={"origin": port.stack.url},
        )
        assert refused.status == 403
