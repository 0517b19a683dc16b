"""What a backup has of the data directory of ``wharf up``, beside the vault's keys."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from shared.errors import SetupError
from worker.files import write_atomically
from worker.server.identity import IDENTITY

KEYS = ("admin.key", "flower.password")
PORTS = ("postgres.port", "valkey.port")
"""Servers that have joined know these."""


def read_directory(directory: Path) -> dict[str, str]:
    """Return the files by name: keys, ports, and the identities of the servers of this machine.

    Raises:
        SetupError: a file cannot be read.
    """
    try:
        return {
            str(path.relative_to(directory)): path.read_text()
            for path in _find_files(directory)
            if path.is_file()
        }
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(f"{directory} cannot be read: {type(error).__name__}") from error


def _find_files(directory: Path) -> Iterator[Path]:
    yield from (directory / "keys" / name for name in KEYS)
    yield from (directory / name for name in PORTS)
    for server in sorted((directory / "servers").glob("*")):
        yield from (server / name for name in IDENTITY)


def write_directory(directory: Path, files: Mapping[str, str]) -> None:
    """Write the files of `read_directory`.

    Raises:
        SetupError: a file cannot be written.
    """
    try:
        for name, text in files.items():
            if _is_ours(name):
                path = directory / name
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                write_atomically(path, text)
    except OSError as error:
        raise SetupError(f"{directory} cannot be written: {error.strerror}") from error


def _is_ours(name: str) -> bool:
    """Return whether it is one of our names; an authentic backup has no others."""
    match name.split("/"):
        case ["keys", file]:
            return file in KEYS
        case [file]:
            return file in PORTS
        case ["servers", server, file]:
            return server not in {"", ".", ".."} and file in IDENTITY
        case _:
            return False
