"""The parts that are measured: a stack with two servers, and Docker's own command line."""

import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2

from worker.local.fleet import Fleet, start_fleet
from worker.local.registry import LocalRegistry
from worker.local.stack import LocalServer, Stack

USER, PASSWORD = "porter", "password-of-the-bench"
LOOK_SECONDS = 0.2


@dataclass
class Scene:
    """Registries are made afresh for each round, so that nothing is there already."""

    directory: Path
    fleet: Fleet
    stack: Stack
    servers: list[LocalServer]
    closing: ExitStack
    client: httpx2.Client
    registries: list[LocalRegistry] = field(default_factory=list)

    def call(self, procedure: str, body: Mapping[str, object]) -> Any:
        """Return a procedure's answer over an open connection: connecting is not measured."""
        answer = self.client.post(f"/api/trpc/{procedure}", json=dict(body))
        assert answer.is_success, answer.text
        return answer.json()

    def ended(
        self, query: str, chosen: Mapping[str, object], look_seconds: float = LOOK_SECONDS
    ) -> dict[str, Any]:
        """A job or a build once it has ended; asked so seldom that it takes nothing from it."""
        while True:
            found: dict[str, Any] = self.call(query, chosen)
            if found["finishedAt"] is not None:
                return found
            time.sleep(look_seconds)

    def registry(self) -> tuple[LocalRegistry, str]:
        """A new registry with a password, and its id with us."""
        registry = LocalRegistry.start(
            self.directory / f"registry-{len(self.registries)}",
            address=self.fleet.address,
            users={USER: PASSWORD},
            bcrypt_rounds=5,
        )
        self.closing.callback(registry.stop)
        self.registries.append(registry)
        row = self.stack.call(
            "registry.create",
            {
                "registryName": registry.host,
                "registryUrl": registry.host,
                "username": USER,
                "password": PASSWORD,
                "registryType": "selfHosted",
                "imagePrefix": "bench",
                "plainHttp": True,
            },
        )
        return registry, str(row["registryId"])

    def docker(self, host: int, *words: str, config: str = "cli", text: str = "") -> float:
        """Run Docker's command line against a host's Engine; gives the seconds it took."""
        begun = time.perf_counter()
        self.docker_says(host, *words, config=config, text=text)
        return time.perf_counter() - begun

    def docker_says(self, host: int, *words: str, config: str = "cli", text: str = "") -> str:
        """Return the output of a command."""
        done = subprocess.run(
            ["docker", "--config", str(self.directory / config), *words],
            env={**os.environ, "DOCKER_HOST": self.fleet.hosts[host].docker_host},
            input=text,
            text=True,
            check=True,
            capture_output=True,
        )
        return done.stdout


@contextmanager
def open_scene() -> Iterator[Scene]:
    with ExitStack() as closing:
        directory = Path(closing.enter_context(TemporaryDirectory(prefix="wharf-bench-")))
        fleet = start_fleet(closing, directory, ("bench-1", "bench-2"))
        stack = Stack.start(directory / "wharf", address=fleet.address)
        closing.callback(stack.stop)
        servers = [
            stack.add_server(host.name, host.docker_host, wrapper=host.wrapper)
            for host in fleet.hosts
        ]
        client = closing.enter_context(
            httpx2.Client(base_url=stack.url, headers={"x-api-key": stack.admin_key}, timeout=60)
        )
        yield Scene(directory, fleet, stack, servers, closing, client)


def seconds_until(moment: str, begun: float) -> float:
    """From ``begun`` (of this machine's clock) to what a job or a build says of its end."""
    return datetime.fromisoformat(moment).timestamp() - begun
