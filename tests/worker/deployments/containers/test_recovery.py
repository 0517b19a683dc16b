"""Containers that a deployment has begun to replace and nobody has finished."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from shared.errors import EngineError, SetupError
from shared.faults import FaultCode
from shared.jobs.commands import ContainerReplace, HealthProbe, PublishedPort, ServiceReplace
from tests.waiting import wait_until
from tests.worker.deployments.containers.yard import (
    ILL,
    SERVE,
    WELL,
    Yard,
    answer,
    is_called,
    is_starting,
)
from worker.deployments.recovery import Unfinished
from worker.deployments.targets import Before
from worker.engine import containers
from worker.engine.containers import Container
from worker.jobs.attempt import Attempt, Why

JOB = "job"
RAN = Before(ran=True)


def died(yard: Yard, **changes: Any) -> ContainerReplace:
    """The deployment that nobody finished."""
    return yard.command("", deployment_id="died", **changes)


def next_worker(yard: Yard) -> Unfinished:
    return Unfinished(yard.engine, yard.tools.unfinished.path)


async def switch_and_die(yard: Yard, health_check: HealthProbe | None = None) -> Container:
    """What ran before, by the way from the switch to its end; its deployment is noted."""
    await yard.deploy(await yard.serving("1"))
    kept = await yard.only()
    await containers.rename(yard.engine, kept.container_id, f"{yard.name}.old")
    await containers.stop(yard.engine, kept.container_id)
    await yard.leave(await yard.serving("2"), yard.name, health_check)
    yard.tools.unfinished.note(died(yard), JOB, before=RAN)
    return kept


async def die_before_the_switch(yard: Yard) -> Container:
    """What ran before and was stopped, beside what is to take its place."""
    await yard.deploy(await yard.serving("1"))
    kept = await yard.only()
    await containers.stop(yard.engine, kept.container_id)
    await yard.leave(await yard.serving("2"), f"{yard.name}.new")
    yard.tools.unfinished.note(died(yard), JOB, before=RAN)
    return kept


def ending(container: Container) -> Before:
    """It ran, and was asked to end."""
    return Before(ran=True, ended_run=container.started_at)


async def put_right(unfinished: Unfinished) -> None:
    """As it does by and by, until the notes are dropped."""
    await unfinished.put_right()
    await unfinished.put_right()


SLOW_TO_END = SERVE.replace("'exit 0'", "'echo ending; /bin/busybox sleep 3; exit 0'")


async def is_ending(yard: Yard, container: Container) -> bool:
    return "ending" in await containers.last_lines(yard.engine, container.container_id)


async def require_still_running(yard: Yard, kept: Container) -> None:
    """Also when what was asked to end would have done so."""
    until = time.monotonic() + 4
    while time.monotonic() < until:
        assert (await yard.only()).container_id == kept.container_id
        await asyncio.sleep(0.1)


async def names(yard: Yard) -> list[str]:
    return sorted(found.name for found in await yard.found())


async def test_what_was_not_switched_is_put_right_by_the_next_worker(yard: Yard) -> None:
    kept = await die_before_the_switch(yard)

    await put_right(next_worker(yard))

    assert (await yard.only()).container_id == kept.container_id
    assert not next_worker(yard).begun


async def test_a_switch_is_undone_once_its_job_has_ended(yard: Yard) -> None:
    kept = await switch_and_die(yard)
    unfinished = next_worker(yard)

    await unfinished.put_right()
    before = await names(yard)
    unfinished.have_ended(unfinished.job_ids())
    await put_right(unfinished)

    assert before == sorted([yard.name, f"{yard.name}.old"])
    assert (await yard.only()).container_id == kept.container_id
    assert not next_worker(yard).begun


async def test_a_switch_to_what_does_not_run_is_undone_at_once(yard: Yard) -> None:
    kept = await switch_and_die(yard)
    await containers.stop(yard.engine, yard.name)

    await next_worker(yard).put_right()

    assert (await yard.only()).container_id == kept.container_id


async def test_another_attempt_finishes_the_switch(yard: Yard) -> None:
    await switch_and_die(yard)

    result = await yard.deploy(await yard.serving("2"), deployment_id="died")

    assert (await yard.only()).container_id == result.container_id
    assert not yard.tools.unfinished.begun


async def test_what_is_ill_when_another_attempt_looks_at_it_is_switched_back(yard: Yard) -> None:
    kept = await switch_and_die(yard, ILL)

    error = await yard.fail(await yard.serving("2"), deployment_id="died")

    assert error.code == FaultCode.CONTAINER_UNHEALTHY
    assert (await yard.only()).container_id == kept.container_id
    assert not yard.tools.unfinished.begun


async def test_a_cancel_while_another_attempt_looks_at_it_switches_back(yard: Yard) -> None:
    kept = await switch_and_die(yard, WELL.model_copy(update={"interval_seconds": 3600}))
    attempt = Attempt(JOB, 2)
    again = yard.command(await yard.serving("2"), deployment_id="died")
    attempt.task = asyncio.create_task(yard.deploy(again, attempt=attempt))
    await wait_until(lambda: any("switched already" in piece for piece in yard.pieces))

    attempt.stop(Why.CANCELLED)
    with pytest.raises(asyncio.CancelledError):
        await attempt.task

    assert (await yard.only()).container_id == kept.container_id


async def test_a_first_version_that_is_ill_when_another_attempt_looks_at_it_is_removed(
    yard: Yard,
) -> None:
    await yard.leave(await yard.serving("1"), yard.name, ILL)
    yard.tools.unfinished.note(died(yard), JOB)

    error = await yard.fail(await yard.serving("1"), deployment_id="died")

    assert error.code == FaultCode.CONTAINER_UNHEALTHY
    assert await names(yard) == []


async def test_what_does_not_run_when_another_attempt_looks_at_it_is_made_anew(yard: Yard) -> None:
    await switch_and_die(yard)
    await containers.stop(yard.engine, yard.name)

    result = await yard.deploy(await yard.serving("2"), deployment_id="died")

    assert (await yard.only()).container_id == result.container_id
    assert not yard.tools.unfinished.begun


async def test_without_what_ran_before_there_is_no_way_back(yard: Yard) -> None:
    kept = await switch_and_die(yard)
    yard.tools.unfinished.note(died(yard), JOB, before=ending(kept))
    await containers.remove(yard.engine, kept.container_id)
    runs = await yard.only()
    unfinished = next_worker(yard)
    unfinished.have_ended([JOB])

    await put_right(unfinished)

    assert (await yard.only()).started_at == runs.started_at
    assert not next_worker(yard).begun


async def test_what_is_just_about_to_end_is_started_again_by_the_next_worker(yard: Yard) -> None:
    await yard.deploy(await yard.image("1", SLOW_TO_END))
    kept = await yard.only()
    await yard.leave(await yard.serving("2"), f"{yard.name}.new")
    yard.tools.unfinished.note(died(yard), JOB, before=ending(kept))
    stopping = asyncio.create_task(containers.stop(yard.engine, kept.container_id))
    await wait_until(partial(is_ending, yard, kept))

    await put_right(next_worker(yard))

    await require_still_running(yard, kept)
    await stopping


async def test_what_was_switched_from_and_is_about_to_end_is_started_again(yard: Yard) -> None:
    await yard.deploy(await yard.image("1", SLOW_TO_END))
    kept = await yard.only()
    await containers.rename(yard.engine, kept.container_id, f"{yard.name}.old")
    await yard.leave(await yard.serving("2"), yard.name)
    yard.tools.unfinished.note(died(yard), JOB, before=ending(kept))
    stopping = asyncio.create_task(containers.stop(yard.engine, kept.container_id))
    await wait_until(partial(is_ending, yard, kept))
    unfinished = next_worker(yard)
    unfinished.have_ended([JOB])

    await put_right(unfinished)

    await require_still_running(yard, kept)
    await stopping


async def test_what_nobody_asked_to_end_is_not_started_again(yard: Yard) -> None:
    await yard.deploy(await yard.serving("1"))
    kept = await yard.only()
    await containers.rename(yard.engine, kept.container_id, f"{yard.name}.old")
    await yard.leave(await yard.serving("2"), yard.name)
    yard.tools.unfinished.note(died(yard), JOB, before=RAN)
    unfinished = next_worker(yard)
    unfinished.have_ended([JOB])

    await put_right(unfinished)

    assert (await yard.only()).started_at == kept.started_at


async def test_what_was_asked_to_end_is_started_again_once(yard: Yard) -> None:
    await yard.deploy(await yard.serving("1"))
    kept = await yard.only()
    yard.tools.unfinished.note(died(yard), JOB, before=ending(kept))
    unfinished = next_worker(yard)

    await unfinished.put_right()
    again = await yard.only()
    await unfinished.put_right()

    assert again.started_at != kept.started_at
    assert (await yard.only()).started_at == again.started_at


async def test_what_somebody_had_stopped_stays_stopped(yard: Yard) -> None:
    await yard.deploy(await yard.serving("1"))
    await containers.stop(yard.engine, yard.name)
    await yard.fail(await yard.serving("2"), health_check=ILL)
    after_a_failure = [found.is_running for found in await yard.found()]
    await yard.leave(await yard.serving("2"), f"{yard.name}.new")
    yard.tools.unfinished.note(died(yard), JOB, before=Before(ran=False))

    await put_right(next_worker(yard))

    assert after_a_failure == [found.is_running for found in await yard.found()] == [False]


@pytest.mark.parametrize("before", ["a-", "z-"])
async def test_after_a_change_of_name_what_ran_before_is_put_back_too(
    yard: Yard, before: str
) -> None:
    former = f"{before}{yard.name}"
    await yard.deploy(await yard.serving("1"), name=former)
    [kept] = await yard.found()
    await containers.stop(yard.engine, kept.container_id)
    await yard.leave(await yard.serving("2"), f"{yard.name}.new")
    yard.tools.unfinished.note(died(yard), JOB, before=ending(kept))

    await put_right(next_worker(yard))

    [found] = await yard.found()
    assert (found.container_id, found.name, found.is_running) == (kept.container_id, former, True)


async def test_a_version_of_another_name_that_is_ill_leaves_what_ran_before(yard: Yard) -> None:
    port = ports(8313)
    former = f"z-{yard.name}"
    await yard.deploy(await yard.serving("1"), name=former, ports=port)
    [kept] = await yard.found()

    await yard.fail(await yard.serving("2"), ports=port, health_check=ILL)

    [found] = await yard.found()
    assert (found.container_id, found.name, found.is_running) == (kept.container_id, former, True)


async def test_what_an_engine_was_late_with_is_put_right_at_the_second_look(yard: Yard) -> None:
    await yard.deploy(await yard.serving("1"))
    kept = await yard.only()
    yard.tools.unfinished.note(died(yard), JOB, before=RAN)
    unfinished = next_worker(yard)

    await unfinished.put_right()
    await yard.leave(await yard.serving("2"), f"{yard.name}.new")
    await unfinished.put_right()

    assert (await yard.only()).container_id == kept.container_id
    assert not next_worker(yard).begun


async def test_what_cannot_be_started_again_stays_noted_until_it_can_be(yard: Yard) -> None:
    port = ports(8314)
    await yard.deploy(await yard.serving("1"), ports=port)
    kept = await yard.only()
    await containers.stop(yard.engine, kept.container_id)
    yard.tools.unfinished.note(died(yard), JOB, before=RAN)
    async with stranger(yard, kept, port):
        await put_right(next_worker(yard))
        error = await yard.fail(f"{kept.image_id[:-3]}000")
        meanwhile = (await yard.found())[0].is_running

    await put_right(next_worker(yard))

    assert (error.code, meanwhile) == (FaultCode.LOCAL_IMAGE_MISSING, False)
    assert (await yard.only()).container_id == kept.container_id


async def test_a_first_version_of_a_job_that_has_ended_is_removed(yard: Yard) -> None:
    await yard.leave(await yard.serving("1"), yard.name)
    yard.tools.unfinished.note(died(yard), JOB)
    unfinished = next_worker(yard)
    unfinished.have_ended([JOB])

    await put_right(unfinished)

    assert await names(yard) == []


async def test_of_what_is_done_and_ill_since_nobody_says_that_it_was_put_back(yard: Yard) -> None:
    reference = await yard.serving("1")
    await yard.deploy(reference, deployment_id="done")
    await containers.stop(yard.engine, yard.name)

    error = await yard.fail(reference, deployment_id="done")

    assert error.code == FaultCode.NOT_PUT_BACK
    assert await names(yard) == [yard.name]


async def test_a_switch_that_nobody_finished_is_undone_before_the_next_deployment(
    yard: Yard,
) -> None:
    kept = await switch_and_die(yard)

    await yard.fail(await yard.image("3", "exit 7"))

    assert (await yard.only()).container_id == kept.container_id


async def test_what_was_begun_in_the_other_runtime_is_gone_before_the_next_deployment(
    yard: Yard,
) -> None:
    await yard.leave(await yard.serving("1"), yard.name)
    yard.tools.unfinished.note(died(yard), JOB)
    service = ServiceReplace(
        application_id=f"id-of-{yard.name}", deployment_id="next", name=yard.name, reference="app:1"
    )

    async with yard.tools.unfinished.working(service):
        left = await names(yard)

    assert left == []


async def test_what_cannot_be_started_again_keeps_no_other_version_from_running(
    yard: Yard,
) -> None:
    port, other = 8311, 8312
    await yard.deploy(await yard.serving("1"), ports=ports(port))
    kept = await yard.only()
    await containers.rename(yard.engine, kept.container_id, f"{yard.name}.old")
    await containers.stop(yard.engine, kept.container_id)
    await yard.leave(await yard.serving("2"), yard.name)
    yard.tools.unfinished.note(died(yard), JOB)

    async with stranger(yard, kept, ports(port)):
        await yard.deploy(await yard.serving("3"), ports=ports(other))

    assert (await yard.only()).container_id != kept.container_id
    await wait_until(lambda: answer((yard.local.address, other)) == "3")


@asynccontextmanager
async def stranger(
    yard: Yard, kept: Container, taking: tuple[PublishedPort, ...]
) -> AsyncIterator[None]:
    """Somebody else's container that has the ports."""
    spec = containers.ContainerSpec(kept.image_id, {}, ports=taking)
    container_id = await containers.create(yard.engine, f"stranger-of-{yard.name}", spec)
    try:
        await containers.start(yard.engine, container_id)
        yield
    finally:
        await containers.remove(yard.engine, container_id)


def ports(published: int) -> tuple[PublishedPort, ...]:
    return (PublishedPort(published_port=published, target_port=8080),)


async def test_a_deployment_leaves_no_note(yard: Yard) -> None:
    await yard.deploy(await yard.serving("1"))
    after_first = next_worker(yard).begun

    await yard.deploy(await yard.serving("2"))
    after_second = next_worker(yard).begun
    await yard.fail(await yard.serving("3"), health_check=ILL)

    assert after_first == after_second == next_worker(yard).begun == {}


async def test_what_could_not_be_removed_is_removed_later(yard: Yard) -> None:
    await yard.deploy(await yard.serving("1"))
    kept = await yard.only()
    await containers.rename(yard.engine, kept.container_id, f"{yard.name}.old")
    await yard.leave(await yard.serving("2"), yard.name)
    yard.tools.unfinished.note(died(yard), JOB, is_done=True)

    await put_right(next_worker(yard))

    assert (await yard.only()).container_id != kept.container_id
    assert not next_worker(yard).begun


async def test_what_is_left_is_put_right_while_the_worker_runs_again_and_again(yard: Yard) -> None:
    kept = await switch_and_die(yard)
    unfinished = replace(next_worker(yard), every=timedelta(milliseconds=50))

    async with unfinished.watching():
        unfinished.have_ended(unfinished.job_ids())
        await wait_until(partial(is_called, yard, yard.name))
        async with unfinished.working(died(yard)):
            unfinished.note(died(yard), JOB)
            await yard.leave(await yard.serving("2"), f"{yard.name}.new")
        await wait_until(partial(is_called, yard, yard.name))

    assert (await yard.only()).container_id == kept.container_id


async def test_what_an_attempt_works_at_is_not_put_right(yard: Yard) -> None:
    await yard.deploy(await yard.serving("1"))
    slow = WELL.model_copy(update={"interval_seconds": 2})
    second = yard.deploy(await yard.serving("2"), health_check=slow)
    deploying = asyncio.create_task(second)
    await wait_until(partial(is_starting, yard))

    await yard.tools.unfinished.put_right()

    assert not deploying.done()
    result = await deploying
    assert (await yard.only()).container_id == result.container_id


async def test_a_second_attempt_waits_until_the_first_has_left(yard: Yard) -> None:
    first, second = asyncio.Event(), asyncio.Event()

    async def work(begun: asyncio.Event, let_go: asyncio.Event) -> None:
        async with yard.tools.unfinished.working(died(yard)):
            begun.set()
            await let_go.wait()

    let_go = asyncio.Event()
    one = asyncio.create_task(work(first, let_go))
    other = asyncio.create_task(work(second, let_go))
    await first.wait()
    meanwhile = second.is_set()
    let_go.set()
    await asyncio.gather(one, other)

    assert (meanwhile, second.is_set()) == (False, True)


async def test_a_cancel_while_the_engine_is_frozen_is_put_right_when_it_answers(yard: Yard) -> None:
    before, attempt = await yard.begin_to_end("1", 8309)

    yard.local.freeze()
    attempt.stop(Why.CANCELLED)
    with pytest.raises(EngineError) as caught:
        await attempt.task  # type: ignore[misc]
    yard.local.thaw()
    await put_right(yard.tools.unfinished)

    assert caught.value.code == FaultCode.NOT_PUT_BACK
    assert attempt.is_too_late
    await require_still_running(yard, before)
    await wait_until(lambda: answer((yard.local.address, 8309)) == "1")


@pytest.mark.parametrize("kept", [b"", b"[]", b"\xff", b'{"app": "deployment"}'])
def test_notes_that_cannot_be_read_keep_the_worker_from_starting(yard: Yard, kept: bytes) -> None:
    yard.tools.unfinished.path.write_bytes(kept)

    with pytest.raises(SetupError, match="cannot be read"):
        next_worker(yard)
