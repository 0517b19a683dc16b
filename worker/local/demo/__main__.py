"""``wharf demo``: the main job on parts of its own, and a table of what was verified."""

import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from shared.errors import SetupError, in_sentences
from worker.local.demo.deployment import DOCKERFILE
from worker.local.demo.steps import USER, Demo, DemoError
from worker.local.fleet import start_fleet
from worker.local.processes import free_port
from worker.local.registry import LocalRegistry
from worker.local.repository import LocalRepository
from worker.local.stack import Stack

NAMES = ("dock-1", "dock-2")


def main() -> None:
    """Exit 0 where all of it held."""
    console = Console()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with _started(console) as demo:
            demo.run()
            console.print(_table(demo))
    except (SetupError, DemoError) as error:
        sys.exit(f"wharf demo: {in_sentences(str(error), getattr(error, 'remedy', ''))}")


@contextmanager
def _started(console: Console) -> Iterator[Demo]:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wharf-demo-")))
        console.print("Starting Docker Engines, registries, PostgreSQL, Valkey, API, control …")
        fleet = start_fleet(stack, directory, NAMES)
        if fleet.remark:
            console.print(fleet.remark)
        password = secrets.token_urlsafe(16)
        registry, keep = (
            LocalRegistry.start(directory / name, address=fleet.address, users={USER: password})
            for name in ("registry", "keep")
        )
        stack.callback(registry.stop)
        stack.callback(keep.stop)
        repository = _serve_sources(directory / "git", fleet.address)
        stack.callback(repository.stop)
        plane = Stack.start(
            directory / "wharf",
            address=fleet.address,
            durable=False,
            flower_port=free_port(fleet.address),
        )
        stack.callback(plane.stop)
        flower = plane.start_flower()
        servers = [
            plane.add_server(host.name, host.docker_host, wrapper=host.wrapper)
            for host in fleet.hosts
        ]
        console.print(f"API {plane.url}, Flower {flower}, {len(servers)} servers online.")
        yield Demo(console, plane, fleet, servers, registry, keep, repository, password)


def _serve_sources(directory: Path, address: str) -> LocalRepository:
    busybox = shutil.which("busybox")
    if busybox is None:
        raise SetupError(
            "there is no busybox on this machine", remedy="Install Debian's package busybox-static."
        )
    directory.mkdir()
    files = {"Dockerfile": DOCKERFILE, "busybox": Path(busybox).read_bytes()}
    return LocalRepository.start(directory, address=address, files=files)


def _table(demo: Demo) -> Table:
    table = Table(title="Verified", show_lines=False)
    for heading in ("what", "how", "seconds"):
        table.add_column(heading, justify="right" if heading == "seconds" else "left")
    for what, evidence, took in demo.verified:
        table.add_row(what, evidence, f"{took:.1f}")
    return table


if __name__ == "__main__":
    main()
