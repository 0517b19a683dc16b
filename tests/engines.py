"""The Docker Engine that the tests run on: the system's, or another one unpacked beside it."""

import os
import subprocess
from pathlib import Path

import pytest

VARIABLE = "WHARF_TEST_ENGINE"
"""The name of an Engine as `.ci/engines` knows it: ``28.5-containerd``."""

SCRIPT = Path(__file__).parent.parent / ".ci" / "engines"


def choose_engine() -> None:
    """Put the Engine that the environment names first on ``PATH``, for all that is started."""
    if name := os.environ.get(VARIABLE):
        found = subprocess.run([SCRIPT, name], check=True, stdout=subprocess.PIPE, text=True)
        os.environ["PATH"] = f"{found.stdout.strip()}:{os.environ['PATH']}"


def uses_containerd_store() -> bool:
    """Return whether that Engine keeps its images in containerd."""
    return os.environ.get(VARIABLE, "").endswith("-containerd")


def is_before_23() -> bool:
    """Return whether that Engine is older than those that unpack zstd and indexes in indexes."""
    return is_engine("20.10")


def is_engine(name: str) -> bool:
    """Return whether that Engine is the one of this name."""
    return os.environ.get(VARIABLE, "20.10") == name


needs_loopback = pytest.mark.skipif(
    is_engine("28.5-rootless"), reason="a rootless Engine has a loopback of its own"
)
"""Marks tests with a registry on the Engine's loopback."""
