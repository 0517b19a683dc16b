"""What is tried out before anything ends: where a Swarm would end what runs too early."""

import asyncio
from functools import partial

import pytest

from shared.errors import EngineError
from shared.faults import FaultCode
from shared.jobs.commands import HealthProbe, PublishedPort
from tests.waiting import wait_until
from tests.worker.deployments.containers.yard import SERVE
from tests.worker.deployments.services.yard import ILL, IN_PLACE, NEVER, WELL, Yard
from worker.engine import containers
from worker.engine.containers import APPLICATION, DEPLOYMENT
from worker.engine.swarm import services
from worker.engine.swarm.service_spec import TRIAL, ServiceSpec
from worker.engine.swarm.service_state import Service
from worker.jobs.attempt import Attempt, Why

HOST = PublishedPort(published_port=8407, target_port=8080, publish_mode="host")


async def trials(yard: Yard) -> list[Service]:
    return await services.find(yard.engine, TRIAL, yard.application_id)


@pytest.mark.parametrize(
    ("script", "check", "ports"),
    [
        (SERVE, ILL, (HOST,)),
        ("exit 7", WELL, (HOST,)),
        ("exit 7", None, ()),
        ("/bin/busybox sleep 0.2; exit 7", None, (HOST,)),
    ],
)
async def test_a_refused_version_leaves_the_one_before_as_it_is(
    yard: Yard, script: str, check: HealthProbe | None, ports: tuple[PublishedPort, ...]
) -> None:
    await yard.deploy(await yard.image("1"), ports=ports)
    service, before = await yard.only(), await yard.running()

    await yard.fail(await yard.image("2", script), health_check=check, ports=ports)

    assert (await yard.only()).version == service.version
    assert await yard.is_back(before)
    assert await trials(yard) == []


async def test_a_good_version_is_tried_out_and_then_the_only_one(yard: Yard) -> None:
    one, two = await yard.image("1"), await yard.image("2")
    await yard.deploy(one, ports=(HOST,))

    await yard.deploy(two, ports=(HOST,), health_check=WELL)

    assert any("trying it out" in piece for piece in yard.pieces)
    assert await yard.digests() == [two]
    assert await trials(yard) == []


async def test_what_a_swarm_starts_before_it_ends_anything_is_not_tried_out(yard: Yard) -> None:
    await yard.deploy(await yard.image("1"))

    await yard.deploy(await yard.image("2"), health_check=WELL)

    assert not any("trying it out" in piece for piece in yard.pieces)


@pytest.mark.parametrize("why", list(Why))
async def test_a_stop_while_it_is_tried_out_leaves_what_runs_and_no_trial(
    yard: Yard, why: Why
) -> None:
    await yard.deploy(await yard.image("1"), ports=(HOST,))
    service = await yard.only()
    attempt = Attempt("job", 1)
    command = yard.command(await yard.image("2"), health_check=NEVER, ports=(HOST,))
    attempt.task = asyncio.create_task(yard.deploy(command, attempt=attempt))
    await wait_until(partial(is_tried, yard), seconds=IN_PLACE)

    attempt.stop(why)
    with pytest.raises(asyncio.CancelledError):
        await attempt.task

    assert (await yard.only()).version == service.version
    assert await trials(yard) == []


async def is_tried(yard: Yard) -> bool:
    tasks = [await services.tasks(yard.engine, trial.service_id) for trial in await trials(yard)]
    return any(task.state == "starting" for each in tasks for task in each)


async def test_a_trial_that_a_dead_worker_left_is_removed_by_the_next_deployment(
    yard: Yard,
) -> None:
    one, two = await yard.image("1"), await yard.image("2")
    await yard.deploy(one)
    dead = yard.command(two)
    labels = {APPLICATION: dead.application_id, DEPLOYMENT: dead.deployment_id}
    spec = ServiceSpec(yard.name, dead.target, labels)
    await services.create_trial(yard.engine, spec, yard.login, await yard.only())
    assert len(await trials(yard)) == 1

    await yard.deploy(two)

    assert await trials(yard) == []


async def test_a_trial_whose_task_ended_with_its_engine_is_tried_on(yard: Yard) -> None:
    one, two = await yard.image("1"), await yard.image("2")
    await yard.deploy(one, ports=(HOST,))
    command = yard.command(two, health_check=WELL, ports=(HOST,))
    labels = {APPLICATION: command.application_id, DEPLOYMENT: command.deployment_id}
    spec = ServiceSpec(yard.name, command.target, labels, health_check=WELL)
    await services.create_trial(yard.engine, spec, yard.login, await yard.only())
    await wait_until(partial(is_tried, yard), seconds=IN_PLACE)
    [trial] = await trials(yard)
    [task] = await services.tasks(yard.engine, trial.service_id)
    await containers.remove(yard.engine, task.container_id)
    await wait_until(partial(is_broken, yard, trial), seconds=IN_PLACE)

    await yard.deploy(command)

    assert await yard.digests() == [two]
    assert await trials(yard) == []


async def is_broken(yard: Yard, trial: Service) -> bool:
    return any(task.is_broken for task in await services.tasks(yard.engine, trial.service_id))


async def test_a_version_that_is_refused_says_why_as_always(yard: Yard) -> None:
    await yard.deploy(await yard.image("1"), ports=(HOST,))

    with pytest.raises(EngineError) as caught:
        await yard.deploy(await yard.image("2"), health_check=ILL, ports=(HOST,))

    assert caught.value.code == FaultCode.CONTAINER_UNHEALTHY
    assert "not well" in caught.value.message
