"""compose.yaml as its users have it: a checkout, an Engine, Docker's own commands, nothing else."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.compose.docker import PATH, Docker, Project
from tests.compose.images import make_images
from tests.compose.plane import Plane, wait_for
from worker.local.engines import LocalEngine, engines_possible
from worker.local.namespaces import Namespace

ROOT = Path(__file__).parent.parent.parent
PROGRAMS = ("docker", "docker-compose", "debootstrap", "docker-registry")
CHECKOUT = ("api", "shared", "worker", "compose.yaml", ".dockerignore", "pyproject.toml")
DOCUMENTS = ("uv.lock", "README.md", "LICENSE")
CANARY = "canary-that-no-image-may-hold"


@pytest.fixture(scope="session")
def checkout() -> Iterator[Path]:
    """The tree as a user has it, with secrets of an earlier time in it."""
    with TemporaryDirectory(prefix="wharf-") as directory:
        tree = Path(directory, "tree")
        tree.mkdir()
        for name in (*CHECKOUT, *DOCUMENTS):
            if (ROOT / name).is_dir():
                shutil.copytree(
                    ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__")
                )
            else:
                shutil.copy(ROOT / name, tree)
        (tree / ".data" / "secrets").mkdir(parents=True)
        (tree / ".data" / "secrets" / "passwords.json.old").write_text(CANARY)
        (tree / ".env").write_text(f"OLD={CANARY}\n")
        yield tree


@pytest.fixture(scope="session")
def built(checkout: Path) -> Project:
    """All images, in an Engine that builds by our own network and has ended again."""
    _require_programs()
    work = checkout.parent
    engine = LocalEngine.start(work / "engine", namespace=None)
    try:
        project = Project("wharf", checkout, Docker(engine.docker_host))
        make_images(project.docker, work / "images")
        project.build()
    finally:
        engine.stop()
    return project


@pytest.fixture(scope="session")
def engine(checkout: Path, built: Project) -> Iterator[LocalEngine]:
    """The Engine with these images, now on a server of its own: nothing is pulled any more."""
    with ExitStack() as stack:
        namespace = Namespace.create("compose")
        stack.callback(namespace.remove)
        started = LocalEngine.start(checkout.parent / "engine", namespace=namespace)
        stack.callback(started.stop)
        yield started


@pytest.fixture(scope="session")
def plane(engine: LocalEngine, built: Project) -> Iterator[Plane]:
    """All services up, by the steps of the page on Docker Compose; this host has joined."""
    project, address = built, engine.address
    secrets = project.directory / ".data" / "secrets"
    _write_settings(project, engine, address)
    project.docker(
        *("run", "--rm", "--network=none", f"--user={os.getuid()}", f"--volume={secrets}:/secrets"),
        *("wharfinger-worker", "wharf", "secrets", "/secrets"),
    )
    plane = Plane(project, engine, address, secrets)
    try:
        project("up", "--detach", "api", "control", "flower")
        _wait_until_healthy(project, {"postgres", "redis", "tls", "api", "control", "flower"})
        token = plane.call("server.create", name="this-host")["joinToken"]
        (secrets / "join.token").write_text(token)
        project("--profile", "try", "up", "--detach")
        _wait_until_healthy(project, {"worker", "registry"})
        yield plane
    finally:
        project("--profile", "try", "down", "--volumes", "--timeout", "5")


def _write_settings(project: Project, engine: LocalEngine, address: str) -> None:
    socket = Path(engine.docker_host.removeprefix("unix://"))
    settings = {
        "WHARF_ADDRESS": address,
        "WHARF_REGISTRY_NETWORKS": "public,private,loopback",
        "DOCKER_SOCKET": str(socket),
        "DOCKER_GID": str(socket.stat().st_gid),
    }
    text = "".join(f"{name}={value}\n" for name, value in settings.items())
    (project.directory / ".env").write_text(text)


def _wait_until_healthy(project: Project, services: set[str]) -> None:
    def healthy() -> bool:
        seen = project.health()
        return all(seen.get(service) == "healthy" for service in services)

    def state() -> str:
        return f"{project.health()} {project('logs', '--no-color', '--tail=20')[-6000:]}"

    wait_for(healthy, state)


def _require_programs() -> None:
    missing = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]
    why_not = f"not installed: {', '.join(missing)}" if missing else engines_possible()
    if why_not and os.environ.get("CI"):
        pytest.fail(why_not)
    if why_not:
        pytest.skip(f"compose.yaml is tried on an Engine of its own: {why_not}")
