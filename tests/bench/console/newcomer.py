"""A newcomer's path: clone, ``make up``, signed in, a registry, an image pushed, an application.

The clone is fresh and the data directory empty. A Chromium does what the README and the console
say, as fast as the pages allow it: a person also reads and types. pip's and uv's caches are those
of this machine.
"""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.bench.measure import Figure
from tests.bench.scene import PASSWORD, USER, Scene
from tests.journeys.console.browser import open_chromium
from worker.local.images import make_image
from worker.local.processes import free_port
from worker.local.registry import LocalRegistry

ROOT = Path(__file__).parents[3]
PATIENCE_MILLISECONDS = 120_000
IMAGE = "team/first:1"
JOIN = re.compile(r"http://\S+/console/join/\S+")
PERSON = "correct horse battery"
SERVES = ("/bin/sh", "-c", "trap 'exit 0' TERM; sleep 999 & wait")
PROGRAMS = {"bin/sh": Path("/bin/busybox"), "bin/busybox": Path("/bin/busybox")}


@dataclass
class Watch:
    """The seconds of each step."""

    times: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        begun = time.monotonic()
        yield
        self.times[name] = time.monotonic() - begun


def measure(scene: Scene) -> Iterator[Figure]:
    watch, folder = Watch(), scene.directory / "newcomer"
    folder.mkdir()
    docker_host = scene.fleet.hosts[0].docker_host
    make_image(docker_host, IMAGE, layer_bytes=(5_000_000,), files=PROGRAMS, command=list(SERVES))
    registry = LocalRegistry.start(
        folder / "registry", address=scene.fleet.address, users={USER: PASSWORD}
    )
    scene.closing.callback(registry.stop)
    clone = folder / "wharfinger"
    with watch.step("clone"):
        _run(["git", "clone", "--quiet", str(ROOT), str(clone)])
    with watch.step("make install: the Python environment"):
        _run(["make", "--silent", "install"], clone)
    with _up(watch, clone, docker_host) as link, open_chromium() as chromium:
        page = chromium.new_page()
        page.set_default_timeout(PATIENCE_MILLISECONDS)
        expect.set_options(timeout=PATIENCE_MILLISECONDS)
        _walk(watch, page, link, registry.host)
    yield from (Figure(f"newcomer: {name}", "s", spent) for name, spent in watch.times.items())
    yield Figure("newcomer: all", "s", sum(watch.times.values()))


@contextmanager
def _up(watch: Watch, clone: Path, docker_host: str) -> Iterator[str]:
    """Run ``make up`` until the block ends; yield the link of the first owner."""
    home = clone.parent / "home"
    home.mkdir()
    outside = {name: text for name, text in os.environ.items() if not name.startswith("WHARF_")}
    ours = {"DOCKER_HOST": docker_host, "PYTHONUNBUFFERED": "1", "COLUMNS": "300"}
    process = subprocess.Popen(
        ["make", "--silent", "up", f"UP=--port {free_port()} --data-dir {home}"],
        cwd=clone,
        env=outside | ours,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        with watch.step("make up: until the link to the console is printed"):
            link = _read_link(process)
        yield link
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=60)


def _read_link(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if found := JOIN.search(line):
            return found[0]
    raise AssertionError(f"make up ended: {seen}")


def _walk(watch: Watch, page: Page, link: str, host: str) -> None:
    with watch.step("signed in"):
        page.goto(link)
        page.get_by_label("Name").fill("Ada")
        page.get_by_label("E-mail").fill("ada@example.com")
        page.get_by_label("Password").fill(PERSON)
        page.get_by_role("button", name="Join").click()
        page.get_by_role("heading", name="Overview").wait_for()
    with watch.step("registry tested and added"):
        _go_to(page, "Registries")
        page.get_by_role("link", name="Add the first registry").click()
        page.get_by_label("Name", exact=True).fill("first")
        page.get_by_label("Address").fill(host)
        page.get_by_label("Image prefix").fill("team")
        page.get_by_role("textbox", name="Username").fill(USER)
        page.get_by_role("textbox", name="Password or token").fill(PASSWORD)
        page.get_by_text("TLS: own CA, client certificate, plain HTTP").click()
        page.get_by_label("Allow plain HTTP: the login may be sent without TLS").check()
        page.get_by_role("button", name="Test and add").click()
        page.get_by_role("heading", name="first", level=1).wait_for()
    with watch.step("image pushed"):
        _go_to(page, "Jobs")
        page.get_by_role("link", name="Push an image").first.click()
        page.get_by_label("Image on the server").fill(IMAGE)
        page.get_by_role("button", name="Push an image").click()
        expect(page.locator("h1 .state.succeeded")).to_be_visible()
    with watch.step("application created"):
        _go_to(page, "Applications")
        page.get_by_role("link", name="Create").first.click()
        page.get_by_label("Name", exact=True).fill("first")
        page.get_by_label("An image that is ready").check()
        page.get_by_label("Image", exact=True).fill(f"{host}/{IMAGE}")
        _next(page)
        page.get_by_label("Login to pull it").select_option(label="first")
        _next(page)
        page.get_by_label("this-machine").check()
        _next(page)
        page.get_by_role("button", name="Create the application").click()
        page.get_by_role("heading", name="first", level=1).wait_for()
    with watch.step("application deployed"):
        page.get_by_role("button", name="Deploy", exact=True).first.click()
        expect(page.locator("h1 .state.succeeded")).to_be_visible()


def _go_to(page: Page, name: str) -> None:
    links = page.get_by_role("navigation", name="Console")
    links.get_by_role("link", name=name, exact=True).click()
    page.get_by_role("heading", name=name, level=1, exact=True).wait_for()


def _next(page: Page) -> None:
    page.get_by_role("button", name="Next").click()


def _run(words: list[str], folder: Path | None = None) -> None:
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
