"""The parts of sequences: two servers, registries for sources, builds and rollbacks, versions."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.worker.engine.contexts import BUSYBOX
from worker.engine.containers import APPLICATION
from worker.local.fleet import Fleet, start_fleet
from worker.local.images import make_image
from worker.local.registry import LocalRegistry
from worker.local.stack import LocalServer, Stack

USER = "porter"
GOOD, BROKEN = 4, 1
HEALTHY = {"command": ["/bin/busybox", "true"], "intervalSeconds": 1}
ENDED_WITHIN = 90
SHOWN = (
    '{{.Name}},{{index .Config.Labels "com.docker.swarm.service.name"}},'
    "{{if .State.Running}}{{.Image}}{{end}}"
)
LASTING = "trap 'exit 0' TERM; /bin/busybox sleep 99999 & wait"


@dataclass
class Registry:
    """A registry that can be stopped, started again where it was, and given another password."""

    directory: Path
    address: str
    running: LocalRegistry
    port: int
    password: str = "first"
    is_up: bool = True

    @classmethod
    def start(cls, directory: Path, address: str) -> "Registry":
        users = {USER: cls.password}
        running = LocalRegistry.start(directory, address=address, users=users, bcrypt_rounds=4)
        return cls(directory, address, running, running.port)

    @property
    def host(self) -> str:
        return f"{self.address}:{self.port}"

    def stop(self) -> None:
        if self.is_up:
            self.running.stop()
        self.is_up = False

    def again(self, password: str) -> None:
        self.stop()
        self.password = password
        self.running = LocalRegistry.start(
            self.directory,
            address=self.address,
            port=self.port,
            users={USER: password},
            bcrypt_rounds=4,
        )
        self.is_up = True


@dataclass
class Scene:
    """``images`` are the ids of the good versions, as any Engine has them."""

    fleet: Fleet
    stack: Stack
    servers: list[LocalServer]
    sources: Registry
    builds: Registry
    keep: Registry
    images: list[str] = field(default_factory=list)

    def docker(self, host: int, *words: str) -> str:
        """Return the output of Docker's command line for one host's Engine."""
        done = subprocess.run(
            ["docker", *words],
            env={**os.environ, "DOCKER_HOST": self.fleet.hosts[host].docker_host},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def running(self, host: int, application_id: str) -> list[tuple[str, str]]:
        """Name and image id of an application's containers; of one that stands still no image.

        A task has the name of its service; those that are over are kept by their Swarm.
        """
        label = f"label={APPLICATION}={application_id}"
        ids = self.docker(host, "ps", "--all", "--quiet", "--filter", label).split()
        return [
            (service or name.lstrip("/"), image)
            for name, service, image in (self._shown(host, each) for each in ids)
            if image or not service
        ]

    def _shown(self, host: int, container_id: str) -> list[str]:
        """Its name, its service, its image id; of what its Swarm has removed meanwhile nothing."""
        with suppress(subprocess.CalledProcessError):
            return self.docker(host, "inspect", "--format", SHOWN, container_id).split(",")
        return [container_id, "removed", ""]

    def services(self, host: int) -> list[str]:
        """All of a host's Swarm: each sequence removes its own."""
        return self.docker(host, "service", "ls", "--format", "{{.Name}}").split()

    def ended(self, deployment_id: str) -> dict[str, Any]:
        until = time.monotonic() + ENDED_WITHIN
        while True:
            shown: dict[str, Any] = self.stack.call(
                "deployment.one", {"deploymentId": deployment_id}
            )
            if shown["finishedAt"] is not None:
                return shown
            assert time.monotonic() < until, shown
            time.sleep(0.2)

    def restart_engine(self, host: int) -> None:
        """Kill it, and start it again where it was."""
        with self.without_engine(host):
            pass

    @contextmanager
    def without_engine(self, host: int) -> Iterator[None]:
        """Kill it; start it again in its place at the end of the block."""
        engine = self.fleet.hosts[host].engine
        assert engine is not None
        engine.kill()
        try:
            yield
        finally:
            engine.start_again()

    @contextmanager
    def without_worker(self, host: int) -> Iterator[None]:
        """Kill it; start it again at the end of the block."""
        self.servers[host].worker.kill()
        try:
            yield
        finally:
            self.stack.revive()


@contextmanager
def open_scene() -> Iterator[Scene]:
    """Start everything, and stop it when the block is left."""
    with ExitStack() as closing:
        directory = Path(closing.enter_context(TemporaryDirectory(prefix="wharf-sequences-")))
        fleet = start_fleet(closing, directory, ("server-1", "server-2"))
        sources, builds, keep = (
            Registry.start(directory / name, fleet.address)
            for name in ("sources", "builds", "keep")
        )
        for registry in (sources, builds, keep):
            closing.callback(registry.stop)
        stack = Stack.start(directory / "wharf", address=fleet.address, durable=False)
        closing.callback(stack.stop)
        servers = [
            stack.add_server(host.name, host.docker_host, wrapper=host.wrapper)
            for host in fleet.hosts
        ]
        scene = Scene(fleet, stack, servers, sources, builds, keep)
        for number, host in enumerate(fleet.hosts):
            scene.docker(number, "swarm", "init", "--advertise-addr", host.address)
        _push_versions(scene)
        yield scene


def _push_versions(scene: Scene) -> None:
    host = scene.sources.host
    config = ("--config", str(scene.sources.directory / "cli"))
    login = ("login", host, "--username", USER, "--password", scene.sources.password)
    scene.docker(0, *config, *login)
    for number in range(GOOD + BROKEN):
        image = f"{host}/sources/app:{number}"
        command = LASTING if number < GOOD else "exit 1"
        make_image(
            scene.fleet.hosts[0].docker_host,
            image,
            seed=number,
            files={"/bin/busybox": BUSYBOX, "/bin/sh": BUSYBOX},
            command=("/bin/sh", "-c", command),
        )
        scene.docker(0, *config, "push", image)
        image_id = scene.docker(0, "image", "inspect", "--format", "{{.Id}}", image)
        scene.images += [image_id] if number < GOOD else []
