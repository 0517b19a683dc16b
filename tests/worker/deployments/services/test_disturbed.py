"""Services that others touch while they are replaced: managers, persons, dying Engines."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from shared.errors import EngineError
from shared.faults import FAULTS, FaultCode
from shared.jobs.commands import PublishedPort, ServiceReplace
from shared.jobs.results import ServiceResult
from tests.waiting import wait_until
from tests.worker.deployments.services.yard import (
    ILL,
    IN_PLACE,
    NEVER,
    SOON,
    WELL,
    Document,
    Yard,
    change,
    scale,
)
from worker.engine import containers, images
from worker.engine.containers import APPLICATION, DEPLOYMENT, ContainerSpec
from worker.engine.swarm import services
from worker.engine.swarm.service_spec import TRIAL, ServiceSpec
from worker.jobs.attempt import Attempt

ATTEMPTS = 4
SLOWLY = WELL.model_copy(update={"interval_seconds": 3})


async def deploy_twice(
    yard: Yard, command: ServiceReplace
) -> tuple[ServiceResult | BaseException, ...]:
    """As two managers of one Swarm do that are both servers of the application."""
    both = (yard.deploy(command), yard.deploy(command))
    return await asyncio.gather(*both, return_exceptions=True)


def force(document: Document) -> None:
    document["TaskTemplate"]["ForceUpdate"] += 1


async def test_two_managers_of_one_swarm_make_and_change_one_service(yard: Yard) -> None:
    one, two = await yard.image("1"), await yard.image("2")

    made = await deploy_twice(yard, yard.command(one))
    changed = await deploy_twice(yard, yard.command(two, health_check=WELL))

    assert [type(result) for result in made + changed] == [ServiceResult] * 4
    assert await yard.digests() == [two]


async def test_two_managers_of_one_swarm_try_it_out_once(yard: Yard) -> None:
    one, two = await yard.image("1"), await yard.image("2")
    await yard.deploy(one)
    command = yard.command(two)

    results = await deploy_twice(yard, command)
    await deploy_until_done(yard, command)

    for result in results:  # who sees the other's trial gone before its change tries again
        assert isinstance(result, ServiceResult) or is_retryable(result), result
    assert any(isinstance(result, ServiceResult) for result in results)
    assert await yard.digests() == [two]
    assert await services.find(yard.engine, TRIAL, yard.application_id) == []


def is_retryable(error: BaseException) -> bool:
    return isinstance(error, EngineError) and FAULTS[FaultCode(error.code)].retryable


async def test_what_two_managers_refuse_leaves_what_ran_before(yard: Yard) -> None:
    one, two = await yard.image("1"), await yard.image("2")
    await yard.deploy(one)
    before = await yard.running()

    refused = await deploy_twice(yard, yard.command(two, health_check=ILL))

    assert all(isinstance(error, EngineError) for error in refused), refused
    await wait_until(partial(yard.is_back, before), seconds=IN_PLACE)


async def test_a_first_version_that_two_managers_refuse_leaves_no_service(yard: Yard) -> None:
    command = yard.command(await yard.image("1"), health_check=ILL)

    refused = await deploy_twice(yard, command)

    assert all(isinstance(error, EngineError) for error in refused), refused
    assert await services.find(yard.engine, APPLICATION, yard.application_id) == []


@pytest.mark.parametrize("replicas", [0, 2])
async def test_a_service_that_is_scaled_meanwhile_is_put_back_and_tried_again(
    yard: Yard, replicas: int
) -> None:
    one, two = await yard.image("1"), await yard.image("2")
    await yard.deploy(one)
    command = yard.command(two, health_check=SLOWLY)
    attempt = Attempt("job", 1)
    await yard.begin(command, attempt)

    await change(yard, partial(scale, replicas))
    assert attempt.task is not None
    with pytest.raises(EngineError) as caught:
        await attempt.task

    assert caught.value.code == FaultCode.SERVICE_CHANGED
    assert FAULTS[FaultCode.SERVICE_CHANGED].retryable
    assert await yard.digests() == [one]
    await yard.deploy(command, attempt=Attempt("job", 2))
    assert await yard.digests() == [two]


async def test_a_service_whose_tasks_are_started_anew_meanwhile_is_followed(yard: Yard) -> None:
    one, two = await yard.image("1"), await yard.image("2")
    await yard.deploy(one)
    attempt = Attempt("job", 1)
    await yard.begin(yard.command(two, health_check=SLOWLY), attempt)

    await change(yard, force)
    assert attempt.task is not None
    await attempt.task

    assert await yard.digests() == [two]


async def test_an_engine_that_dies_while_it_changes_to_a_good_version_runs_it_in_the_end(
    yard: Yard,
) -> None:
    one, two = await yard.image("1"), await yard.image("2")
    await yard.deploy(one, replicas=2)
    command = yard.command(two, replicas=2, health_check=SLOWLY)
    attempt = Attempt("job", 1)
    await yard.begin(command, attempt)
    await wait_until(partial(runs, yard, two), seconds=IN_PLACE)

    yard.local.kill()
    assert attempt.task is not None
    with pytest.raises(EngineError) as caught:
        await attempt.task
    yard.local.start_again()
    await deploy_until_done(yard, command)

    assert caught.value.code == FaultCode.ENGINE_UNREACHABLE
    assert await yard.digests() == [two, two]


async def test_an_engine_that_starts_again_unnoticed_refuses_no_good_version(yard: Yard) -> None:
    one, two = await yard.image("1"), await yard.image("2")
    await yard.deploy(one)
    command = yard.command(two, health_check=WELL)
    attempt = Attempt("job", 1)
    yard.gate = replace(SOON, every=timedelta(seconds=2))
    await yard.begin(command, attempt)
    await wait_until(partial(runs, yard, two), seconds=IN_PLACE)
    assert attempt.task is not None

    # Nobody looks meanwhile: this is the loop that the attempt runs in.
    yard.local.kill()
    yard.local.start_again()
    try:
        await attempt.task
    except EngineError as error:
        if not is_retryable(error):
            raise
        await deploy_until_done(yard, command)

    assert await yard.digests() == [two]


async def runs(yard: Yard, image: str) -> bool:
    return image in await yard.digests()


async def deploy_until_done(yard: Yard, command: ServiceReplace) -> None:
    """As a job does: again after what may pass."""
    for number in range(2, ATTEMPTS + 1):
        try:
            await yard.deploy(command, attempt=Attempt("job", number))
        except EngineError as error:
            if not is_retryable(error) or number == ATTEMPTS:
                raise
        else:
            return


@pytest.mark.parametrize("mode", ["ingress", "host"])
async def test_a_port_that_a_container_has_is_named_before_anything_ends(
    yard: Yard, mode: str
) -> None:
    one = await yard.image("1")
    ours, theirs = (
        PublishedPort.model_validate(
            {"published_port": port, "target_port": 8080, "publish_mode": mode}
        )
        for port in (8405, 8406)
    )
    await yard.deploy(one, ports=(ours,))
    before = await yard.running()
    image = await images.inspect(yard.engine, one)
    spec = ContainerSpec(image.image_id, {}, ports=(theirs,))
    container_id = await containers.create(yard.engine, "stranger", spec)
    await containers.start(yard.engine, container_id)

    error = await yard.fail(await yard.image("2"), ports=(theirs,))
    await containers.remove(yard.engine, container_id)

    assert error.code == FaultCode.PORT_TAKEN
    assert await yard.is_back(before)


async def test_two_services_that_say_they_are_the_application_s_are_left_alone(yard: Yard) -> None:
    one = await yard.image("1")
    await yard.deploy(one)
    labels = {APPLICATION: yard.application_id, DEPLOYMENT: "another"}
    theirs = ServiceSpec(f"{yard.name}-two", yard.command(one).target, labels)
    await services.create(yard.engine, theirs, yard.login)

    error = await yard.fail(await yard.image("2"))

    assert error.code == FaultCode.NAME_TAKEN
    assert theirs.name in error.message


async def test_what_somebody_changed_after_a_worker_died_is_not_guessed(yard: Yard) -> None:
    """Its previous spec is this deployment's own; what ran before is known to nobody."""
    one, two = await yard.image("1"), await yard.image("2")
    await yard.deploy(one)
    command = yard.command(two, health_check=NEVER)
    attempt = Attempt("job", 1)
    await yard.begin(command, attempt)
    await change(yard, partial(scale, 2))
    service = await yard.only()

    with pytest.raises(EngineError) as caught:
        await services.restore(yard.engine, service.service_id, command.deployment_id, None)

    assert caught.value.code == FaultCode.NOT_PUT_BACK
    assert attempt.task is not None
    with pytest.raises(EngineError):
        await attempt.task
    assert await yard.digests() == [one]
