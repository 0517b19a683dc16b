"""A Swarm service gets the new login of its registry, and its tasks go on running."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from shared.errors import EngineError
from shared.jobs.commands import ServiceLogin
from shared.jobs.diagnosis import Right
from shared.jobs.results import ServiceLoginResult
from tests.worker.deployments.services.scenario import ServiceScenario
from tests.worker.engine.parts import ALLOWED, PASSWORD, USER, RegistryFixture
from worker.deployments.service_login import renew_login
from worker.local.registry import LocalRegistry
from worker.login import EngineLogin, Grant, Grants

NEW = "another password"


@pytest.fixture
async def rotated(scenario: ServiceScenario, tmp_path: Path) -> AsyncIterator[ServiceScenario]:
    """The scenario with a registry of its own, whose users may change."""
    users = {USER: PASSWORD, "after": NEW}
    local = LocalRegistry.start(
        tmp_path / "own-registry", address=scenario.registry.local.address, users=users
    )
    registry = RegistryFixture(local)
    yield replace(scenario, registry=registry, login=registry.login())
    local.stop()


async def give(scenario: ServiceScenario, reference: str) -> ServiceLoginResult:
    command = ServiceLogin(
        application_id=scenario.application_id, registry_id="locked", reference=reference
    )
    login = EngineLogin(
        host=scenario.registry.host, username="after", secret=SecretStr(NEW), tls=ALLOWED
    )
    rights = frozenset[Right]({"pull"})
    grant = Grant(login=login, repository=command.target.repository, rights=rights)
    return await renew_login(command, Grants(grants=(grant,)), scenario.tools)


async def remove_image(scenario: ServiceScenario, reference: str) -> None:
    """Remove an image that nothing else has, with all its names: the next task has to pull it."""
    found: Any = await scenario.engine.request("GET", f"images/{reference}/json")
    left: Any = await scenario.engine.request(
        "DELETE", f"images/{found['Id']}", params={"force": "true"}
    )
    assert any("Deleted" in each for each in left)


async def test_no_task_is_started_anew_and_the_next_one_pulls_with_the_new_login(
    rotated: ServiceScenario,
) -> None:
    reference = await rotated.image("renewed")
    await rotated.deploy(reference, replicas=2)
    before, spec = await rotated.running(), (await rotated.only()).document

    given = await give(rotated, reference)

    assert given.changed
    assert await rotated.is_restored(before)
    assert (await rotated.only()).document == spec
    rotated.registry.local.replace_users({"after": NEW})
    await rotated.control("stop")
    await remove_image(rotated, reference)
    await rotated.control("start")
    assert len(await rotated.running()) == 2


async def test_a_service_without_the_new_login_cannot_pull_again(
    rotated: ServiceScenario,
) -> None:
    reference = await rotated.image("not-renewed")
    await rotated.deploy(reference)
    rotated.registry.local.replace_users({"after": NEW})
    await rotated.control("stop")
    await remove_image(rotated, reference)

    with pytest.raises(EngineError):
        await rotated.control("start")


async def test_a_service_that_runs_another_image_is_left_alone(rotated: ServiceScenario) -> None:
    first, second = await rotated.image("1"), await rotated.image("2", "sleep 1000; exit 2")
    none_yet = await give(rotated, first)
    await rotated.deploy(second)
    version = (await rotated.only()).version

    given = await give(rotated, first)

    assert (none_yet.changed, given.changed) == (False, False)
    assert (await rotated.only()).version == version


async def test_a_later_deployment_is_restored_with_the_new_login(
    rotated: ServiceScenario,
) -> None:
    good, bad = await rotated.image("1"), await rotated.image("2", "exit 3")
    await rotated.deploy(good)
    before = await rotated.running()
    await give(rotated, good)
    rotated.registry.local.replace_users({"after": NEW})
    login = EngineLogin(
        host=rotated.registry.host, username="after", secret=SecretStr(NEW), tls=ALLOWED
    )

    await replace(rotated, login=login).fail(bad)

    assert await rotated.is_restored(before)
    assert (await rotated.only()).image == good
