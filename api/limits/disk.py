"""Notice that a disk is full: PostgreSQL's, by what it answers, or that of uploaded contexts."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import psycopg

REMEMBERED = timedelta(seconds=30)
"""A write that failed says for so long that the disk is full; the next one may find room."""

LEAST_FREE_BYTES = 64 * 1024**2


@dataclass
class DiskWatch:
    """``data_dir`` keeps uploaded contexts; `None` where there are none."""

    data_dir: Path | None
    clock: Callable[[], float] = time.monotonic
    _failed_at: float | None = field(default=None)

    def note_failed_write(self) -> None:
        """Remember that PostgreSQL had no room for something."""
        self._failed_at = self.clock()

    def is_full(self) -> bool:
        """Return whether something cannot be stored at the moment."""
        if (
            self._failed_at is not None
            and self.clock() - self._failed_at < REMEMBERED.total_seconds()
        ):
            return True
        free = self.free_bytes()
        return free is not None and free < LEAST_FREE_BYTES

    def free_bytes(self) -> int | None:
        """Return the room for uploads; ``None`` where none are kept or it cannot be seen."""
        if self.data_dir is None:
            return None
        try:
            return shutil.disk_usage(self.data_dir).free
        except OSError:
            return None


def is_disk_full(error: BaseException) -> bool:
    """Return whether PostgreSQL said ``disk_full`` (SQLSTATE 53100), also through SQLAlchemy."""
    return isinstance(getattr(error, "orig", None) or error, psycopg.errors.DiskFull)
