"""Services that managers, persons or dying Engines disturb while they are replaced."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from shared.errors import EngineError
from shared.faults import FAULTS, FaultCode
from shared.jobs.commands import ServiceReplace
from shared.jobs.containers import PublishedPort
from shared.jobs.results import ServiceResult
from tests.waiting import wait_until
from tests.worker.deployments.services.scenario import (
    FAILING,
    IN_TIME,
    NEVER_RUN,
    PASSING,
    QUICKLY,
    Document,
    ServiceScenario,
    change,
    scale,
)
from worker.engine import containers, images
from worker.engine.containers import APPLICATION, DEPLOYMENT, ContainerSpec
from worker.engine.swarm import services
from worker.engine.swarm.service_spec import TRIAL, ServiceSpec
from worker.jobs.attempt import Attempt

ATTEMPTS = 4
SLOWLY = PASSING.model_copy(update={"interval_seconds": 3})


async def deploy_twice(
    scenario: ServiceScenario, command: ServiceReplace
) -> tuple[ServiceResult | BaseException, ...]:
    """Run the deployment twice at once, as two managers of one Swarm do."""
    both = (scenario.deploy(command), scenario.deploy(command))
    return await asyncio.gather(*both, return_exceptions=True)


def force(document: Document) -> None:
    document["TaskTemplate"]["ForceUpdate"] += 1


async def test_two_managers_of_one_swarm_create_and_change_one_service(
    scenario: ServiceScenario,
) -> None:
    one, two = await scenario.image("1"), await scenario.image("2")

    made = await deploy_twice(scenario, scenario.command(one))
    changed = await deploy_twice(scenario, scenario.command(two, health_check=PASSING))

    assert [type(result) for result in made + changed] == [ServiceResult] * 4
    assert await scenario.digests() == [two]


async def test_two_managers_of_one_swarm_run_one_trial(scenario: ServiceScenario) -> None:
    one, two = await scenario.image("1"), await scenario.image("2")
    await scenario.deploy(one)
    command = scenario.command(two)

    results = await deploy_twice(scenario, command)
    await deploy_until_done(scenario, command)

    for result in results:  # one that misses the other's trial is repeated
        assert isinstance(result, ServiceResult) or is_retryable(result), result
    assert any(isinstance(result, ServiceResult) for result in results)
    assert await scenario.digests() == [two]
    assert await services.find(scenario.engine, TRIAL, scenario.application_id) == []


def is_retryable(error: BaseException) -> bool:
    return isinstance(error, EngineError) and FAULTS[FaultCode(error.code)].retryable


async def test_a_version_that_fails_on_two_managers_keeps_the_previous_one(
    scenario: ServiceScenario,
) -> None:
    one, two = await scenario.image("1"), await scenario.image("2")
    await scenario.deploy(one)
    before = await scenario.running()

    refused = await deploy_twice(scenario, scenario.command(two, health_check=FAILING))

    assert all(isinstance(error, EngineError) for error in refused), refused
    await wait_until(partial(scenario.is_restored, before), seconds=IN_TIME)


async def test_a_first_version_that_fails_on_two_managers_leaves_no_service(
    scenario: ServiceScenario,
) -> None:
    command = scenario.command(await scenario.image("1"), health_check=FAILING)

    refused = await deploy_twice(scenario, command)

    assert all(isinstance(error, EngineError) for error in refused), refused
    assert await services.find(scenario.engine, APPLICATION, scenario.application_id) == []


@pytest.mark.parametrize("replicas", [0, 2])
async def test_a_service_that_is_scaled_meanwhile_is_restored_and_deployed_again(
    scenario: ServiceScenario, replicas: int
) -> None:
    one, two = await scenario.image("1"), await scenario.image("2")
    await scenario.deploy(one)
    command = scenario.command(two, health_check=SLOWLY)
    attempt = Attempt("job", 1)
    await scenario.begin(command, attempt)

    await change(scenario, partial(scale, replicas))
    assert attempt.task is not None
    with pytest.raises(EngineError) as caught:
        await attempt.task

    assert caught.value.code == FaultCode.SERVICE_CHANGED
    assert FAULTS[FaultCode.SERVICE_CHANGED].retryable
    assert await scenario.digests() == [one]
    await scenario.deploy(command, attempt=Attempt("job", 2))
    assert await scenario.digests() == [two]


async def test_a_service_whose_tasks_restart_meanwhile_is_followed(
    scenario: ServiceScenario,
) -> None:
    one, two = await scenario.image("1"), await scenario.image("2")
    await scenario.deploy(one)
    attempt = Attempt("job", 1)
    await scenario.begin(scenario.command(two, health_check=SLOWLY), attempt)

    await change(scenario, force)
    assert attempt.task is not None
    await attempt.task

    assert await scenario.digests() == [two]


async def test_an_engine_that_dies_during_an_update_runs_the_healthy_version_in_the_end(
    scenario: ServiceScenario,
) -> None:
    one, two = await scenario.image("1"), await scenario.image("2")
    await scenario.deploy(one, replicas=2)
    command = scenario.command(two, replicas=2, health_check=SLOWLY)
    attempt = Attempt("job", 1)
    await scenario.begin(command, attempt)
    await wait_until(partial(runs, scenario, two), seconds=IN_TIME)

    scenario.local.kill()
    assert attempt.task is not None
    with pytest.raises(EngineError) as caught:
        await attempt.task
    scenario.local.start_again()
    await deploy_until_done(scenario, command)

    assert caught.value.code == FaultCode.ENGINE_UNREACHABLE
    assert await scenario.digests() == [two, two]


async def test_an_unnoticed_engine_restart_fails_no_healthy_version(
    scenario: ServiceScenario,
) -> None:
    one, two = await scenario.image("1"), await scenario.image("2")
    await scenario.deploy(one)
    command = scenario.command(two, health_check=PASSING)
    attempt = Attempt("job", 1)
    scenario.readiness = replace(QUICKLY, every=timedelta(seconds=2))
    await scenario.begin(command, attempt)
    await wait_until(partial(runs, scenario, two), seconds=IN_TIME)
    assert attempt.task is not None

    # The attempt cannot observe this, as it runs in the same loop.
    scenario.local.kill()
    scenario.local.start_again()
    try:
        await attempt.task
    except EngineError as error:
        if not is_retryable(error):
            raise
        await deploy_until_done(scenario, command)

    assert await scenario.digests() == [two]


async def runs(scenario: ServiceScenario, image: str) -> bool:
    return image in await scenario.digests()


async def deploy_until_done(scenario: ServiceScenario, command: ServiceReplace) -> None:
    """Deploy like a job: repeat after retryable errors."""
    for number in range(2, ATTEMPTS + 1):
        try:
            await scenario.deploy(command, attempt=Attempt("job", number))
        except EngineError as error:
            if not is_retryable(error) or number == ATTEMPTS:
                raise
        else:
            return


@pytest.mark.parametrize("mode", ["ingress", "host"])
async def test_a_port_that_a_container_uses_is_named_before_anything_stops(
    scenario: ServiceScenario, mode: str
) -> None:
    one = await scenario.image("1")
    ours, theirs = (
        PublishedPort.model_validate(
            {"published_port": port, "target_port": 8080, "publish_mode": mode}
        )
        for port in (8405, 8406)
    )
    await scenario.deploy(one, ports=(ours,))
    before = await scenario.running()
    image = await images.inspect(scenario.engine, one)
    spec = ContainerSpec(image.image_id, {}, ports=(theirs,))
    container_id = await containers.create(scenario.engine, "foreign", spec)
    await containers.start(scenario.engine, container_id)

    error = await scenario.fail(await scenario.image("2"), ports=(theirs,))
    await containers.remove(scenario.engine, container_id)

    assert error.code == FaultCode.PORT_TAKEN
    assert await scenario.is_restored(before)


async def test_two_services_with_the_application_s_label_are_not_touched(
    scenario: ServiceScenario,
) -> None:
    one = await scenario.image("1")
    await scenario.deploy(one)
    labels = {APPLICATION: scenario.application_id, DEPLOYMENT: "another"}
    theirs = ServiceSpec(f"{scenario.name}-two", scenario.command(one).target, labels)
    await services.create(scenario.engine, theirs, scenario.login)

    error = await scenario.fail(await scenario.image("2"))

    assert error.code == FaultCode.NAME_TAKEN
    assert theirs.name in error.message


async def test_a_service_that_a_person_changed_after_a_worker_died_is_not_restored(
    scenario: ServiceScenario,
) -> None:
    """The previous spec is this deployment's own, so the version before it is unknown."""
    one, two = await scenario.image("1"), await scenario.image("2")
    await scenario.deploy(one)
    command = scenario.command(two, health_check=NEVER_RUN)
    attempt = Attempt("job", 1)
    await scenario.begin(command, attempt)
    await change(scenario, partial(scale, 2))
    service = await scenario.only()

    with pytest.raises(EngineError) as caught:
        await services.restore(scenario.engine, service.service_id, command.deployment_id, None)

    assert caught.value.code == FaultCode.RESTORE_FAILED
    assert attempt.task is not None
    with pytest.raises(EngineError):
        await attempt.task
    assert await scenario.digests() == [one]
