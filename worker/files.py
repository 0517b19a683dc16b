"""Small files of the worker's state directory, and parts of a backup."""

import os
from collections.abc import Iterable
from pathlib import Path


def write_atomically(path: Path, text: str) -> None:
    """Write a private file atomically: after a crash it has its new content, or the old one."""
    write_chunks(path, (text.encode(),))


def write_chunks(path: Path, chunks: Iterable[bytes]) -> None:
    """Do the same with content that comes in chunks."""
    fresh = path.with_name(f"{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for chunk in chunks:
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)  # the new name is stored in the directory
    finally:
        os.close(folder)
