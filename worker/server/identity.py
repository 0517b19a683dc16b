"""The identity of this server: a state directory with its private key and passwords, 0600.

The directory is locked for as long as the worker lives. At the next start the free lock proves that
the previous worker is dead, so that its jobs can continue at once.
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
from worker.files import write_atomically

SCRAM_ITERATIONS = 4096
"""PostgreSQL's own default (``scram_iterations``); the password has 256 random bits anyway."""


CA_FILE = "ca.pem"
IDENTITY = (
    "server.json",
    "server.key",
    "database.password",
    "broker.password",
    "broker.url",
    "incarnation",
    CA_FILE,
)
"""The files of a server's identity; the other files hold the state of its work."""


def make_not_joined_error() -> SetupError:
    """Make the error of a worker whose server has not joined."""
    return SetupError(
        "this server has not joined yet",
        remedy="Create a token with wharf server create NAME, and set WHARF_URL and "
        "WHARF_JOIN_TOKEN to the values that it prints.",
    )


def find_ca(directory: Path) -> Path | None:
    """Return the file of the CA that a state directory has pinned; ``None`` if there is none."""
    path = directory / CA_FILE
    return path if path.exists() else None


class Enrolment(BaseModel):
    """The control plane's answer when this server joined, and the address of its API.

    ``api_url`` is unknown for a server that joined before it was stored, until `WHARF_URL` is set.
    ``token_hash`` is the SHA-256 of the join token that was used.
    """

    server_id: str
    organization_id: str
    database_url: str
    broker_url: str | None = None
    api_url: str | None = None
    token_hash: str | None = None


@dataclass
class StateDirectory:
    """The files of one server; ``open`` creates and locks the directory."""

    path: Path
    lock: IO[str]

    @classmethod
    def open(cls, path: Path) -> Self:
        """Lock the directory for this process.

        Raises:
            SetupError: another worker has locked it, or it cannot be written.
        """
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.chmod(0o700)
            lock = os.fdopen(os.open(path / "lock", os.O_WRONLY | os.O_CREAT, 0o600), "w")
        except OSError as error:
            raise SetupError(
                f"the state directory cannot be used: {path}: {error.strerror}",
                remedy="Set WHARF_STATE_DIR to a directory that this user may write to.",
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.close()
            raise SetupError(
                f"another worker runs with the state directory {path}",
                remedy="Stop the other worker. To run two servers on this machine, give each its "
                "own WHARF_STATE_DIR and join token.",
            ) from error
        return cls(path, lock)

    def close(self) -> None:
        self.lock.close()

    @property
    def enrolment(self) -> Enrolment | None:
        text = self._read("server.json")
        return Enrolment.model_validate_json(text) if text else None

    def save_enrolment(self, enrolment: Enrolment) -> None:
        self._write("server.json", enrolment.model_dump_json())

    def public_key(self) -> PublicKey:
        return self._private_key().public

    def key_ring(self) -> KeyRing:
        return KeyRing([self._private_key()])

    def database_password(self) -> SecretStr:
        """Return the password, created at the first call; only its verifier is ever sent."""
        return SecretStr(
            self._read_or_create("database.password", lambda: secrets.token_urlsafe(32))
        )

    def broker_password(self) -> SecretStr:
        """Return the password, created at the first call; only its hash is ever sent."""
        return SecretStr(self._read_or_create("broker.password", lambda: secrets.token_urlsafe(32)))

    def set_aside(self, server_id: str) -> None:
        """Move the identity of a removed server into a separate folder for a fresh start."""
        folder = self.path / f"removed-{server_id}"
        folder.mkdir(mode=0o700, exist_ok=True)
        for name in IDENTITY:
            with contextlib.suppress(FileNotFoundError):
                (self.path / name).rename(folder / name)

    def save_broker_url(self, url: str) -> Path:
        """Write the broker's URL, which holds a password, to a file; return its path."""
        self._write("broker.url", url)
        return self.path / "broker.url"

    @property
    def ca_file(self) -> Path | None:
        """Return the file of the CA that was pinned; ``None`` if there is none."""
        return find_ca(self.path)

    def save_ca(self, text: str) -> Path:
        """Store the certificate of the pinned CA; return its path."""
        self._write(CA_FILE, text)
        return self.path / CA_FILE

    def replace_incarnation(self, incarnation: str) -> str | None:
        """Store the new incarnation; return the previous one, which the lock proves dead."""
        predecessor = self._read("incarnation")
        self._write("incarnation", incarnation)
        return predecessor

    def database_mark(self) -> str | None:
        """Return the last mark that the database gave to a worker of this directory."""
        return self._read("database.mark")

    def save_database_mark(self, mark: str) -> None:
        """Store the mark for the next start; a full disk only loses the mark."""
        with contextlib.suppress(OSError):
            self._write("database.mark", mark)

    def _private_key(self) -> PrivateKey:
        return PrivateKey.parse(
            self._read_or_create("server.key", lambda: PrivateKey.generate().text())
        )

    def _read_or_create(self, name: str, make: Callable[[], str]) -> str:
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
        write_atomically(self.path / name, text)


def scram_verifier(password: str, salt: bytes, iterations: int = SCRAM_ITERATIONS) -> str:
    """Return the verifier that PostgreSQL stores: ``SCRAM-SHA-256$…`` (RFC 5803, RFC 7677)."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    fault_document = base64.b64encode(hashlib.sha256(client_key).digest()).decode()
    server = base64.b64encode(hmac.digest(salted, b"Server Key", "sha256")).decode()
    return f"SCRAM-SHA-256${iterations}:{base64.b64encode(salt).decode()}${fault_document}:{server}"
