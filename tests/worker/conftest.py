"""One real Engine per test process, in a separate network, and registries beside it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.worker.engine.parts import RegistryFixture, require_real_parts
from worker.engine.transport.connection import Engine
from worker.local.engines import LocalEngine
from worker.local.namespaces import Namespace


@pytest.fixture(scope="session")
def namespace() -> Iterator[Namespace]:
    require_real_parts()
    created = Namespace.create("engine-tests")
    try:
        yield created
    finally:
        created.remove()


@pytest.fixture(scope="session")
def local_engine(
    namespace: Namespace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalEngine]:
    """Run the shared Engine; a test that kills an Engine uses `own_engine` instead."""
    running = LocalEngine.start(
        tmp_path_factory.mktemp("engine"),
        namespace=namespace,
        insecure_registries=("10.77.0.0/16",),
    )
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def registry(
    namespace: Namespace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RegistryFixture]:
    """Run a registry without a login."""
    running = RegistryFixture.start(tmp_path_factory.mktemp("registry"), namespace.our_address)
    try:
        yield running
    finally:
        running.local.stop()


@pytest.fixture(scope="session")
def locked_registry(
    namespace: Namespace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RegistryFixture]:
    """Run a registry that asks for a password."""
    running = RegistryFixture.start(
        tmp_path_factory.mktemp("locked"), namespace.our_address, with_password=True
    )
    try:
        yield running
    finally:
        running.local.stop()


@pytest.fixture
async def engine(local_engine: LocalEngine) -> AsyncIterator[Engine]:
    async with Engine.open(local_engine.docker_host) as opened:
        yield opened


@pytest.fixture
def own_engine(namespace: Namespace, tmp_path: Path) -> Iterator[LocalEngine]:
    """Run an Engine to kill or freeze, in a separate namespace because of its bridge."""
    own = Namespace.create("own-engine")
    running = LocalEngine.start(
        tmp_path / "own", namespace=own, insecure_registries=("10.77.0.0/16",)
    )
    yield running
    running.kill()
    own.remove()
