"""Private folders of builds below the worker's state directory."""

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
        """Empty the directory, which may hold folders of a killed worker, and open it."""
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(mode=0o700, parents=True)
        return cls(directory)

    @asynccontextmanager
    async def folder(self) -> AsyncIterator[Path]:
        """Make a folder that only this user can read; it is removed when the block ends."""
        folder = await asyncio.to_thread(tempfile.mkdtemp, dir=self.directory)
        try:
            yield Path(folder)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
