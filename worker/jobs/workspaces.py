"""Folders that builds work in, below the worker's state directory, for this worker alone."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class Workspaces:
    directory: Path

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Begin with an empty directory: what is in it was left by a worker that was killed."""
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(mode=0o700, parents=True)
        return cls(directory)

    @asynccontextmanager
    async def folder(self) -> AsyncIterator[Path]:
        """A folder that only we can read; gone at the end of the block."""
        folder = await asyncio.to_thread(tempfile.mkdtemp, dir=self.directory)
        try:
            yield Path(folder)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
