"""A separate application for each test."""

from pathlib import Path
from typing import Any

import pytest

from tests.worker.deployments.containers.scenario import ContainerScenario
from tests.worker.engine.parts import RegistryFixture
from tests.worker.parts import make_tools
from worker.engine.transport.connection import Engine
from worker.local.engines import LocalEngine


@pytest.fixture
async def scenario(
    engine: Engine,
    local_engine: LocalEngine,
    registry: RegistryFixture,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Any:
    tools = make_tools(engine, "private", tmp_path)
    name = f"app-{abs(hash(request.node.name)) % 10**8}"
    scenario = ContainerScenario(engine, local_engine, registry, tools, name)
    yield scenario
    await scenario.clear()
