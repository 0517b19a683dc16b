"""Which of this server's own directories containers may mount: ``WHARF_HOST_PATHS``, or none."""

import os.path
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from shared.errors import EngineError, SetupError
from shared.faults import FaultCode
from shared.jobs.commands import Mounted, Replace
from shared.servers.host_paths import is_within

SOCKETS = ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock")
"""Whoever has one of these is root on the server."""


@dataclass(frozen=True)
class HostPaths:
    """``allowed`` are the directories of the list, ``sockets`` what leads to an Engine."""

    allowed: tuple[str, ...] = ()
    sockets: tuple[str, ...] = SOCKETS

    @classmethod
    def parse(cls, text: str, docker_host: str) -> "HostPaths":
        """Read paths separated by colons.

        Raises:
            SetupError: one that is not absolute.
        """
        allowed = tuple(path for path in text.split(":") if path)
        for path in allowed:
            if not Path(path).is_absolute():
                raise SetupError(
                    f"WHARF_HOST_PATHS: {path} is not an absolute path",
                    remedy="Give directories as /srv/data, separated by colons.",
                )
        scheme, _, socket = docker_host.partition("://")
        return cls(allowed, (*SOCKETS, *([socket] if scheme == "unix" else [])))

    def require(self, command: Replace) -> None:
        """Raises `EngineError` (``host_path_not_allowed``) for the first mount that may not be."""
        for mount in command.mounts:
            if reason := self._refusal(mount):
                raise EngineError(
                    FaultCode.HOST_PATH_NOT_ALLOWED,
                    f"deploy {command.target}: {mount.source} {reason}",
                )

    def _refusal(self, mount: Mounted) -> str | None:
        """Why the mount may not be, by its name and by where its links lead; ``None`` if it may."""
        if mount.type != "bind":
            return None
        path = os.path.normpath(mount.source)
        if not is_within(path, self.allowed):
            return "is not below a path that this server allows"
        real = os.path.realpath(path)
        seen = [root for root in self.allowed if Path(root).exists()]
        if not seen:
            return "is nothing that the worker sees, so that it cannot tell where links lead"
        if not is_within(real, map(os.path.realpath, seen)):
            return "leads out of the paths that this server allows"
        if path not in map(os.path.normpath, self.allowed) and self._has_socket(real):
            return "leads to the Docker Engine's socket"
        return None

    def _has_socket(self, real: str) -> bool:
        return any(is_within(socket, [real]) for socket in _with_real(self.sockets))


def _with_real(paths: Iterable[str]) -> set[str]:
    """The paths, and where their links lead."""
    named = set(paths)
    return named | {os.path.realpath(path) for path in named}
