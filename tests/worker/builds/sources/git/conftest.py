"""Git servers, and a directory to fetch into."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.git import GitServer, open_git_server


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[GitServer]:
    (tmp_path / "served").mkdir()
    async with open_git_server(tmp_path / "served") as opened:
        yield opened


@pytest.fixture
async def other(tmp_path: Path) -> AsyncIterator[GitServer]:
    """Run another git server at another origin."""
    (tmp_path / "other").mkdir()
    async with open_git_server(tmp_path / "other") as opened:
        yield opened


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "fetched").mkdir()
    return tmp_path / "fetched"
