"""Detect a full disk: PostgreSQL's, by its errors, or that of uploaded contexts."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import psycopg

REMEMBERED = timedelta(seconds=30)
"""For so long after a failed write the disk counts as full."""

LEAST_FREE_BYTES = 64 * 1024**2


@dataclass
class DiskWatch:
    """``data_dir`` stores uploaded contexts; `None` if uploads are not accepted."""

    data_dir: Path | None
    clock: Callable[[], float] = time.monotonic
    _failed_at: float | None = field(default=None)

    def note_failed_write(self) -> None:
        """Record that a write failed because PostgreSQL's disk is full."""
        self._failed_at = self.clock()

    def is_full(self) -> bool:
        """Return whether one of the disks is full at the moment."""
        if (
            self._failed_at is not None
            and self.clock() - self._failed_at < REMEMBERED.total_seconds()
        ):
            return True
        free = self.free_bytes()
        return free is not None and free < LEAST_FREE_BYTES

    def free_bytes(self) -> int | None:
        """Return the free bytes for uploads; ``None`` without uploads or if they cannot be read."""
        if self.data_dir is None:
            return None
        try:
            return shutil.disk_usage(self.data_dir).free
        except OSError:
            return None


def is_disk_full(error: BaseException) -> bool:
    """Return whether it is ``disk_full`` (SQLSTATE 53100), also inside SQLAlchemy's error."""
    return isinstance(getattr(error, "orig", None) or error, psycopg.errors.DiskFull)
