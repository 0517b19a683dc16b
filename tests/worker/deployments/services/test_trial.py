"""A trial runs before old tasks stop, where a Swarm would stop them too early."""

import asyncio
from functools import partial

import pytest

from shared.errors import EngineError
from shared.faults import FaultCode
from shared.jobs.containers import HealthProbe, PublishedPort
from tests.waiting import wait_until
from tests.worker.deployments.containers.scenario import SERVE
from tests.worker.deployments.services.scenario import (
    FAILING,
    IN_TIME,
    NEVER_RUN,
    PASSING,
    ServiceScenario,
)
from worker.engine import containers
from worker.engine.containers import APPLICATION, DEPLOYMENT
from worker.engine.swarm import services
from worker.engine.swarm.service_spec import TRIAL, ServiceSpec
from worker.engine.swarm.service_state import Service
from worker.jobs.attempt import Attempt, StopReason

HOST = PublishedPort(published_port=8407, target_port=8080, publish_mode="host")


async def trials(scenario: ServiceScenario) -> list[Service]:
    return await services.find(scenario.engine, TRIAL, scenario.application_id)


@pytest.mark.parametrize(
    ("script", "check", "ports"),
    [
        (SERVE, FAILING, (HOST,)),
        ("exit 7", PASSING, (HOST,)),
        ("exit 7", None, ()),
        ("/bin/busybox sleep 0.2; exit 7", None, (HOST,)),
    ],
)
async def test_a_failed_version_keeps_the_previous_one(
    scenario: ServiceScenario,
    script: str,
    check: HealthProbe | None,
    ports: tuple[PublishedPort, ...],
) -> None:
    await scenario.deploy(await scenario.image("1"), ports=ports)
    service, before = await scenario.only(), await scenario.running()

    await scenario.fail(await scenario.image("2", script), health_check=check, ports=ports)

    assert (await scenario.only()).version == service.version
    assert await scenario.is_restored(before)
    assert await trials(scenario) == []


async def test_a_healthy_version_passes_its_trial_and_then_runs_alone(
    scenario: ServiceScenario,
) -> None:
    one, two = await scenario.image("1"), await scenario.image("2")
    await scenario.deploy(one, ports=(HOST,))

    await scenario.deploy(two, ports=(HOST,), health_check=PASSING)

    assert any("running a trial" in piece for piece in scenario.pieces)
    assert await scenario.digests() == [two]
    assert await trials(scenario) == []


async def test_a_start_first_update_runs_no_trial(scenario: ServiceScenario) -> None:
    await scenario.deploy(await scenario.image("1"))

    await scenario.deploy(await scenario.image("2"), health_check=PASSING)

    assert not any("running a trial" in piece for piece in scenario.pieces)


@pytest.mark.parametrize("reason", list(StopReason))
async def test_a_stop_during_a_trial_keeps_the_service_and_no_trial(
    scenario: ServiceScenario, reason: StopReason
) -> None:
    await scenario.deploy(await scenario.image("1"), ports=(HOST,))
    service = await scenario.only()
    attempt = Attempt("job", 1)
    command = scenario.command(await scenario.image("2"), health_check=NEVER_RUN, ports=(HOST,))
    attempt.task = asyncio.create_task(scenario.deploy(command, attempt=attempt))
    await wait_until(partial(is_tried, scenario), seconds=IN_TIME)

    attempt.stop(reason)
    with pytest.raises(asyncio.CancelledError):
        await attempt.task

    assert (await scenario.only()).version == service.version
    assert await trials(scenario) == []


async def is_tried(scenario: ServiceScenario) -> bool:
    tasks = [
        await services.tasks(scenario.engine, trial.service_id) for trial in await trials(scenario)
    ]
    return any(task.state == "starting" for each in tasks for task in each)


async def test_the_next_deployment_removes_the_trial_of_a_dead_worker(
    scenario: ServiceScenario,
) -> None:
    one, two = await scenario.image("1"), await scenario.image("2")
    await scenario.deploy(one)
    dead = scenario.command(two)
    labels = {APPLICATION: dead.application_id, DEPLOYMENT: dead.deployment_id}
    spec = ServiceSpec(scenario.name, dead.target, labels)
    await services.create_trial(scenario.engine, spec, scenario.login, await scenario.only())
    assert len(await trials(scenario)) == 1

    await scenario.deploy(two)

    assert await trials(scenario) == []


async def test_a_trial_whose_task_ended_with_its_engine_continues(
    scenario: ServiceScenario,
) -> None:
    one, two = await scenario.image("1"), await scenario.image("2")
    await scenario.deploy(one, ports=(HOST,))
    command = scenario.command(two, health_check=PASSING, ports=(HOST,))
    labels = {APPLICATION: command.application_id, DEPLOYMENT: command.deployment_id}
    spec = ServiceSpec(scenario.name, command.target, labels, health_check=PASSING)
    await services.create_trial(scenario.engine, spec, scenario.login, await scenario.only())
    await wait_until(partial(is_tried, scenario), seconds=IN_TIME)
    [trial] = await trials(scenario)
    [task] = await services.tasks(scenario.engine, trial.service_id)
    await containers.remove(scenario.engine, task.container_id)
    await wait_until(partial(is_broken, scenario, trial), seconds=IN_TIME)

    await scenario.deploy(command)

    assert await scenario.digests() == [two]
    assert await trials(scenario) == []


async def is_broken(scenario: ServiceScenario, trial: Service) -> bool:
    return any(task.is_broken for task in await services.tasks(scenario.engine, trial.service_id))


async def test_a_failed_trial_reports_its_reason(scenario: ServiceScenario) -> None:
    await scenario.deploy(await scenario.image("1"), ports=(HOST,))

    with pytest.raises(EngineError) as caught:
        await scenario.deploy(await scenario.image("2"), health_check=FAILING, ports=(HOST,))

    assert caught.value.code == FaultCode.CONTAINER_UNHEALTHY
    assert "not well" in caught.value.message
