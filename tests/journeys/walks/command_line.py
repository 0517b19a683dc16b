"""The steps of the README with ``wharf`` alone, each as a real process."""

import json
import os
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.journeys.conftest import PASSWORD
from tests.journeys.walks.walking import PROGRAMS, SAYS, Place
from tests.waiting import pause_after
from worker.local.images import make_image

SECONDS = 120.0
HOOK = "http://127.0.0.1:9/other"


@dataclass
class CommandLineWalk:
    """A person at a shell, with an API key."""

    place: Place
    environment: dict[str, str] = field(default_factory=dict)

    def sign_in(self) -> None:
        """The key is stored in a profile; no later command has it in its environment."""
        port = self.place.port
        self.environment = {
            "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
            "HOME": str(self.place.folder),
            "XDG_CONFIG_HOME": str(self.place.folder / "config"),
            "COLUMNS": "200",
        }
        self.wharf("login", port.stack.url, "--key-stdin", text=port.stack.admin_key)
        assert "role: admin" in self.wharf("whoami")

    def find_the_servers(self) -> None:
        assert self.server in self.wharf("server", "list")
        assert "online" in self.wharf("server", "show", self.server)

    def refuse_a_wrong_password(self) -> None:
        words = (*("registry", "create", "line", self.host), *self.login)
        self.wharf(*words, text="s3cret-exmaple")
        tested = self.wharf("registry", "test", "line", code=1)
        assert "auth_bad_credentials" in tested
        assert "Check that the username and password are correct" in tested

    def add_and_test_the_registries(self) -> None:
        words = ("registry", "rotate", "line", "--password-stdin")
        assert "switched" in self.wharf(*words, text=PASSWORD)
        assert "auth: ok" in self.wharf("registry", "test", "line")
        kept = (*("registry", "create", "line-kept", self.place.kept.host), *self.login)
        self.wharf(*kept, text=PASSWORD)
        assert "push: ok" in self.wharf("registry", "test", "line-kept")

    def test_all_from_all(self) -> None:
        shown = self.wharf("registry", "matrix", "--test", "--registry", "line")
        assert all(server.name in shown for server in self.place.port.servers)

    def limit_a_login(self) -> None:
        allowed = [("--allow-server", server.name) for server in self.place.port.servers]
        self.wharf("registry", "update", "line-kept", *(word for pair in allowed for word in pair))
        shown = self.read("registry", "show", "line-kept")
        assert len(shown["allowedServers"]) == len(allowed)

    def rotate_a_login(self) -> None:
        words = ("registry", "rotate", "line-kept", "--password-stdin")
        assert "switched" in self.wharf(*words, text=PASSWORD)
        self.wharf("registry", "rollback", "line-kept")

    def move_images(self) -> None:
        host = self.place.port.fleet.hosts[0]
        make_image(host.docker_host, "team/line:1", layer_bytes=(40_000,), seed=71)
        image, on = f"{self.host}/team/line:1", ("--server", self.server)
        pushed = self.wharf("image", "push", "team/line:1", "--to", "line", *on, "--wait")
        assert f"{self.host}/team/line:1@sha256:" in pushed or "@sha256:" in pushed
        read = ("--from", "line")
        self.wharf("image", "copy", image, "--to", "line-kept", *read, *on, "--wait")
        self.wharf("image", "pull", image, *read, *on, "--wait")
        self.wharf("image", "tag", image, "line:stable", *on)
        [newest, *_] = self.wharf("job", "list", "--kind", "image.pull", "--quiet").split()
        self.wharf("job", "watch", newest)
        self.wharf("job", "logs", newest)

    def cancel_a_job(self) -> None:
        host = self.place.port.fleet.hosts[0]
        make_image(host.docker_host, "team/line-long:1", layer_bytes=(60_000_000,), seed=72)
        with self.place.port.slow_link(0, "40mbit"):
            words = ("image", "push", "team/line-long:1", "--to", "line", "--server", self.server)
            job = self.wharf(*words, "--quiet").strip()
            self.wharf("job", "cancel", job)
            self.wharf("job", "watch", job, code=3)

    def create_an_application(self) -> None:
        self.wharf(
            *("app", "create", "line", "--server", self.server, "--build-server", self.server),
            *("--build-registry", "line", "--rollback-registry", "line-kept"),
            *("--from", "-"),
            text=json.dumps({"sourceType": "drop", "rollbackActive": True}),
        )

    def upload_and_deploy(self) -> None:
        self.upload_and("deploy", "version 1")

    def build_only(self) -> None:
        self.upload_and("build", "built only")
        assert "version" in self.wharf("builds", "list", "line")

    def deploy_a_second_version(self) -> None:
        self.upload_and("deploy", "version 2")

    def roll_back(self) -> None:
        end = time.monotonic() + SECONDS
        begun = time.monotonic()
        while not any(map(is_former, points := self.read("rollbacks", "list", "line", "--verify"))):
            assert time.monotonic() < end, f"no former version can be rolled back to: {points}"
            time.sleep(pause_after(time.monotonic() - begun))
        assert "@sha256:" in self.wharf("rollback", "line", "--wait")

    def stop_and_start(self) -> None:
        for action in ("stop", "start"):
            self.wharf("app", action, "line", "--wait")

    def read_the_logs(self) -> None:
        assert SAYS in self.wharf("app", "logs", "line")
        [newest, *_] = self.wharf("deployments", "list", "line", "--quiet").split()
        assert self.wharf("deployments", "show", newest[:30])

    def make_a_deploy_hook(self) -> None:
        """A hook is for an application of a ready image, or of a git repository."""
        image = f"{self.host}/team/line:1"
        self.wharf("app", "create", "line-ready", "--image", image, "--registry", "line")
        assert "/api/deploy/" in self.wharf("deploy-hook", "create", "line-ready")
        [hook] = self.wharf("deploy-hook", "list", "line-ready", "--quiet").split()
        self.wharf("deploy-hook", "remove", "line-ready", hook, "--yes")

    def receive_webhooks(self) -> None:
        assert "whsec_" in self.wharf("webhook", "create", HOOK, "--event", "job.ended")
        image = f"{self.host}/team/line:1"
        on = ("--from", "line", "--server", self.server)
        self.wharf("image", "pull", image, *on, "--wait")
        [newest, *_] = self.wharf("webhook", "deliveries", HOOK, "--quiet").split()
        self.wharf("webhook", "redeliver", HOOK, newest)
        self.wharf("webhook", "remove", HOOK, "--yes")

    def join_pause_and_remove_a_server(self) -> None:
        line = self.wharf("server", "create", "line-walker").splitlines()[-1]
        with self.place.joining(line, "line-walker"):
            end, begun = time.monotonic() + SECONDS, time.monotonic()
            while not self.read("server", "show", "line-walker")["online"]:
                assert time.monotonic() < end, "the server did not come online"
                time.sleep(pause_after(time.monotonic() - begun))
            self.wharf("server", "pause", "line-walker")
            assert "paused" in self.wharf("server", "show", "line-walker")
            self.wharf("server", "resume", "line-walker")
            self.wharf("server", "check", "line-walker", "--path")
            self.wharf("server", "remove", "line-walker", "--yes")
        assert "line-walker" not in self.wharf("server", "list")

    def make_and_remove_a_key(self) -> None:
        key = self.wharf("key", "create", "line", "--days", "1", "--role", "viewer").strip()
        with_key = {**self.environment, "WHARF_API_KEY": key, "WHARF_URL": self.url}
        assert "role: viewer" in self.wharf("whoami", environment=with_key)
        self.wharf("key", "remove", "line", "--yes")
        self.wharf("whoami", environment=with_key, code=1)

    def invite_a_viewer(self) -> None:
        words = ("user", "invite", "line-viewer@example.com", "--role", "viewer")
        assert "/console/join/" in self.wharf(*words)
        assert "line-viewer@example.com" in self.wharf("user", "invitations")
        self.wharf("user", "uninvite", "line-viewer@example.com", "--yes")

    def read_the_audit_log(self) -> None:
        assert "registry.create" in self.wharf("audit", "list", "--of", "line-kept")

    def look_after_it(self) -> None:
        assert "control" in self.wharf("doctor", code=None)

    def read_the_documentation(self) -> None:
        assert self.wharf("open", "line-kept").startswith(f"{self.url}/console/registries/")
        assert "Example: wharf deploy" in self.wharf("deploy", "--help")

    def complete_and_help(self) -> None:
        assert "wharf" in self.wharf("completion", "bash")
        assert "deploy" in self.wharf("--help")

    # What the steps are made of.

    @property
    def server(self) -> str:
        return self.place.port.servers[0].name

    @property
    def host(self) -> str:
        return self.place.port.registry.host

    @property
    def url(self) -> str:
        return self.place.port.stack.url

    @property
    def login(self) -> tuple[str, ...]:
        return ("--username", "porter", "--prefix", "team", "--plain-http", "--password-stdin")

    def upload_and(self, action: str, text: str) -> None:
        sources: Path = self.place.make_sources(f"line: {text}")
        self.wharf("app", "upload", "line", str(sources))
        assert "@sha256:" in self.wharf(action, "line", "--wait").splitlines()[-1]

    def read(self, *words: str) -> Any:
        return json.loads(self.wharf(*words, "--json"))

    def wharf(
        self,
        *words: str,
        text: str = "",
        code: int | None = 0,
        environment: dict[str, str] | None = None,
    ) -> str:
        """Run a command as a process of its own; what it wrote, to both outputs."""
        ran = subprocess.run(
            ["wharf", *words],
            input=text,
            env=environment or self.environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert code is None or ran.returncode == code, (words, ran.returncode, ran.stderr)
        return ran.stdout or ran.stderr


def is_former(point: dict[str, Any]) -> bool:
    """Tell whether a rollback point may be rolled back to, and does not run."""
    return bool(point["offered"] and not point["isRunning"])
