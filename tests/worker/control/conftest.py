import os
import shutil
from collections.abc import Iterator

import pytest

from tests.worker.control.plane import Plane
from tests.world import World
from worker.local.registry import PROGRAM, LocalRegistry
from worker.local.valkey import LocalValkey


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalValkey]:
    server = LocalValkey.start(tmp_path_factory.mktemp("valkey"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def open_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRegistry]:
    """A registry that accepts everybody; the fakes of providers in front of it do not."""
    reason = None
    if os.geteuid():
        reason = "the hosts of providers listen on port 443, which takes root"
    elif shutil.which(PROGRAM) is None:
        reason = f"there is no {PROGRAM} here"
    if reason and os.environ.get("CI"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    registry = LocalRegistry.start(tmp_path_factory.mktemp("open-registry"))
    yield registry
    registry.stop()


@pytest.fixture
def plane(world: World, broker: LocalValkey) -> Plane:
    return Plane(world, broker)
