"""The steps of the README in the console, each by clicking."""

from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Locator, Page, expect

from tests.journeys.conftest import PASSWORD
from tests.journeys.console.browser import PASSWORD as SIGN_IN
from tests.journeys.console.browser import Tab, open_tab
from tests.journeys.walks.walking import SAYS, Place
from worker.local.images import make_image

MILLISECONDS = 90_000
FIRST_LINE = "element => element.firstChild.textContent"
HOOK = "http://127.0.0.1:9/hook"
"""Nothing listens there: a message to it fails, and is sent again by its button."""


@dataclass
class ConsoleWalk:
    """A person with a browser, and nothing else."""

    place: Place
    tab: Tab
    chromium: Chromium

    @property
    def page(self) -> Page:
        return self.tab.page

    def sign_in(self) -> None:
        """The owner joined by the first link; a person who signed out signs in again."""
        email = self.page.locator("header details p").first.evaluate(FIRST_LINE)
        self.open_menu("Sign out", role="button")
        self.page.get_by_label("E-mail").fill(email)
        self.page.get_by_label("Password").fill(SIGN_IN)
        self.press("Sign in")
        expect(self.heading("Overview")).to_be_visible()

    def find_the_servers(self) -> None:
        self.follow("Servers")
        row = self.page.get_by_role("row", name=self.server)
        expect(row.get_by_text("online", exact=True)).to_be_visible()
        row.get_by_role("link", name=self.server, exact=True).click()
        expect(self.heading("Engine", level=2)).to_be_visible()

    def refuse_a_wrong_password(self) -> None:
        self.open_registry_form("builds", self.place.port.registry.host)
        self.field("Password or token").fill("s3cret-exmaple")
        self.press("Test only")
        expect(self.page.get_by_role("cell", name="failed auth_bad_credentials")).to_be_visible(
            timeout=MILLISECONDS
        )
        expect(self.page.get_by_text("Check that the username and password")).to_be_visible()

    def add_and_test_the_registries(self) -> None:
        self.add_registry("builds", self.place.port.registry.host)
        self.add_registry("rollbacks", self.place.kept.host)

    def test_all_from_all(self) -> None:
        self.follow("Matrix")
        self.press("Test all from all")
        row = self.page.get_by_role("row").filter(
            has=self.page.get_by_role("link", name="rollbacks", exact=True)
        )
        count = len(self.place.port.servers)
        # Other journeys may have let further servers join.
        expect(row.locator(".state.ok").nth(count - 1)).to_be_visible(timeout=MILLISECONDS)

    def limit_a_login(self) -> None:
        self.open_registry("rollbacks")
        self.page.get_by_role("link", name="Change").click()
        self.page.get_by_text("Who may use it, and when it is due").click()
        for server in self.place.port.servers:
            self.page.get_by_label(server.name, exact=True).check()
        self.press("Change without a test")
        names = ", ".join(server.name for server in self.place.port.servers)
        expect(self.page.get_by_role("definition").filter(has_text=names)).to_be_visible()

    def rotate_a_login(self) -> None:
        self.open_registry("rollbacks")
        self.page.get_by_role("link", name="Rotate the login").click()
        self.field("Password or token").fill(PASSWORD)
        self.press("Test and rotate")
        expect(self.page.get_by_text("switched", exact=True)).to_be_visible(timeout=MILLISECONDS)

    def move_images(self) -> None:
        """Push, copy, pull and tag an image; each job is followed to its end."""
        host = self.place.port.fleet.hosts[0]
        make_image(host.docker_host, "team/walked:1", layer_bytes=(40_000,), seed=61)
        image = f"{self.place.port.registry.host}/team/walked:1"
        self.image("Push an image", {"Image on the server": "team/walked:1"}, to="builds")
        self.image("Copy an image", {"Image": image}, source="builds", to="rollbacks")
        self.image("Pull an image", {"Image": image})
        self.image("Tag an image", {"Image on the server": image, "New name": "walked:stable"})

    def cancel_a_job(self) -> None:
        host = self.place.port.fleet.hosts[0]
        make_image(host.docker_host, "team/long:1", layer_bytes=(60_000_000,), seed=62)
        with self.place.port.slow_link(0, "40mbit"):
            self.request_image("Push an image", {"Image on the server": "team/long:1"}, to="builds")
            self.press("Cancel the job")
            expect(self.page.locator("h1 .state.cancelled")).to_be_visible(timeout=MILLISECONDS)

    def create_an_application(self) -> None:
        self.follow("Applications")
        self.page.get_by_role("link", name="Create an application").first.click()
        self.page.get_by_label("Name", exact=True).fill("walked")
        self.page.get_by_label("Uploads: a tar with a Dockerfile").check()
        self.press("Next")
        self.page.get_by_label("Push to").select_option(label="builds")
        self.page.get_by_label("Keep for rollbacks in").select_option(label="rollbacks")
        self.page.get_by_label("Build on").select_option(label=self.server)
        self.press("Next")
        self.page.get_by_label(self.server, exact=True).check()
        self.press("Next")
        self.press("Create the application")
        expect(self.page.get_by_role("heading", name="walked", level=1)).to_be_visible()

    def upload_and_deploy(self) -> None:
        self.upload("version 1")
        self.deploy("Build and deploy")

    def build_only(self) -> None:
        self.open_application()
        self.press("Build only", exact=True)
        expect(self.page.locator("h1 .state.succeeded")).to_be_visible(timeout=MILLISECONDS)

    def deploy_a_second_version(self) -> None:
        self.upload("version 2", before="Upload its sources")
        self.deploy("Build and deploy")

    def roll_back(self) -> None:
        self.open_application()
        self.page.get_by_role("link", name="Rollback points").last.click()
        rows = self.page.get_by_role("row", name="walked, version 1")
        rows.first.get_by_role("link", name="Roll back…").click()
        expect(self.page.get_by_role("heading", name="What will happen")).to_be_visible()
        self.press("Roll back to version 1")
        expect(self.page.locator("h1 .state.succeeded")).to_be_visible(timeout=MILLISECONDS)

    def stop_and_start(self) -> None:
        for button in ("Stop", "Start"):
            self.open_application()
            self.press(button, exact=True)
            expect(self.page.locator("h1 .state.succeeded")).to_be_visible(timeout=MILLISECONDS)

    def read_the_logs(self) -> None:
        self.open_application()
        self.page.get_by_role("link", name="Logs").last.click()
        expect(self.page.get_by_role("heading", name="Logs of walked")).to_be_visible()
        self.press("Read")
        log = self.page.get_by_label("Log", exact=True)
        expect(log).to_contain_text(SAYS, timeout=MILLISECONDS)

    def make_a_deploy_hook(self) -> None:
        """A hook is for an application of a ready image, or of a git repository."""
        self.follow("Applications")
        self.page.get_by_role("link", name="Create an application").first.click()
        self.page.get_by_label("Name", exact=True).fill("ready")
        self.page.get_by_label("An image that is ready").check()
        image = f"{self.place.port.registry.host}/team/walked:1"
        self.page.get_by_label("Image", exact=True).fill(image)
        for _ in range(3):
            self.press("Next")
        self.press("Create the application")
        self.page.get_by_role("link", name="Deploy hooks").click()
        self.press("Create the hook")
        expect(self.page.get_by_text("/api/deploy/").first).to_be_visible()

    def receive_webhooks(self) -> None:
        self.follow("Webhooks")
        self.page.get_by_role("link", name="Add", exact=False).first.click()
        self.field("Address").fill(HOOK)
        self.page.get_by_label("job.ended").check()
        self.press("Add and show the secret")
        expect(self.page.get_by_text("whsec_").first).to_be_visible()
        self.page.get_by_role("link", name="Show the webhook").click()
        webhook = self.page.url
        host = self.place.port.registry.host
        self.image("Pull an image", {"Image": f"{host}/team/walked:1"})
        self.page.goto(webhook)
        again = self.page.get_by_role("button", name="Send again").first
        expect(again).to_be_visible(timeout=MILLISECONDS)
        again.click()
        expect(self.page.get_by_role("row", name="job.ended").first).to_be_visible()
        self.remove()

    def join_pause_and_remove_a_server(self) -> None:
        self.follow("Servers")
        self.page.get_by_role("link", name="Add a server").click()
        self.page.get_by_label("Name", exact=True).fill("walker")
        self.press("Add and show the join command")
        line = self.page.locator(".command pre").first.inner_text()
        self.page.get_by_role("link", name="Show the server").click()
        with self.place.joining(line, "console-walker"):
            state = self.page.locator("#server .state").first
            expect(state).to_have_text("online", timeout=MILLISECONDS)
            self.press("Pause all")
            expect(state).to_have_text("paused")
            self.press("Resume all")
            expect(state).to_have_text("online")
            self.press("Check the path")
            expect(self.page.get_by_text("A job was sent to the server and back")).to_be_visible(
                timeout=MILLISECONDS
            )
            self.remove()
        expect(self.page.get_by_role("link", name="walker", exact=True)).to_have_count(0)

    def make_and_remove_a_key(self) -> None:
        self.open_menu("API keys")
        self.page.get_by_label("Name", exact=True).fill("walked")
        self.press("Create it")
        key = self.page.locator(".notice [data-copy]").get_attribute("data-copy") or ""
        assert self.status_with(key) == 200
        row = self.page.get_by_role("row", name="walked")
        row.get_by_role("button", name="Remove").click()
        expect(row).to_have_count(0)
        assert self.status_with(key) == 401

    def invite_a_viewer(self) -> None:
        self.open_menu("People")
        self.page.get_by_label("Role", exact=True).select_option("viewer")
        self.press("Make an invitation")
        link = self.page.locator(".notice [data-copy]").get_attribute("data-copy") or ""
        path = link.removeprefix(self.tab.url)
        with open_tab(self.chromium, self.tab.url, self.tab.axe.parents[2]) as viewer:
            viewer.join(path, "walks-viewer@example.com", "Vera")
            viewer.open("/console/registries")
            expect(viewer.page.get_by_role("link", name="builds")).to_be_visible()
            expect(viewer.page.get_by_role("link", name="Add a registry")).to_have_count(0)

    def read_the_audit_log(self) -> None:
        self.follow("Audit")
        self.page.get_by_label("Action").fill("registry.create")
        self.press("Filter")
        expect(self.page.get_by_role("row", name="registry.create").first).to_be_visible()

    def look_after_it(self) -> None:
        self.follow("Overview")
        expect(self.heading("Jobs of the last 24 hours", level=2)).to_be_visible()
        self.follow("Jobs")
        self.page.get_by_label("State").select_option("succeeded")
        expect(self.page.get_by_role("row", name="succeeded").first).to_be_visible()

    def read_the_documentation(self) -> None:
        self.open_menu("Documentation")
        self.page.get_by_role("link", name="Quickstart").first.click()
        expect(self.page.get_by_role("heading", name="Quickstart", level=1)).to_be_visible()
        self.tab.open("/console")

    # What the steps are made of.

    @property
    def server(self) -> str:
        return self.place.port.servers[0].name

    def heading(self, name: str, level: int = 1) -> Locator:
        return self.page.get_by_role("heading", name=name, level=level, exact=True)

    def field(self, name: str) -> Locator:
        return self.page.get_by_role("textbox", name=name)

    def press(self, name: str, *, exact: bool = False) -> None:
        self.page.get_by_role("button", name=name, exact=exact).first.click()

    def follow(self, name: str) -> None:
        """Follow a link of the navigation."""
        links = self.page.get_by_role("navigation", name="Console")
        links.get_by_role("link", name=name, exact=True).click()
        expect(self.heading(name)).to_be_visible()

    def open_menu(self, name: str, role: Any = "link") -> None:
        """Open the menu of the person, and follow what has this name there."""
        menu = self.page.locator("header details.menu")
        menu.locator("summary").click()
        menu.get_by_role(role, name=name, exact=True).click()

    def open_registry_form(self, name: str, host: str) -> None:
        self.follow("Registries")
        self.page.get_by_role("link", name="Add a registry").first.click()
        self.page.get_by_label("Name", exact=True).fill(name)
        self.page.get_by_label("Address").fill(host)
        self.page.get_by_label("Image prefix").fill("team")
        self.field("Username").fill("porter")
        self.page.get_by_text("TLS: own CA, client certificate, plain HTTP").click()
        self.page.get_by_label("Allow plain HTTP: the login may be sent without TLS").check()

    def add_registry(self, name: str, host: str) -> None:
        self.open_registry_form(name, host)
        self.field("Password or token").fill(PASSWORD)
        self.press("Test and add")
        expect(self.heading(name)).to_be_visible(timeout=MILLISECONDS)

    def open_registry(self, name: str) -> None:
        self.follow("Registries")
        self.page.get_by_role("main").get_by_role("link", name=name, exact=True).click()
        expect(self.heading(name)).to_be_visible()

    def open_application(self) -> None:
        self.follow("Applications")
        self.page.get_by_role("main").get_by_role("link", name="walked", exact=True).click()
        expect(self.page.get_by_role("heading", name="walked", level=1)).to_be_visible()

    def upload(self, text: str, before: str = "") -> None:
        self.open_application()
        if before:
            self.page.get_by_text(before, exact=True).click()
        sources = self.place.make_sources(text)
        self.page.get_by_label("Tar, compressed or not").set_input_files(sources)
        self.press("Upload", exact=True)
        expect(self.page.get_by_text("The next build uses it.")).to_be_visible()

    def deploy(self, button: str) -> None:
        self.open_application()
        self.press(button)
        expect(self.page.locator("h1 .state.succeeded")).to_be_visible(timeout=MILLISECONDS)

    def request_image(self, title: str, typed: dict[str, str], **chosen: str) -> None:
        self.tab.open("/console/images/push")
        self.page.get_by_role("main").get_by_role("link", name=title).click()
        for label, text in typed.items():
            self.page.get_by_label(label, exact=True).fill(text)
        labels = {"to": "To the registry", "source": "Login for the source"}
        for name, registry in chosen.items():
            self.page.get_by_label(labels[name]).select_option(label=registry)
        self.page.get_by_label("Server", exact=True).select_option(label=self.server)
        self.press(title)

    def image(self, title: str, typed: dict[str, str], **chosen: str) -> None:
        self.request_image(title, typed, **chosen)
        expect(self.page.locator("h1 .state.succeeded")).to_be_visible(timeout=MILLISECONDS)

    def remove(self) -> None:
        self.page.get_by_role("link", name="Remove").first.click()
        self.press("Remove", exact=True)

    def status_with(self, key: str) -> int:
        answer = self.page.request.get(
            f"{self.tab.url}/api/registry.all", headers={"x-api-key": key}
        )
        return answer.status
