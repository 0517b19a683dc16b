"""Docker's own command lines, pointed at an Engine of ours."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
BUILD = Path(__file__).parent / "build.yaml"


class CommandError(AssertionError):
    """A command that failed, with the end of what it said."""


@dataclass(frozen=True)
class Docker:
    """``docker`` for one Engine; builds are those of the classic builder."""

    docker_host: str

    def __call__(
        self, *arguments: str, seconds: float = 300, source: IO[bytes] | None = None
    ) -> str:
        command = ("docker", *arguments)
        return run(command, seconds=seconds, environment=self.environment, source=source)

    @property
    def environment(self) -> dict[str, str]:
        return {"DOCKER_HOST": self.docker_host, "DOCKER_BUILDKIT": "0"}


@dataclass(frozen=True)
class Project:
    """``docker-compose`` for one checkout of the tree; ``settings`` are its ``.env``."""

    name: str
    directory: Path
    docker: Docker
    settings: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str, files: Sequence[Path] = (), seconds: float = 300) -> str:
        chosen = [f"--file={path}" for path in (self.directory / "compose.yaml", *files)]
        environment = {**self.docker.environment, "COMPOSE_PROJECT_NAME": self.name}
        command = ("docker-compose", *chosen, *arguments)
        return run(command, seconds=seconds, environment=environment, directory=self.directory)

    def build(self) -> None:
        self("build", files=(BUILD,), seconds=1500)

    def containers(self) -> dict[str, str]:
        """The container of each service that has one, ended ones too."""
        label = f"label=com.docker.compose.project={self.name}"
        shown = '{{.Label "com.docker.compose.service"}} {{.ID}}'
        lines = self.docker("ps", "--all", f"--filter={label}", f"--format={shown}").splitlines()
        return dict(line.split() for line in lines)

    def health(self) -> dict[str, str]:
        """By service: ``healthy``, ``starting`` … or the exit code of one that has ended."""
        shown = (
            "{{if .State.Running}}{{if .State.Health}}{{.State.Health.Status}}{{end}}"
            "{{else}}{{.State.ExitCode}}{{end}}"
        )
        return {
            service: self.docker("inspect", f"--format={shown}", container).strip()
            for service, container in self.containers().items()
        }


def run(
    command: Sequence[str],
    *,
    seconds: float,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    source: IO[bytes] | None = None,
) -> str:
    """Return the output of a command; ``environment`` is added to our own.

    Raises:
        CommandError: it failed, or took too long.
    """
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "PATH": PATH, **(environment or {})},
            cwd=directory,
            stdin=source or subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"{' '.join(command)}: not within {seconds} s") from error
    if done.returncode:
        words = (done.stdout + done.stderr).decode(errors="replace")[-3000:]
        raise CommandError(f"{' '.join(command)}: {words}")
    return done.stdout.decode(errors="replace")
