"""The parts that both walks need, and how the steps of a walk are run."""

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.journeys.conftest import Port
from tests.worker.engine.contexts import BASE, make_base
from worker.local.registry import LocalRegistry
from worker.local.stack import NETWORKS_ON_ONE_MACHINE

PROGRAMS = str(Path(sys.executable).parent)
SAYS = "it listens"
SERVES = f"echo {SAYS}; trap 'exit 0' TERM; sleep 999 & wait"


@dataclass(frozen=True)
class Place:
    """The started stack, a second registry, and a folder for the files of a walk."""

    port: Port
    kept: LocalRegistry
    folder: Path

    def make_sources(self, text: str) -> Path:
        """Make a tar with a Dockerfile whose image runs until it is stopped."""
        make_base(self.port.fleet.hosts[0].docker_host)
        dockerfile = f'FROM {BASE}\nCOPY page /page\nCMD ["/bin/sh", "-c", "{SERVES}"]\n'
        path = self.folder / "sources.tar.gz"
        with tarfile.open(path, mode="w:gz") as tar:
            for name, content in {"Dockerfile": dockerfile, "page": text}.items():
                header = tarfile.TarInfo(name)
                header.size = len(content)
                tar.addfile(header, io.BytesIO(content.encode()))
        return path

    @contextmanager
    def joining(self, line: str, name: str) -> Iterator[None]:
        """Run a join command on the first server as a person would, until the block ends."""
        host = self.port.fleet.hosts[0]
        server = {
            "DOCKER_HOST": host.docker_host,
            "WHARF_STATE_DIR": str(self.folder / name),
            "WHARF_REGISTRY_NETWORKS": NETWORKS_ON_ONE_MACHINE,
        }
        process = subprocess.Popen(
            [*host.wrapper, "/bin/sh", "-c", f"exec env {line}"],
            env={**os.environ, "PATH": f"{PROGRAMS}:{os.environ['PATH']}", **server},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait(timeout=60)


def walk(walker: Any, steps: Sequence[str]) -> None:
    """Take the steps in their order; a failure names its step."""
    for name in steps:
        try:
            getattr(walker, name)()
        except BaseException as error:
            error.add_note(f"step {name}")
            raise
