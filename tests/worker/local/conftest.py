from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.local.valkey import LocalValkey


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalValkey]:
    server = LocalValkey.start(tmp_path_factory.mktemp("valkey"))
    yield server
    server.stop()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "server"
