"""The server's own directories that containers may mount (``WHARF_HOST_PATHS``; default: none)."""

import os.path
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from shared.errors import EngineError, SetupError
from shared.faults import FaultCode
from shared.jobs.commands import Replace
from shared.jobs.containers import Mounted
from shared.servers.host_paths import is_within

SOCKETS = ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock")
"""Access to one of these sockets gives root access to the server."""


@dataclass(frozen=True)
class HostPaths:
    """``allowed`` are the listed directories, ``sockets`` the sockets of container engines."""

    allowed: tuple[str, ...] = ()
    sockets: tuple[str, ...] = SOCKETS

    @classmethod
    def parse(cls, text: str, docker_host: str) -> "HostPaths":
        """Read paths separated by colons.

        Raises:
            SetupError: a path is not absolute.
        """
        allowed = tuple(path for path in text.split(":") if path)
        for path in allowed:
            if not Path(path).is_absolute():
                raise SetupError(
                    f"WHARF_HOST_PATHS: {path} is not an absolute path",
                    remedy="List absolute paths such as /srv/data, separated by colons.",
                )
        scheme, _, socket = docker_host.partition("://")
        return cls(allowed, (*SOCKETS, *([socket] if scheme == "unix" else [])))

    def require(self, command: Replace) -> None:
        """Raise `EngineError` (``host_path_not_allowed``) for the first refused mount."""
        for mount in command.mounts:
            if reason := self._refusal(mount):
                raise EngineError(
                    FaultCode.HOST_PATH_NOT_ALLOWED,
                    f"cannot deploy {command.target}: {mount.source} {reason}",
                )

    def _refusal(self, mount: Mounted) -> str | None:
        """Return why the path or its resolved path is refused; ``None`` if it is allowed."""
        if mount.type != "bind":
            return None
        path = os.path.normpath(mount.source)
        if not is_within(path, self.allowed):
            return "is not below a path that this server allows"
        real = os.path.realpath(path)
        seen = [root for root in self.allowed if Path(root).exists()]
        if not seen:
            return "is not visible to the worker, so its symbolic links cannot be checked"
        if not is_within(real, map(os.path.realpath, seen)):
            return "leads through a symbolic link out of the paths that this server allows"
        if path not in map(os.path.normpath, self.allowed) and self._has_socket(real):
            return "contains the Docker Engine's socket"
        return None

    def _has_socket(self, real: str) -> bool:
        return any(is_within(socket, [real]) for socket in _with_real(self.sockets))


def _with_real(paths: Iterable[str]) -> set[str]:
    """Return the paths together with their resolved paths."""
    named = set(paths)
    return named | {os.path.realpath(path) for path in named}
