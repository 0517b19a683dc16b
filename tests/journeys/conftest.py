"""The whole product on real parts: two servers in namespaces of their own, a registry, a stack."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.journeys.jobs import Jobs
from worker.local.engines import engines_possible
from worker.local.fleet import Fleet, start_fleet
from worker.local.processes import free_port
from worker.local.registry import LocalRegistry
from worker.local.stack import LocalServer, Stack

NODE = Path(__file__).parent / "node"
LOCK = NODE / "package-lock.json"
PASSWORD = "pa$$ \"word' with spaces"


@dataclass(frozen=True)
class Port:
    """Everything that a journey needs; servers in the order of the fleet's hosts."""

    fleet: Fleet
    stack: Stack
    servers: list[LocalServer]
    registry: LocalRegistry
    registry_id: str
    directory: Path

    @property
    def jobs(self) -> Jobs:
        return Jobs(self.stack)

    def slow_link(self, server: int, rate: str) -> AbstractContextManager[None]:
        """Limit what this server sends and receives, so that a transfer is under way for long."""
        namespace = self.fleet.hosts[server].namespace
        assert namespace is not None
        return namespace.slow_link(rate)


@pytest.fixture(scope="session")
def port() -> Iterator[Port]:
    """Started once a test process: journeys share it and leave it as they found it."""
    if why_not := engines_possible():
        if os.environ.get("CI"):
            pytest.fail(why_not)
        pytest.skip(f"journeys need Engines of their own: {why_not}")
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="wharf-")))
        fleet = start_fleet(stack, directory, ("dock-1", "dock-2"))
        registry = LocalRegistry.start(
            directory / "registry", address=fleet.address, users={"porter": PASSWORD}
        )
        stack.callback(registry.stop)
        plane = Stack.start(
            directory / "wharf",
            address=fleet.address,
            durable=False,
            flower_port=free_port(fleet.address),
        )
        stack.callback(plane.stop)
        servers = [
            plane.add_server(host.name, host.docker_host, wrapper=host.wrapper)
            for host in fleet.hosts
        ]
        row = plane.call("registry.create", login(registry, PASSWORD) | {"registryName": "ours"})
        yield Port(fleet, plane, servers, registry, row["registryId"], directory)


def login(registry: LocalRegistry, password: str) -> dict[str, Any]:
    return {
        "registryUrl": registry.host,
        "username": "porter",
        "password": password,
        "registryType": "selfHosted",
        "imagePrefix": "team",
        "plainHttp": True,
    }


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with our scripts and the locked packages, which later runs find installed."""
    if shutil.which("npm") is None:
        if os.environ.get("CI"):
            pytest.fail("npm is missing: apt-get install nodejs npm")
        pytest.skip("the clients' journeys need Node.js: apt-get install nodejs npm")
    installed = NODE / "node_modules" / ".package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < LOCK.stat().st_mtime:
        run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], NODE, {})
    folder = tmp_path_factory.mktemp("node")
    for file in NODE.glob("*.*"):
        if file.is_file():
            shutil.copy(file, folder)
    (folder / "node_modules").symlink_to(NODE / "node_modules")
    return folder


def run(command: list[str], folder: Path, env: dict[str, str], *, check: bool = True) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert not check or done.returncode == 0, done.stderr[-2000:] + done.stdout[-2000:]
    return done.stdout + ("" if check else done.stderr)


def environment(port: Port) -> dict[str, str]:
    return {
        "WHARF_URL": port.stack.url,
        "WHARF_API_KEY": port.stack.admin_key,
        "API_KEY": port.stack.admin_key,
        "REGISTRY_URL": f"http://{port.registry.host}",
        "REGISTRY_USER": "porter",
        "REGISTRY_PASSWORD": PASSWORD,
        "DOCKER_HUB_TOKEN": PASSWORD,
        "DOKPLOY_URL": port.stack.url,
        "DOKPLOY_API_KEY": port.stack.admin_key,
    }
