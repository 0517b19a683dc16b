"""The store of uploaded contexts: a directory of files, each named by its context's id.

A file gets that name once it is complete. Until then it is a draft, which only its upload uses.
"""

import asyncio
import errno
import hashlib
import os
import re
import time
from collections.abc import AsyncIterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, Self

from api.errors import ChecksumError, DiskFullError, TooLargeError
from shared.errors import InvalidInputError, SetupError

FOLDER = "contexts"
DRAFT = ".draft"

_NAME = re.compile(rf"[0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}(?:{re.escape(DRAFT)})?")
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True)
class Received:
    """A received upload; ``sha256`` is hexadecimal."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class ContextStore:
    """The directory, mode 0700, and the maximum size of one context."""

    directory: Path
    max_bytes: int

    @classmethod
    def open(cls, data_dir: Path, max_bytes: int) -> Self:
        """Create the directory if it is missing.

        Raises:
            SetupError: it cannot be created or changed.
        """
        directory = data_dir / FOLDER
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.chmod(0o700)
        except OSError as error:
            raise SetupError(
                f"uploads cannot be stored in {data_dir}: {error.strerror}",
                remedy="Set WHARF_DATA_DIR to a directory that this user may write.",
            ) from error
        return cls(directory, max_bytes)

    def path(self, context_id: str) -> Path:
        return self.directory / context_id

    def require_room(self, size_bytes: int) -> None:
        """Raise `TooLargeError` if a context of that size is too large."""
        if size_bytes > self.max_bytes:
            raise TooLargeError(
                f"the context is larger than {self.max_bytes} bytes, the most allowed",
                remedy="Leave out what the build does not need.",
            )

    async def receive(
        self, context_id: str, chunks: AsyncIterable[bytes], expected: frozenset[str] = frozenset()
    ) -> Received:
        """Write the chunks to the context's file, atomically: all or nothing.

        Raises:
            TooLargeError: more than ``max_bytes``; the rest is not read.
            ChecksumError: differs from one in ``expected``, checksums in hexadecimal.
            InvalidInputError: the upload is empty.
            DiskFullError: the disk is full.
        """
        draft = self.directory / f"{context_id}{DRAFT}"
        try:
            with await asyncio.to_thread(_create, draft) as file:
                received = await self._write(chunks, file)
            _require(received, expected)
            draft.replace(self.path(context_id))
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise DiskFullError(
                "the disk for uploads is full",
                remedy="Free space in WHARF_DATA_DIR, then send the context again.",
            ) from error
        finally:
            draft.unlink(missing_ok=True)
        return received

    async def _write(self, chunks: AsyncIterable[bytes], file: BinaryIO) -> Received:
        checksum, size_bytes = hashlib.sha256(), 0
        async for chunk in chunks:
            size_bytes += len(chunk)
            self.require_room(size_bytes)
            await asyncio.to_thread(_append, file, checksum, chunk)
        await asyncio.to_thread(_sync, file)
        return Received(size_bytes, checksum.hexdigest())

    def old_names(self, age: timedelta) -> list[str]:
        """Return the names of context files not written for ``age``."""
        until = time.time() - age.total_seconds()
        with os.scandir(self.directory) as entries:
            return [
                entry.name
                for entry in entries
                if _NAME.fullmatch(entry.name) and entry.stat().st_mtime <= until
            ]

    def remove(self, name: str) -> None:
        """Remove a file. Idempotent: all API processes clean up."""
        (self.directory / name).unlink(missing_ok=True)


def _create(draft: Path) -> BinaryIO:
    return os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _append(file: BinaryIO, checksum: "hashlib._Hash", chunk: bytes) -> None:
    checksum.update(chunk)
    file.write(chunk)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _require(received: Received, expected: frozenset[str]) -> None:
    if not received.size_bytes:
        raise InvalidInputError(
            "no context was sent", remedy="Send the tar as the body of the request."
        )
    if expected - {received.sha256}:
        raise ChecksumError(
            f"the context's SHA-256 is {received.sha256}, expected {', '.join(sorted(expected))}",
            remedy="Send it again.",
        )
