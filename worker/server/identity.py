"""Who this server is: its state directory, with its own private key and passwords, 0600.

The directory is locked for as long as the worker lives. That lock is what proves, at the next
start, that the worker before is dead, so that its jobs can go on at once.
"""

import base64
import contextlib
import fcntl
import hashlib
import hmac
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from pydantic import BaseModel, SecretStr

from shared.errors import SetupError
from shared.vault import KeyRing, PrivateKey, PublicKey
from worker.files import write_whole

SCRAM_ITERATIONS = 4096
"""PostgreSQL's own default (``scram_iterations``); the password has 256 random bits anyway."""


IDENTITY = (
    "server.json",
    "server.key",
    "database.password",
    "broker.password",
    "broker.url",
    "incarnation",
)
"""The files that say who a server is; the others hold what it has begun."""


class Enrolled(BaseModel):
    """What the control plane answered when this server joined, and where its API is.

    ``api_url`` is unknown to one that joined before it mattered, until it is told `WHARF_URL`.
    ``token_hash`` is the SHA-256 of the join token that it joined with.
    """

    server_id: str
    organization_id: str
    database_url: str
    broker_url: str | None = None
    api_url: str | None = None
    token_hash: str | None = None


@dataclass
class StateDirectory:
    """The files of one server; ``open`` makes and locks the directory."""

    path: Path
    lock: IO[str]

    @classmethod
    def open(cls, path: Path) -> Self:
        """Lock the directory for this process.

        Raises:
            SetupError: another worker holds it, or it cannot be written.
        """
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.chmod(0o700)
            lock = os.fdopen(os.open(path / "lock", os.O_WRONLY | os.O_CREAT, 0o600), "w")
        except OSError as error:
            raise SetupError(
                f"the state directory cannot be used: {path}: {error.strerror}",
                remedy="Set WHARF_STATE_DIR to a directory that this user may write.",
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.close()
            raise SetupError(f"another worker runs with the state directory {path}") from error
        return cls(path, lock)

    def close(self) -> None:
        self.lock.close()

    @property
    def enrolled(self) -> Enrolled | None:
        text = self._read("server.json")
        return Enrolled.model_validate_json(text) if text else None

    def keep_enrolled(self, enrolled: Enrolled) -> None:
        self._write("server.json", enrolled.model_dump_json())

    def public_key(self) -> PublicKey:
        return self._private_key().public

    def key_ring(self) -> KeyRing:
        return KeyRing([self._private_key()])

    def database_password(self) -> SecretStr:
        """Made at the first call; it never leaves this directory, only its verifier does."""
        return SecretStr(self._once("database.password", lambda: secrets.token_urlsafe(32)))

    def broker_password(self) -> SecretStr:
        """Made at the first call, too; only its hash leaves this directory."""
        return SecretStr(self._once("broker.password", lambda: secrets.token_urlsafe(32)))

    def set_aside(self, server_id: str) -> None:
        """Move the identity of a removed server into a folder of its own: the next one is new."""
        folder = self.path / f"removed-{server_id}"
        folder.mkdir(mode=0o700, exist_ok=True)
        for name in IDENTITY:
            with contextlib.suppress(FileNotFoundError):
                (self.path / name).rename(folder / name)

    def keep_broker_url(self, url: str) -> Path:
        """Write the broker's URL, which holds a password, to a file; return its path."""
        self._write("broker.url", url)
        return self.path / "broker.url"

    def take_turn(self, incarnation: str) -> str | None:
        """Note who runs from now on; gives who ran before, which the lock proves dead."""
        predecessor = self._read("incarnation")
        self._write("incarnation", incarnation)
        return predecessor

    def database_mark(self) -> str | None:
        """How new the database was, as it last told a worker of this directory."""
        return self._read("database.mark")

    def keep_database_mark(self, mark: str) -> None:
        """Keep it for the next start; a full disk costs that, and nothing else."""
        with contextlib.suppress(OSError):
            self._write("database.mark", mark)

    def _private_key(self) -> PrivateKey:
        return PrivateKey.parse(self._once("server.key", lambda: PrivateKey.generate().text()))

    def _once(self, name: str, make: Callable[[], str]) -> str:
        text = self._read(name)
        if text is None:
            text = make()
            self._write(name, text)
        return text

    def _read(self, name: str) -> str | None:
        try:
            return (self.path / name).read_text()
        except FileNotFoundError:
            return None

    def _write(self, name: str, text: str) -> None:
        write_whole(self.path / name, text)


def scram_verifier(password: str, salt: bytes, iterations: int = SCRAM_ITERATIONS) -> str:
    """What PostgreSQL stores for a password: ``SCRAM-SHA-256$…`` (RFC 5803, RFC 7677)."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored = base64.b64encode(hashlib.sha256(client_key).digest()).decode()
    server = base64.b64encode(hmac.digest(salted, b"Server Key", "sha256")).decode()
    return f"SCRAM-SHA-256${iterations}:{base64.b64encode(salt).decode()}${stored}:{server}"
