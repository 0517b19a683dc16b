"""Containers that a deployment has begun to replace and nobody has finished."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from shared.errors import EngineError
from shared.faults import FaultCode
from tests.server.handlers.containers.yard import (
    WELL,
    Yard,
    answer,
    is_called,
    is_starting,
)
from tests.waiting import wait_until
from worker.engine import containers
from worker.engine.containers import Container
from worker.server.attempt import Why


async def test_what_a_dead_worker_left_is_put_right_at_the_next_start(yard: Yard) -> None:
    await yard.deploy(await yard.serving("1"))
    kept = await yard.only()
    await containers.stop(yard.engine, kept.container_id)
    await containers.rename(yard.engine, kept.container_id, f"{yard.name}.old")
    await yard.leave(await yard.serving("2"), f"{yard.name}.new")

    await yard.tools.unfinished.put_right()

    assert (await yard.only()).container_id == kept.container_id


async def switch_and_die(yard: Yard) -> Container:
    """What ran before, by the way from the switch to its end; its deployment is noted."""
    await yard.deploy(await yard.serving("1"))
    kept = await yard.only()
    await containers.rename(yard.engine, kept.container_id, f"{yard.name}.old")
    await containers.stop(yard.engine, kept.container_id)
    await yard.leave(await yard.serving("2"), yard.name)
    yard.tools.unfinished.note(f"id-of-{yard.name}", "died")
    return kept


async def test_a_switch_that_nobody_finished_is_undone(yard: Yard) -> None:
    kept = await switch_and_die(yard)
    unfinished = replace(yard.tools.unfinished, grace=timedelta())

    await unfinished.put_right()

    assert (await yard.only()).container_id == kept.container_id
    assert not unfinished.begun


async def test_a_switch_is_left_to_another_attempt_for_a_while(yard: Yard) -> None:
    await switch_and_die(yard)
    before = sorted(found.name for found in await yard.found())

    await replace(yard.tools.unfinished, grace=timedelta(minutes=1)).put_right()

    assert sorted(found.name for found in await yard.found()) == before


async def test_another_attempt_finishes_the_switch(yard: Yard) -> None:
    await switch_and_die(yard)

    result = await yard.deploy(await yard.serving("2"), deployment_id="died")

    assert (await yard.only()).container_id == result.container_id
    assert not yard.tools.unfinished.begun


async def test_a_switch_that_nobody_finished_is_undone_before_the_next_deployment(
    yard: Yard,
) -> None:
    kept = await switch_and_die(yard)

    await yard.fail(await yard.image("3", "exit 7"))

    assert (await yard.only()).container_id == kept.container_id


async def test_a_deployment_leaves_no_note(yard: Yard) -> None:
    await yard.deploy(await yard.serving("1"))

    await yard.deploy(await yard.serving("2"))

    assert not yard.tools.unfinished.begun


async def test_what_is_left_behind_is_put_right_while_the_worker_runs(yard: Yard) -> None:
    await yard.deploy(await yard.serving("1"))
    kept = await yard.only()
    await containers.rename(yard.engine, kept.container_id, f"{yard.name}.old")
    unfinished = replace(yard.tools.unfinished, every=timedelta(milliseconds=50))

    async with unfinished.watching():
        await wait_until(partial(is_called, yard, yard.name))

    assert (await yard.only()).container_id == kept.container_id


async def test_what_an_attempt_works_at_is_not_put_right(yard: Yard) -> None:
    await yard.deploy(await yard.serving("1"))
    slow = WELL.model_copy(update={"interval_seconds": 2})
    second = yard.deploy(await yard.serving("2"), health_check=slow)
    deploying = asyncio.create_task(second)
    await wait_until(partial(is_starting, yard))

    await yard.tools.unfinished.put_right()

    result = await deploying
    assert (await yard.only()).container_id == result.container_id


async def test_a_cancel_while_the_engine_is_frozen_is_put_right_when_it_answers(yard: Yard) -> None:
    before, attempt = await yard.begin_to_end("1", 8309)

    yard.local.freeze()
    attempt.stop(Why.CANCELLED)
    with pytest.raises(EngineError) as caught:
        await attempt.task  # type: ignore[misc]
    yard.local.thaw()
    await yard.tools.unfinished.put_right()

    assert caught.value.code == FaultCode.NOT_PUT_BACK
    assert attempt.is_too_late
    assert (await yard.only()).container_id == before.container_id
    await wait_until(lambda: answer((yard.local.address, 8309)) == "1")


async def test_a_note_of_a_service_is_forgotten_where_there_is_no_swarm(yard: Yard) -> None:
    unfinished = replace(yard.tools.unfinished, grace=timedelta())
    unfinished.note("app", "deployment")

    await unfinished.put_right()

    assert not unfinished.begun
