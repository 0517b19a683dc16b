"""The files of the vault's keys: control's private keys, the current one first, and the API's.

A new key is written to the private file before anything is sealed to it, so that control always
has the key of what is stored.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from shared.errors import SetupError
from shared.vault import KeyRing, PrivateKey, PublicKey, parse_private_keys
from worker.files import write_atomically


@dataclass(frozen=True)
class KeyFiles:
    """The path of the private keys, and that of the public key if there is one here."""

    private: Path
    public: Path | None = None

    def read(self) -> list[PrivateKey]:
        """Return the private keys, the current one first.

        Raises:
            SetupError: the file cannot be read, or holds something else.
        """
        try:
            keys = parse_private_keys(self.private.read_text())
        except OSError as error:
            raise SetupError(f"{self.private} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError:
            raise SetupError(f"{self.private} is not text") from None
        if not keys:
            raise SetupError(f"{self.private} has no private key")
        return keys

    def ring(self) -> KeyRing:
        return KeyRing(self.read())

    def current(self) -> PublicKey:
        return self.read()[0].public

    def begin(self) -> bool:
        """Add a new current key, unless a rotation is under way; return whether one was added.

        Raises:
            SetupError: the file cannot be read or written.
        """
        keys = self.read()
        if len(keys) > 1:
            return False
        write_keys(self.private, [PrivateKey.generate(), *keys])
        return True

    def publish(self) -> None:
        """Write the current public key for the API.

        Raises:
            SetupError: the file cannot be written.
        """
        if self.public is not None:
            write_public(self.public, self.current())

    def drop_old(self) -> list[PublicKey]:
        """Keep the current key alone; return the public halves of the others.

        Raises:
            SetupError: the file cannot be read or written.
        """
        keys = self.read()
        write_keys(self.private, keys[:1])
        return [key.public for key in keys[1:]]


def write_keys(path: Path, keys: list[PrivateKey]) -> None:
    """Write private keys atomically; the file keeps its mode and owner.

    Raises:
        SetupError: the file cannot be written.
    """
    _write(path, "".join(f"{key.text()}\n" for key in keys))


def write_public(path: Path, key: PublicKey) -> None:
    """Write a public key atomically; the file keeps its mode and owner.

    Raises:
        SetupError: the file cannot be written.
    """
    _write(path, f"{key}\n")


def _write(path: Path, text: str) -> None:
    try:
        former = path.stat() if path.exists() else None
        if former is not None and path.read_text() == text:
            return
        write_atomically(path, text)
        if former is not None:
            path.chmod(former.st_mode & 0o777)
            if os.geteuid() == 0:
                os.chown(path, former.st_uid, former.st_gid)
    except OSError as error:
        raise SetupError(
            f"{path} cannot be written: {error.strerror}",
            remedy="Run the command where the file of the vault's keys can be changed.",
        ) from error
