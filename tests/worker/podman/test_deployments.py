"""Deployments on a real Podman: a version is replaced, and comes back if the next one fails."""

import pytest

from shared.faults import FaultCode
from shared.jobs.containers import HealthProbe, PublishedPort
from tests.waiting import wait_until
from tests.worker.deployments.containers.scenario import (
    FAILING,
    PASSING,
    SERVE,
    ContainerScenario,
    answer,
    deploy_with_environment,
)
from worker.engine import containers
from worker.machine import SYSTEMD

PORTS = (PublishedPort(published_port=8311, target_port=8080),)


async def test_an_image_runs_with_its_environment_under_its_name(
    scenario: ContainerScenario,
) -> None:
    reference, result = await deploy_with_environment(scenario)

    assert result.reference == reference


async def test_a_version_takes_the_port_of_the_previous_one(scenario: ContainerScenario) -> None:
    address = (scenario.local.address, 8311)
    await scenario.deploy(await scenario.web_image("1"), ports=PORTS)
    await wait_until(lambda: answer(address) == "1")

    result = await scenario.deploy(await scenario.web_image("2"), ports=PORTS)

    await wait_until(lambda: answer(address) == "2")
    assert (await scenario.only()).container_id == result.container_id
    assert 0 < result.gap_seconds < 15


@pytest.mark.parametrize("script", ["echo cannot go on; exit 7", "echo cannot go on; exit 0"])
async def test_a_version_that_ends_is_refused_while_the_previous_one_runs_on(
    scenario: ContainerScenario, script: str
) -> None:
    await scenario.deploy(await scenario.web_image("1"), ports=PORTS)
    before = await scenario.document()

    error = await scenario.fail(await scenario.image("2", script), ports=PORTS)

    assert error.code == FaultCode.CONTAINER_EXITED
    assert "cannot go on" in error.message
    assert f"exit code {script[-1]}" in error.message
    assert await scenario.document() == before
    assert answer((scenario.local.address, 8311)) == "1"


async def test_a_container_that_ignores_its_stop_signal_is_removed(
    scenario: ContainerScenario,
) -> None:
    await scenario.deploy(await scenario.image("1", "exec /bin/busybox sleep 1000"))

    await containers.remove(scenario.engine, (await scenario.only()).container_id)

    assert await scenario.found() == []


async def test_the_previous_image_is_deployed_again(scenario: ContainerScenario) -> None:
    first, second = await scenario.web_image("1"), await scenario.web_image("2")
    for reference in (first, second):
        await scenario.deploy(reference)

    result = await scenario.deploy(first)

    assert result.reference == first
    assert (await scenario.only()).image_id == result.image_id


@pytest.mark.parametrize(
    ("check", "code"), [(PASSING, None), (FAILING, FaultCode.CONTAINER_UNHEALTHY)]
)
async def test_a_health_check_decides_where_systemd_runs_it(
    scenario: ContainerScenario, check: HealthProbe, code: FaultCode | None
) -> None:
    if not SYSTEMD.is_dir():
        pytest.skip("Podman runs health checks by timers of systemd, which does not run here")
    reference = await scenario.image("1", SERVE)

    if code is None:
        await scenario.deploy(reference, health_check=check)
    else:
        assert (await scenario.fail(reference, health_check=check)).code == code
