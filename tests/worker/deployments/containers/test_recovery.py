"""Recovery of containers whose deployment was not finished."""

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
from shared.jobs.commands import ContainerReplace, ServiceReplace
from shared.jobs.containers import HealthProbe, PublishedPort
from tests.waiting import wait_until
from tests.worker.deployments.containers.scenario import (
    FAILING,
    PASSING,
    SERVE,
    ContainerScenario,
    answer,
    is_called,
    is_starting,
)
from worker.deployments.recovery import RecoveryJournal
from worker.deployments.targets import PreviousState
from worker.engine import containers
from worker.engine.containers import Container
from worker.jobs.attempt import Attempt, StopReason

JOB = "job"
RAN = PreviousState(ran=True)


def unfinished_command(scenario: ContainerScenario, **changes: Any) -> ContainerReplace:
    """Return the command of the unfinished deployment."""
    return scenario.command("", deployment_id="died", **changes)


def next_worker(scenario: ContainerScenario) -> RecoveryJournal:
    return RecoveryJournal(scenario.engine, scenario.tools.journal.path)


async def switch_and_die(
    scenario: ContainerScenario, health_check: HealthProbe | None = None
) -> Container:
    """Leave a deployment that died after its switch; return the previous container."""
    await scenario.deploy(await scenario.web_image("1"))
    stored = await scenario.only()
    await containers.rename(scenario.engine, stored.container_id, f"{scenario.name}.old")
    await containers.stop(scenario.engine, stored)
    await scenario.leave_container(await scenario.web_image("2"), scenario.name, health_check)
    scenario.tools.journal.record(unfinished_command(scenario), JOB, before=RAN)
    return stored


async def die_before_the_switch(scenario: ContainerScenario) -> Container:
    """Leave a deployment that died before its switch; return the stopped previous container."""
    await scenario.deploy(await scenario.web_image("1"))
    stored = await scenario.only()
    await containers.stop(scenario.engine, stored)
    await scenario.leave_container(await scenario.web_image("2"), f"{scenario.name}.new")
    scenario.tools.journal.record(unfinished_command(scenario), JOB, before=RAN)
    return stored


def ending(container: Container) -> PreviousState:
    """Return the state of a container that ran and was asked to stop."""
    return PreviousState(ran=True, ended_run=container.started_at)


async def recover(journal: RecoveryJournal) -> None:
    """Run the recovery twice, after which the entries are removed."""
    await journal.recover()
    await journal.recover()


SLOW_TO_END = SERVE.replace("'exit 0'", "'echo ending; /bin/busybox sleep 3; exit 0'")


async def is_ending(scenario: ContainerScenario, container: Container) -> bool:
    return "ending" in await containers.last_lines(scenario.engine, container.container_id)


async def require_still_running(scenario: ContainerScenario, stored: Container) -> None:
    """Require that it still runs after the time in which a stopping one would have stopped."""
    until = time.monotonic() + 4
    while time.monotonic() < until:
        assert (await scenario.only()).container_id == stored.container_id
        await asyncio.sleep(0.1)


async def names(scenario: ContainerScenario) -> list[str]:
    return sorted(found.name for found in await scenario.found())


async def test_the_next_worker_restores_a_container_that_was_not_switched(
    scenario: ContainerScenario,
) -> None:
    stored = await die_before_the_switch(scenario)

    await recover(next_worker(scenario))

    assert (await scenario.only()).container_id == stored.container_id
    assert not next_worker(scenario).entries


async def test_a_switch_is_reversed_once_its_job_has_ended(scenario: ContainerScenario) -> None:
    stored = await switch_and_die(scenario)
    journal = next_worker(scenario)

    await journal.recover()
    before = await names(scenario)
    journal.mark_ended(journal.job_ids())
    await recover(journal)

    assert before == sorted([scenario.name, f"{scenario.name}.old"])
    assert (await scenario.only()).container_id == stored.container_id
    assert not next_worker(scenario).entries


async def test_a_switch_to_a_stopped_container_is_reversed_at_once(
    scenario: ContainerScenario,
) -> None:
    stored = await switch_and_die(scenario)
    await scenario.stop()

    await next_worker(scenario).recover()

    assert (await scenario.only()).container_id == stored.container_id


async def test_another_attempt_finishes_the_switch(scenario: ContainerScenario) -> None:
    await switch_and_die(scenario)

    result = await scenario.deploy(await scenario.web_image("2"), deployment_id="died")

    assert (await scenario.only()).container_id == result.container_id
    assert not scenario.tools.journal.entries


async def test_a_switch_that_the_next_attempt_finds_unhealthy_is_reversed(
    scenario: ContainerScenario,
) -> None:
    stored = await switch_and_die(scenario, FAILING)

    error = await scenario.fail(await scenario.web_image("2"), deployment_id="died")

    assert error.code == FaultCode.CONTAINER_UNHEALTHY
    assert (await scenario.only()).container_id == stored.container_id
    assert not scenario.tools.journal.entries


async def test_a_cancel_while_the_next_attempt_verifies_reverses_the_switch(
    scenario: ContainerScenario,
) -> None:
    stored = await switch_and_die(scenario, PASSING.model_copy(update={"interval_seconds": 3600}))
    attempt = Attempt(JOB, 2)
    again = scenario.command(await scenario.web_image("2"), deployment_id="died")
    attempt.task = asyncio.create_task(scenario.deploy(again, attempt=attempt))
    await wait_until(lambda: any("switched already" in piece for piece in scenario.pieces))

    attempt.stop(StopReason.CANCELLED)
    with pytest.raises(asyncio.CancelledError):
        await attempt.task

    assert (await scenario.only()).container_id == stored.container_id


async def test_a_first_version_that_the_next_attempt_finds_unhealthy_is_removed(
    scenario: ContainerScenario,
) -> None:
    await scenario.leave_container(await scenario.web_image("1"), scenario.name, FAILING)
    scenario.tools.journal.record(unfinished_command(scenario), JOB)

    error = await scenario.fail(await scenario.web_image("1"), deployment_id="died")

    assert error.code == FaultCode.CONTAINER_UNHEALTHY
    assert await names(scenario) == []


async def test_a_container_that_the_next_attempt_finds_stopped_is_created_again(
    scenario: ContainerScenario,
) -> None:
    await switch_and_die(scenario)
    await scenario.stop()

    result = await scenario.deploy(await scenario.web_image("2"), deployment_id="died")

    assert (await scenario.only()).container_id == result.container_id
    assert not scenario.tools.journal.entries


async def test_a_switch_without_a_previous_container_is_kept(scenario: ContainerScenario) -> None:
    stored = await switch_and_die(scenario)
    scenario.tools.journal.record(unfinished_command(scenario), JOB, before=ending(stored))
    await containers.remove(scenario.engine, stored.container_id)
    runs = await scenario.only()
    journal = next_worker(scenario)
    journal.mark_ended([JOB])

    await recover(journal)

    assert (await scenario.only()).started_at == runs.started_at
    assert not next_worker(scenario).entries


async def test_the_next_worker_restarts_a_container_that_is_stopping(
    scenario: ContainerScenario,
) -> None:
    await scenario.deploy(await scenario.image("1", SLOW_TO_END))
    stored = await scenario.only()
    await scenario.leave_container(await scenario.web_image("2"), f"{scenario.name}.new")
    scenario.tools.journal.record(unfinished_command(scenario), JOB, before=ending(stored))
    stopping = asyncio.create_task(containers.stop(scenario.engine, stored))
    await wait_until(partial(is_ending, scenario, stored))

    await recover(next_worker(scenario))

    await require_still_running(scenario, stored)
    await stopping


async def test_a_previous_container_that_is_stopping_is_restarted(
    scenario: ContainerScenario,
) -> None:
    await scenario.deploy(await scenario.image("1", SLOW_TO_END))
    stored = await scenario.only()
    await containers.rename(scenario.engine, stored.container_id, f"{scenario.name}.old")
    await scenario.leave_container(await scenario.web_image("2"), scenario.name)
    scenario.tools.journal.record(unfinished_command(scenario), JOB, before=ending(stored))
    stopping = asyncio.create_task(containers.stop(scenario.engine, stored))
    await wait_until(partial(is_ending, scenario, stored))
    journal = next_worker(scenario)
    journal.mark_ended([JOB])

    await recover(journal)

    await require_still_running(scenario, stored)
    await stopping


async def test_a_container_that_was_not_asked_to_stop_is_not_restarted(
    scenario: ContainerScenario,
) -> None:
    await scenario.deploy(await scenario.web_image("1"))
    stored = await scenario.only()
    await containers.rename(scenario.engine, stored.container_id, f"{scenario.name}.old")
    await scenario.leave_container(await scenario.web_image("2"), scenario.name)
    scenario.tools.journal.record(unfinished_command(scenario), JOB, before=RAN)
    journal = next_worker(scenario)
    journal.mark_ended([JOB])

    await recover(journal)

    assert (await scenario.only()).started_at == stored.started_at


async def test_a_container_that_was_asked_to_stop_is_restarted_once(
    scenario: ContainerScenario,
) -> None:
    await scenario.deploy(await scenario.web_image("1"))
    stored = await scenario.only()
    scenario.tools.journal.record(unfinished_command(scenario), JOB, before=ending(stored))
    journal = next_worker(scenario)

    await journal.recover()
    again = await scenario.only()
    await journal.recover()

    assert again.started_at != stored.started_at
    assert (await scenario.only()).started_at == again.started_at


async def test_a_container_that_a_person_stopped_stays_stopped(scenario: ContainerScenario) -> None:
    await scenario.deploy(await scenario.web_image("1"))
    await scenario.stop()
    await scenario.fail(await scenario.web_image("2"), health_check=FAILING)
    after_a_failure = [found.is_running for found in await scenario.found()]
    await scenario.leave_container(await scenario.web_image("2"), f"{scenario.name}.new")
    scenario.tools.journal.record(
        unfinished_command(scenario), JOB, before=PreviousState(ran=False)
    )

    await recover(next_worker(scenario))

    assert after_a_failure == [found.is_running for found in await scenario.found()] == [False]


@pytest.mark.parametrize("before", ["a-", "z-"])
async def test_a_previous_container_of_another_name_is_restored(
    scenario: ContainerScenario, before: str
) -> None:
    former = f"{before}{scenario.name}"
    await scenario.deploy(await scenario.web_image("1"), name=former)
    [stored] = await scenario.found()
    await containers.stop(scenario.engine, stored)
    await scenario.leave_container(await scenario.web_image("2"), f"{scenario.name}.new")
    scenario.tools.journal.record(unfinished_command(scenario), JOB, before=ending(stored))

    await recover(next_worker(scenario))

    [found] = await scenario.found()
    assert (found.container_id, found.name, found.is_running) == (stored.container_id, former, True)


async def test_an_unhealthy_version_of_another_name_keeps_the_previous_one(
    scenario: ContainerScenario,
) -> None:
    port = ports(8313)
    former = f"z-{scenario.name}"
    await scenario.deploy(await scenario.web_image("1"), name=former, ports=port)
    [stored] = await scenario.found()

    await scenario.fail(await scenario.web_image("2"), ports=port, health_check=FAILING)

    [found] = await scenario.found()
    assert (found.container_id, found.name, found.is_running) == (stored.container_id, former, True)


async def test_a_late_request_of_an_engine_is_corrected_by_the_second_recovery(
    scenario: ContainerScenario,
) -> None:
    await scenario.deploy(await scenario.web_image("1"))
    stored = await scenario.only()
    scenario.tools.journal.record(unfinished_command(scenario), JOB, before=RAN)
    journal = next_worker(scenario)

    await journal.recover()
    await scenario.leave_container(await scenario.web_image("2"), f"{scenario.name}.new")
    await journal.recover()

    assert (await scenario.only()).container_id == stored.container_id
    assert not next_worker(scenario).entries


async def test_a_container_that_cannot_be_restarted_keeps_its_entry(
    scenario: ContainerScenario,
) -> None:
    port = ports(8314)
    await scenario.deploy(await scenario.web_image("1"), ports=port)
    stored = await scenario.only()
    await containers.stop(scenario.engine, stored)
    scenario.tools.journal.record(unfinished_command(scenario), JOB, before=RAN)
    async with foreign_container(scenario, stored, port):
        await recover(next_worker(scenario))
        error = await scenario.fail(f"{stored.image_id[:-3]}000")
        meanwhile = (await scenario.found())[0].is_running

    await recover(next_worker(scenario))

    assert (error.code, meanwhile) == (FaultCode.LOCAL_IMAGE_MISSING, False)
    assert (await scenario.only()).container_id == stored.container_id


async def test_a_first_version_of_a_job_that_has_ended_is_removed(
    scenario: ContainerScenario,
) -> None:
    await scenario.leave_container(await scenario.web_image("1"), scenario.name)
    scenario.tools.journal.record(unfinished_command(scenario), JOB)
    journal = next_worker(scenario)
    journal.mark_ended([JOB])

    await recover(journal)

    assert await names(scenario) == []


async def test_a_finished_deployment_that_is_unhealthy_now_is_not_reported_as_restored(
    scenario: ContainerScenario,
) -> None:
    reference = await scenario.web_image("1")
    await scenario.deploy(reference, deployment_id="done")
    await scenario.stop()

    error = await scenario.fail(reference, deployment_id="done")

    assert error.code == FaultCode.RESTORE_FAILED
    assert await names(scenario) == [scenario.name]


async def test_an_unfinished_switch_is_reversed_before_the_next_deployment(
    scenario: ContainerScenario,
) -> None:
    stored = await switch_and_die(scenario)

    await scenario.fail(await scenario.image("3", "exit 7"))

    assert (await scenario.only()).container_id == stored.container_id


async def test_an_unfinished_deployment_of_the_other_runtime_is_removed_before_the_next_one(
    scenario: ContainerScenario,
) -> None:
    await scenario.leave_container(await scenario.web_image("1"), scenario.name)
    scenario.tools.journal.record(unfinished_command(scenario), JOB)
    service = ServiceReplace(
        application_id=f"id-of-{scenario.name}",
        deployment_id="next",
        name=scenario.name,
        reference="app:1",
    )

    async with scenario.tools.journal.holding(service):
        left = await names(scenario)

    assert left == []


async def test_a_failed_restart_does_not_block_the_next_version(
    scenario: ContainerScenario,
) -> None:
    port, other = 8311, 8312
    await scenario.deploy(await scenario.web_image("1"), ports=ports(port))
    stored = await scenario.only()
    await containers.rename(scenario.engine, stored.container_id, f"{scenario.name}.old")
    await containers.stop(scenario.engine, stored)
    await scenario.leave_container(await scenario.web_image("2"), scenario.name)
    scenario.tools.journal.record(unfinished_command(scenario), JOB)

    async with foreign_container(scenario, stored, ports(port)):
        await scenario.deploy(await scenario.web_image("3"), ports=ports(other))

    assert (await scenario.only()).container_id != stored.container_id
    await wait_until(lambda: answer((scenario.local.address, other)) == "3")


@asynccontextmanager
async def foreign_container(
    scenario: ContainerScenario, stored: Container, taking: tuple[PublishedPort, ...]
) -> AsyncIterator[None]:
    """Run a foreign container that uses the ports."""
    spec = containers.ContainerSpec(stored.image_id, {}, ports=taking)
    container_id = await containers.create(scenario.engine, f"foreign-{scenario.name}", spec)
    try:
        await containers.start(scenario.engine, container_id)
        yield
    finally:
        await containers.remove(scenario.engine, container_id)


def ports(published: int) -> tuple[PublishedPort, ...]:
    return (PublishedPort(published_port=published, target_port=8080),)


async def test_a_deployment_leaves_no_entry(scenario: ContainerScenario) -> None:
    await scenario.deploy(await scenario.web_image("1"))
    after_first = next_worker(scenario).entries

    await scenario.deploy(await scenario.web_image("2"))
    after_second = next_worker(scenario).entries
    await scenario.fail(await scenario.web_image("3"), health_check=FAILING)

    assert after_first == after_second == next_worker(scenario).entries == {}


async def test_a_container_that_could_not_be_removed_is_removed_later(
    scenario: ContainerScenario,
) -> None:
    await scenario.deploy(await scenario.web_image("1"))
    stored = await scenario.only()
    await containers.rename(scenario.engine, stored.container_id, f"{scenario.name}.old")
    await scenario.leave_container(await scenario.web_image("2"), scenario.name)
    scenario.tools.journal.record(unfinished_command(scenario), JOB, is_done=True)

    await recover(next_worker(scenario))

    assert (await scenario.only()).container_id != stored.container_id
    assert not next_worker(scenario).entries


async def test_the_recovery_task_repeats_while_the_worker_runs(scenario: ContainerScenario) -> None:
    stored = await switch_and_die(scenario)
    journal = replace(next_worker(scenario), every=timedelta(milliseconds=50))

    async with journal.running_recovery():
        journal.mark_ended(journal.job_ids())
        await wait_until(partial(is_called, scenario, scenario.name))
        async with journal.holding(unfinished_command(scenario)):
            journal.record(unfinished_command(scenario), JOB)
            await scenario.leave_container(await scenario.web_image("2"), f"{scenario.name}.new")
        await wait_until(partial(is_called, scenario, scenario.name))

    assert (await scenario.only()).container_id == stored.container_id


async def test_an_application_that_an_attempt_holds_is_not_recovered(
    scenario: ContainerScenario,
) -> None:
    await scenario.deploy(await scenario.web_image("1"))
    slow = PASSING.model_copy(update={"interval_seconds": 2})
    second = scenario.deploy(await scenario.web_image("2"), health_check=slow)
    deploying = asyncio.create_task(second)
    await wait_until(partial(is_starting, scenario))

    await scenario.tools.journal.recover()

    assert not deploying.done()
    result = await deploying
    assert (await scenario.only()).container_id == result.container_id


async def test_a_second_attempt_waits_until_the_first_has_finished(
    scenario: ContainerScenario,
) -> None:
    first, second = asyncio.Event(), asyncio.Event()

    async def work(entries: asyncio.Event, let_go: asyncio.Event) -> None:
        async with scenario.tools.journal.holding(unfinished_command(scenario)):
            entries.set()
            await let_go.wait()

    let_go = asyncio.Event()
    one = asyncio.create_task(work(first, let_go))
    other = asyncio.create_task(work(second, let_go))
    await first.wait()
    meanwhile = second.is_set()
    let_go.set()
    await asyncio.gather(one, other)

    assert (meanwhile, second.is_set()) == (False, True)


async def test_a_cancel_during_a_frozen_engine_is_recovered_when_it_answers(
    scenario: ContainerScenario,
) -> None:
    before, attempt = await scenario.start_slow_stop("1", 8309)

    scenario.local.freeze()
    attempt.stop(StopReason.CANCELLED)
    with pytest.raises(EngineError) as caught:
        await attempt.task  # type: ignore[misc]
    scenario.local.thaw()
    await recover(scenario.tools.journal)

    assert caught.value.code == FaultCode.RESTORE_FAILED
    assert attempt.is_too_late
    await require_still_running(scenario, before)
    await wait_until(lambda: answer((scenario.local.address, 8309)) == "1")


@pytest.mark.parametrize("stored", [b"", b"[]", b"\xff", b'{"app": "deployment"}'])
def test_an_unreadable_journal_prevents_the_worker_from_starting(
    scenario: ContainerScenario, stored: bytes
) -> None:
    scenario.tools.journal.path.write_bytes(stored)

    with pytest.raises(SetupError, match="cannot be read"):
        next_worker(scenario)
