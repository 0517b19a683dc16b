from collections.abc import Iterator

import pytest

from tests.worker.control.plane import Plane
from tests.world import World
from worker.local.valkey import LocalValkey


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalValkey]:
    server = LocalValkey.start(tmp_path_factory.mktemp("valkey"))
    yield server
    server.stop()


@pytest.fixture
def plane(world: World, broker: LocalValkey) -> Plane:
    return Plane(world, broker)
