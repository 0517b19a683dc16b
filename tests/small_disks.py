"""File systems with little room: mounted by root, in memory."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def open_small_disk(place: Path, size_bytes: int) -> Iterator[Path]:
    """Mount a file system of that size at ``place``; skip on a desktop, fail in CI without root."""
    if os.geteuid() != 0:
        if os.environ.get("CI"):
            pytest.fail("a small file system needs root")
        pytest.skip("a small file system needs root")
    place.mkdir(exist_ok=True)
    options = f"size={size_bytes}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)
