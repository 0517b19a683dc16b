"""Podman in place of the Engine: `make matrix MATRIX=podman`."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.engines import is_engine
from tests.worker.deployments.containers.scenario import ContainerScenario
from tests.worker.engine.contexts import make_base
from tests.worker.engine.parts import RegistryFixture
from tests.worker.parts import make_tools
from worker.engine.transport.connection import Engine
from worker.local.engines import LocalEngine


@pytest.fixture(scope="session", autouse=True)
def podman() -> None:
    """Skip these tests on other Engines."""
    if not is_engine("podman"):
        pytest.skip("make matrix MATRIX=podman runs these tests")


@pytest.fixture(scope="session")
def local_podman(local_engine: LocalEngine) -> LocalEngine:
    """The running Podman, with a base image."""
    make_base(local_engine.docker_host)
    return local_engine


@pytest.fixture
async def scenario(
    engine: Engine, local_podman: LocalEngine, registry: RegistryFixture, tmp_path: Path
) -> AsyncIterator[ContainerScenario]:
    """An application of which each test has its own."""
    tools = make_tools(engine, "private", tmp_path)
    scenario = ContainerScenario(engine, local_podman, registry, tools, tmp_path.name.lower())
    yield scenario
    await scenario.clear()
