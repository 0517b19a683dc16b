"""Docker Hub out of reach, and a real Engine with a registry mirror: tests and pulls."""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from shared.jobs.commands import RegistryTest
from shared.jobs.diagnosis import Outcome, Stage
from shared.reference import parse_reference
from tests.worker.engine.parts import RegistryFixture
from tests.worker.oci.parts import make_login, outcomes, stage
from tests.worker.parts import make_tools
from worker.engine import images
from worker.engine.transport.connection import Engine
from worker.jobs.tools import Tools
from worker.local.engines import LocalEngine
from worker.local.images import make_image
from worker.local.namespaces import Namespace
from worker.login import Grant, Grants
from worker.registries.diagnosis import run_test

HUB = "docker.io"
IDLE = timedelta(seconds=20)


@dataclass
class Mirrored:
    """An Engine whose registry mirror holds ``docker.io/team/app:1``, and a worker's tools."""

    engine: Engine
    tools: Tools
    mirror: RegistryFixture


@pytest.fixture
def mirrored_engine(registry: RegistryFixture, tmp_path: Path) -> Iterator[LocalEngine]:
    own = Namespace.create("mirrored")
    directory = tmp_path / "e"
    directory.mkdir()
    mirrors = {"registry-mirrors": [f"http://{registry.host}"]}
    (directory / "daemon.json").write_text(json.dumps(mirrors))
    running = LocalEngine.start(directory, namespace=own, insecure_registries=("10.77.0.0/16",))
    yield running
    running.kill()
    own.remove()


@pytest.fixture
async def mirrored(
    mirrored_engine: LocalEngine, registry: RegistryFixture, tmp_path: Path
) -> AsyncIterator[Mirrored]:
    held = registry.reference("team/app")
    make_image(mirrored_engine.docker_host, str(held), seed=3)
    async with Engine.open(mirrored_engine.docker_host) as engine:
        await images.push(engine, held, None, lambda _: None, IDLE)
        await images.remove(engine, str(held))
        tools = make_tools(engine, "public,private,loopback", tmp_path)
        yield Mirrored(engine, tools, registry)
        await tools.clean_ups.finish()


async def test_a_test_of_docker_hub_passes_where_the_engine_pulls_from_its_mirror(
    mirrored: Mirrored,
) -> None:
    login = make_login(HUB)
    rights = frozenset({"pull", "push"})
    grants = Grants(grants=(Grant(login=login, repository="team/app", rights=rights),))
    command = RegistryTest(host=HUB, username="alice", repository="team/app")

    report = await run_test(command, grants, mirrored.tools)

    assert report.fault() is None
    assert mirrored.mirror.host in stage(report, Stage.PULL).evidence
    assert outcomes(report)[Stage.ENGINE] is Outcome.SKIPPED
    assert "Docker on this server logs in there too" in report.not_verified


async def test_a_pull_with_a_login_of_docker_hub_comes_from_the_mirror(
    mirrored: Mirrored,
) -> None:
    wanted = parse_reference("docker.io/team/app:1")

    login = await mirrored.tools.engine_login(make_login(HUB), wanted)
    pulled = await images.pull(mirrored.engine, wanted, login, lambda _: None, IDLE)

    assert login is None
    assert pulled.digest.startswith("sha256:")
