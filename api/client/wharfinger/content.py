"""The body of an upload: bytes, a file, or the tar of a directory."""

import hashlib
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True)
class Content:
    """An open body, which is read anew for each attempt; ``sha256`` is hexadecimal."""

    file: IO[bytes]
    size_bytes: int
    sha256: str

    def chunks(self) -> Iterator[bytes]:
        """Read it from its beginning."""
        self.file.seek(0)
        while chunk := self.file.read(CHUNK_BYTES):
            yield chunk


@contextmanager
def open_content(source: bytes | Path) -> Iterator[Content]:
    """Open bytes or a file as they are, and a directory as a tar of what it holds."""
    with _open(source) as file:
        digest, size_bytes = hashlib.sha256(), 0
        file.seek(0)
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            size_bytes += len(chunk)
        yield Content(file, size_bytes, digest.hexdigest())


@contextmanager
def _open(source: bytes | Path) -> Iterator[IO[bytes]]:
    if isinstance(source, Path) and source.is_file():
        with source.open("rb") as file:
            yield file
        return
    with tempfile.TemporaryFile() as file:
        if isinstance(source, bytes):
            file.write(source)
        else:
            with tarfile.open(fileobj=file, mode="w") as tar:
                tar.add(source, arcname=".")
        yield file
