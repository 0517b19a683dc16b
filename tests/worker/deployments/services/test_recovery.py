"""Services that a deployment has begun to change and nobody has finished."""

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from shared.errors import EngineError
from shared.faults import FaultCode
from shared.jobs.commands import PublishedPort, ServiceReplace
from tests.waiting import wait_until
from tests.worker.deployments.services.yard import ILL, IN_PLACE, NEVER, Yard, change, scale
from worker.deployments.recovery import Unfinished
from worker.engine.containers import APPLICATION, DEPLOYMENT
from worker.engine.swarm import services
from worker.engine.swarm.service_spec import TRIAL, ServiceSpec
from worker.jobs.attempt import Attempt, Why

JOB = "job"


async def begin_and_die(yard: Yard, **changes: Any) -> ServiceReplace:
    """A version that is never healthy is begun; who waits for it has to let go."""
    command = yard.command(await yard.image("2"), health_check=NEVER, **changes)
    attempt = Attempt(JOB, 1)
    await yard.begin(command, attempt)
    attempt.stop(Why.LEASE_LOST)
    with pytest.raises(asyncio.CancelledError):
        await attempt.task  # type: ignore[misc]
    return command


def next_worker(yard: Yard, *, ended: bool = True) -> Unfinished:
    """That of the worker after it, which is told that the job has ended, or is not."""
    unfinished = Unfinished(yard.engine, yard.tools.unfinished.path)
    unfinished.have_ended([JOB] if ended else [])
    return unfinished


async def put_right(unfinished: Unfinished) -> None:
    """As it does by and by, until the notes are dropped."""
    await unfinished.put_right()
    await unfinished.put_right()


async def has_no_service(yard: Yard) -> bool:
    return not await services.find(yard.engine, APPLICATION, yard.application_id)


async def test_what_a_dead_worker_began_is_put_back_by_the_next_one(yard: Yard) -> None:
    await yard.deploy(await yard.image("1"))
    before = await yard.running()
    await begin_and_die(yard)

    await put_right(next_worker(yard))

    assert (await yard.only()).image == before[0].image
    await wait_until(partial(yard.is_back, before), seconds=IN_PLACE)
    assert not next_worker(yard).begun


async def test_a_first_version_that_a_dead_worker_began_is_removed(yard: Yard) -> None:
    await begin_and_die(yard)

    await put_right(next_worker(yard))

    assert await has_no_service(yard)
    assert not next_worker(yard).begun


async def try_out(yard: Yard, one: str, deployment_id: str) -> None:
    labels = {APPLICATION: yard.application_id, DEPLOYMENT: deployment_id}
    spec = ServiceSpec(f"{yard.name}-{deployment_id}", yard.command(one).target, labels)
    await services.create_trial(yard.engine, spec, yard.login, await yard.only())


async def test_what_a_dead_worker_tried_out_is_removed_and_nothing_else(yard: Yard) -> None:
    one = await yard.image("1")
    await yard.deploy(one)
    before = await yard.running()
    await try_out(yard, one, "died")
    await try_out(yard, one, "of-another-manager")
    yard.tools.unfinished.note(yard.command(one, deployment_id="died"), JOB)

    await put_right(next_worker(yard))

    [left] = await services.find(yard.engine, TRIAL, yard.application_id)
    await services.remove(yard.engine, left.service_id)
    assert left.deployment == "of-another-manager"
    assert await yard.is_back(before)


async def test_what_there_will_be_another_attempt_at_is_left_to_it(yard: Yard) -> None:
    await yard.deploy(await yard.image("1"))
    command = await begin_and_die(yard)

    await put_right(next_worker(yard, ended=False))

    assert (await yard.only()).deployment == command.deployment_id
    assert next_worker(yard).begun


async def test_what_a_dead_worker_began_is_put_back_before_the_next_deployment(
    yard: Yard,
) -> None:
    await yard.deploy(await yard.image("1"))
    before = await yard.running()
    await begin_and_die(yard)

    await yard.fail(await yard.image("3"), health_check=ILL)

    assert (await yard.only()).image == before[0].image
    assert not next_worker(yard).begun


async def test_what_an_attempt_works_at_is_left_to_it(yard: Yard) -> None:
    await yard.deploy(await yard.image("1"))
    yard.tools = replace(yard.tools, unfinished=next_worker(yard))
    command = yard.command(await yard.image("2"), health_check=NEVER)
    attempt = Attempt("job", 1)
    await yard.begin(command, attempt)

    await yard.tools.unfinished.put_right()

    assert (await yard.only()).deployment == command.deployment_id
    attempt.stop(Why.CANCELLED)
    with pytest.raises(asyncio.CancelledError):
        await attempt.task  # type: ignore[misc]


async def test_what_has_ended_well_or_was_put_back_leaves_no_note(yard: Yard) -> None:
    await yard.deploy(await yard.image("1"))
    after_success = next_worker(yard).begun

    await yard.fail(await yard.image("2"), health_check=ILL)

    assert after_success == next_worker(yard).begun == {}


async def test_a_cancel_while_a_frozen_engine_is_asked_to_change_it_says_what_is_left(
    yard: Yard,
) -> None:
    await yard.deploy(await yard.image("1"))
    attempt = Attempt(JOB, 1)
    command = yard.command(await yard.image("2"), health_check=NEVER)
    attempt.task = asyncio.create_task(yard.deploy(command, attempt=attempt))
    await wait_until(lambda: any("changing the service" in piece for piece in yard.pieces))

    yard.local.freeze()
    attempt.stop(Why.CANCELLED)
    with pytest.raises(EngineError) as caught:
        await attempt.task
    yard.local.thaw()

    assert caught.value.code == FaultCode.NOT_PUT_BACK
    assert attempt.is_too_late


async def test_what_cannot_be_put_back_keeps_no_other_version_from_running(yard: Yard) -> None:
    was, is_now, will_be = 8351, 8352, 8353
    one, three = await yard.image("1"), await yard.image("3")
    await yard.deploy(one, ports=published(was))
    await begin_and_die(yard, ports=published(is_now))
    taking = ServiceSpec(f"stranger-of-{yard.name}", yard.command(one).target, {})
    stranger = await services.create(yard.engine, replace(taking, ports=published(was)), yard.login)

    try:
        await yard.deploy(three, ports=published(will_be))
    finally:
        await services.remove(yard.engine, stranger)

    assert (await yard.only()).image.endswith(three.partition("@")[2])
    assert not next_worker(yard).begun


def published(port: int) -> tuple[PublishedPort, ...]:
    return (PublishedPort(published_port=port, target_port=8080),)


async def test_a_cancel_while_the_engine_is_frozen_is_put_right_when_it_answers(yard: Yard) -> None:
    await yard.deploy(await yard.image("1"))
    before = await yard.running()
    attempt = Attempt("job", 1)
    await yard.begin(yard.command(await yard.image("2"), health_check=NEVER), attempt)

    yard.local.freeze()
    attempt.stop(Why.CANCELLED)
    with pytest.raises(EngineError) as caught:
        await attempt.task  # type: ignore[misc]
    yard.local.thaw()
    await put_right(next_worker(yard))

    assert caught.value.code == FaultCode.NOT_PUT_BACK
    assert attempt.is_too_late
    await wait_until(partial(yard.is_back, before), seconds=IN_PLACE)


async def test_what_a_person_changed_since_is_left_as_it_is(yard: Yard) -> None:
    await yard.deploy(await yard.image("1"))
    command = await begin_and_die(yard)
    await change(yard, partial(scale, 2))

    await put_right(next_worker(yard))

    assert (await yard.only()).deployment == command.deployment_id
    assert not next_worker(yard).begun
