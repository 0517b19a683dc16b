"""One Swarm for the tests of a file, and a separate application for each test."""

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import JsonValue

from tests.worker.deployments.services.scenario import LISTEN, ServiceScenario, open_node
from tests.worker.engine.parts import RegistryFixture, require_real_parts
from tests.worker.parts import make_tools
from worker.engine.transport.connection import Engine
from worker.local.engines import LocalEngine


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEngine]:
    require_real_parts()
    with open_node(tmp_path_factory.mktemp("swarm")) as node:
        yield node


@pytest.fixture
async def swarm(manager: LocalEngine) -> AsyncIterator[Engine]:
    """Open the Swarm's manager; the first caller initializes the Swarm."""
    async with Engine.open(manager.docker_host) as opened:
        if (await opened.info()).swarm == "inactive":
            body: JsonValue = {"ListenAddr": LISTEN, "AdvertiseAddr": manager.address}
            await opened.request("POST", "swarm/init", body=body, limit=timedelta(seconds=30))
        yield opened


@pytest.fixture
async def scenario(
    swarm: Engine,
    manager: LocalEngine,
    locked_registry: RegistryFixture,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> AsyncIterator[ServiceScenario]:
    tools = make_tools(swarm, "private", tmp_path)
    name = f"app-{abs(hash(request.node.name)) % 10**8}"
    scenario = ServiceScenario(
        swarm, manager, locked_registry, tools, name, locked_registry.login()
    )
    yield scenario
    await scenario.clear()
