"""A wrong password reaches a real registry a few times from a whole fleet, and no more."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from shared.jobs.commands import Command, ImagePull
from shared.jobs.store.release import Released, give_login
from shared.vault import KeyRing
from tests.worker.control.credentials.sealing import seal_grants
from tests.worker.parts import open_tools
from tests.world import EnrolledServer, World
from worker.deployments.tools import DeploymentTools
from worker.images.pull_push_tag import pull
from worker.jobs.attempt import Attempt, run_attempt
from worker.local.registry import LocalRegistry
from worker.login import Grants

SERVERS, PULLS = 5, 8
BAD_LOGIN = "error authenticating user"


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[LocalRegistry]:
    """A distribution registry with another password than the stored one."""
    running = LocalRegistry.start(tmp_path / "registry", users={"alice": "the right one"})
    yield running
    running.stop()


def bad_logins(registry: LocalRegistry) -> int:
    """Return how many requests with a wrong login the registry has logged."""
    lines = registry.child.log.read_text().splitlines()
    return sum(BAD_LOGIN in line for line in lines)


async def run(
    world: World, servers: dict[str, EnrolledServer], job: Released, tools: DeploymentTools
) -> None:
    """Run one attempt as a worker does."""

    async def work(command: Command, grants: Grants, attempt: Attempt) -> BaseModel:
        assert isinstance(command, ImagePull)
        return await pull(command, grants, attempt, tools)

    sealed = seal_grants(world.keys, job)
    assert sealed is not None
    await give_login(world.control, job, sealed)
    server = servers[job.server_id]
    functions = server.functions("first")
    keys = KeyRing([server.key])
    await run_attempt(Attempt(job.job_id, job.attempt), functions, keys, server.server_id, work)


async def test_a_wrong_password_is_sent_at_most_three_times_by_a_fleet(
    world: World, locked: LocalRegistry, tmp_path: Path
) -> None:
    servers = {one.server_id: one for one in [await world.add_server() for _ in range(SERVERS)]}
    registry_id = await world.add_registry(host=locked.host, is_tried=False)
    for number in range(PULLS):
        for server in servers.values():
            image = ImagePull(
                reference=f"{locked.host}/team/app-{number}:1",
                registry_id=registry_id,
                preflight=bool(number % 2),
            )
            await world.submit(server, image, registry_id=registry_id)

    ended = 0
    async with open_tools(tmp_path) as tools:
        while jobs := await world.release():
            await asyncio.gather(*(run(world, servers, job, tools) for job in jobs))
            ended += len(jobs)

    assert 2 <= bad_logins(locked) <= 3
    failed = await world.rows("SELECT error->>'code' AS code FROM job WHERE state = 'failed'")
    assert [row["code"] for row in failed] == ["auth_bad_credentials"] * ended
    waiting = await world.rows("SELECT login_is_held FROM queued_job")
    assert [row["login_is_held"] for row in waiting] == [True] * (SERVERS * PULLS - ended)
