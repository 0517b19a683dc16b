"""Services that a deployment has begun to change and nobody has finished."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from shared.errors import EngineError
from shared.faults import FaultCode
from shared.jobs.commands import ServiceReplace
from tests.server.handlers.services.yard import ILL, IN_PLACE, NEVER, Yard, change, scale
from tests.waiting import wait_until
from worker.engine import services
from worker.engine.containers import APPLICATION, DEPLOYMENT
from worker.engine.service_spec import TRIAL, ServiceSpec
from worker.server.attempt import Attempt, Why
from worker.server.handlers.unfinished import Unfinished

NOW = timedelta()


async def begin_and_die(yard: Yard) -> ServiceReplace:
    """A version that is never healthy is begun; who waits for it has to let go."""
    command = yard.command(await yard.image("2"), health_check=NEVER)
    attempt = Attempt("job", 1)
    await yard.begin(command, attempt)
    attempt.stop(Why.LEASE_LOST)
    with pytest.raises(asyncio.CancelledError):
        await attempt.task  # type: ignore[misc]
    return command


def next_worker(yard: Yard, *, grace: timedelta = NOW) -> Unfinished:
    return Unfinished(yard.engine, yard.tools.unfinished.path, grace)


async def has_no_service(yard: Yard) -> bool:
    return not await services.find(yard.engine, APPLICATION, yard.application_id)


async def test_what_a_dead_worker_began_is_put_back_by_the_next_one(yard: Yard) -> None:
    await yard.deploy(await yard.image("1"))
    before = await yard.running()
    await begin_and_die(yard)

    await next_worker(yard).put_right()

    assert (await yard.only()).image == before[0].image
    await wait_until(partial(yard.is_back, before), seconds=IN_PLACE)
    assert not next_worker(yard).begun


async def test_a_first_version_that_a_dead_worker_began_is_removed(yard: Yard) -> None:
    await begin_and_die(yard)

    await next_worker(yard).put_right()

    assert await has_no_service(yard)
    assert not next_worker(yard).begun


async def test_what_a_dead_worker_tried_out_is_removed(yard: Yard) -> None:
    one = await yard.image("1")
    await yard.deploy(one)
    before = await yard.running()
    labels = {APPLICATION: yard.application_id, DEPLOYMENT: "died"}
    spec = ServiceSpec(yard.name, yard.command(one).target, labels)
    await services.create_trial(yard.engine, spec, yard.login, await yard.only())
    yard.tools.unfinished.note(yard.application_id, "died")

    await next_worker(yard).put_right()

    assert not await services.find(yard.engine, TRIAL, yard.application_id)
    assert await yard.is_back(before)


async def test_another_attempt_has_its_time_to_go_on(yard: Yard) -> None:
    await yard.deploy(await yard.image("1"))
    command = await begin_and_die(yard)

    await next_worker(yard, grace=timedelta(minutes=1)).put_right()

    assert (await yard.only()).deployment == command.deployment_id


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
    await next_worker(yard).put_right()

    assert caught.value.code == FaultCode.NOT_PUT_BACK
    assert attempt.is_too_late
    await wait_until(partial(yard.is_back, before), seconds=IN_PLACE)


async def test_what_a_person_changed_since_is_left_as_it_is(yard: Yard) -> None:
    await yard.deploy(await yard.image("1"))
    command = await begin_and_die(yard)
    await change(yard, partial(scale, 2))

    await next_worker(yard).put_right()

    assert (await yard.only()).deployment == command.deployment_id
    assert not next_worker(yard).begun
