"""A directory of ours alone, where an embedded server keeps its data and its passwords."""

import fcntl
import json
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import TypeAdapter

from shared.errors import SetupError

PASSWORD_BYTES = 24

_PASSWORDS = TypeAdapter(dict[str, str])


@dataclass
class PrivateDirectory:
    """A locked directory with mode 0700; its files get 0600. No directory above it is changed."""

    path: Path
    _lock: int

    @classmethod
    def open(cls, path: Path) -> Self:
        """Make the directory where it is missing, and lock it until `close` or until we end.

        Raises:
            SetupError: another process holds it, or it cannot be made ours alone.
        """
        path = path.absolute()
        try:
            _make_private(path)
            lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise SetupError(f"cannot use {path}: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise SetupError(
                f"{path} is in use by another process",
                remedy="Stop the other one, or choose another data directory.",
            ) from error
        return cls(path, lock)

    def close(self) -> None:
        """Give the lock back; more than once does no harm."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def write(self, name: str, text: str) -> Path:
        """Put ``text`` in a file that only we can read, all of it or nothing.

        Raises:
            SetupError: it cannot be written; the disk may be full.
        """
        target = self.path / name
        try:
            _write_private(self.path / f"{name}.draft", text).replace(target)
        except OSError as error:
            raise SetupError(
                f"cannot write {target}: {error.strerror}",
                remedy="Free space there, or choose another directory with --data-dir.",
            ) from error
        return target

    def passwords(self, users: Iterable[str]) -> dict[str, str]:
        """A password for each of ``users``: made once, found again at the next start."""
        stored = self.path / "passwords.json"
        known = _PASSWORDS.validate_json(stored.read_bytes()) if stored.exists() else {}
        wanted = {user: known.get(user) or secrets.token_urlsafe(PASSWORD_BYTES) for user in users}
        if not wanted.items() <= known.items():
            self.write(stored.name, json.dumps(known | wanted))
        return wanted


def _make_private(path: Path) -> None:
    missing = [parent for parent in (path, *path.parents) if not parent.exists()]
    for parent in reversed(missing):
        parent.mkdir(mode=0o700, exist_ok=True)
    path.chmod(0o700)


def _write_private(path: Path, text: str) -> Path:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return path
