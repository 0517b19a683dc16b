"""Recovery of services whose deployment was not finished."""

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from shared.errors import EngineError
from shared.faults import FaultCode
from shared.jobs.commands import ServiceReplace
from shared.jobs.containers import PublishedPort
from tests.waiting import wait_until
from tests.worker.deployments.services.scenario import (
    FAILING,
    IN_TIME,
    NEVER_RUN,
    ServiceScenario,
    change,
    scale,
)
from worker.deployments.recovery import RecoveryJournal
from worker.engine.containers import APPLICATION, DEPLOYMENT
from worker.engine.swarm import services
from worker.engine.swarm.service_spec import TRIAL, ServiceSpec
from worker.jobs.attempt import Attempt, StopReason

JOB = "job"


async def begin_and_die(scenario: ServiceScenario, **changes: Any) -> ServiceReplace:
    """Begin a version that never becomes healthy, and lose the lease of its attempt."""
    command = scenario.command(await scenario.image("2"), health_check=NEVER_RUN, **changes)
    attempt = Attempt(JOB, 1)
    await scenario.begin(command, attempt)
    attempt.stop(StopReason.LEASE_LOST)
    with pytest.raises(asyncio.CancelledError):
        await attempt.task  # type: ignore[misc]
    return command


def next_worker(scenario: ServiceScenario, *, ended: bool = True) -> RecoveryJournal:
    """Return the journal of the next worker; it knows that the job has ended if ``ended``."""
    journal = RecoveryJournal(scenario.engine, scenario.tools.journal.path)
    journal.mark_ended([JOB] if ended else [])
    return journal


async def recover(journal: RecoveryJournal) -> None:
    """Run the recovery twice, after which the entries are removed."""
    await journal.recover()
    await journal.recover()


async def has_no_service(scenario: ServiceScenario) -> bool:
    return not await services.find(scenario.engine, APPLICATION, scenario.application_id)


async def test_the_next_worker_restores_a_deployment_of_a_dead_worker(
    scenario: ServiceScenario,
) -> None:
    await scenario.deploy(await scenario.image("1"))
    before = await scenario.running()
    await begin_and_die(scenario)

    await recover(next_worker(scenario))

    assert (await scenario.only()).image == before[0].image
    await wait_until(partial(scenario.is_restored, before), seconds=IN_TIME)
    assert not next_worker(scenario).entries


async def test_a_first_version_of_a_dead_worker_is_removed(scenario: ServiceScenario) -> None:
    await begin_and_die(scenario)

    await recover(next_worker(scenario))

    assert await has_no_service(scenario)
    assert not next_worker(scenario).entries


async def try_out(scenario: ServiceScenario, one: str, deployment_id: str) -> None:
    labels = {APPLICATION: scenario.application_id, DEPLOYMENT: deployment_id}
    spec = ServiceSpec(f"{scenario.name}-{deployment_id}", scenario.command(one).target, labels)
    await services.create_trial(scenario.engine, spec, scenario.login, await scenario.only())


async def test_the_trial_of_a_dead_worker_is_removed_and_nothing_else(
    scenario: ServiceScenario,
) -> None:
    one = await scenario.image("1")
    await scenario.deploy(one)
    before = await scenario.running()
    await try_out(scenario, one, "died")
    await try_out(scenario, one, "of-another-manager")
    scenario.tools.journal.record(scenario.command(one, deployment_id="died"), JOB)

    await recover(next_worker(scenario))

    [left] = await services.find(scenario.engine, TRIAL, scenario.application_id)
    await services.remove(scenario.engine, left.service_id)
    assert left.deployment == "of-another-manager"
    assert await scenario.is_restored(before)


async def test_a_deployment_with_a_further_attempt_is_left_to_it(scenario: ServiceScenario) -> None:
    await scenario.deploy(await scenario.image("1"))
    command = await begin_and_die(scenario)

    await recover(next_worker(scenario, ended=False))

    assert (await scenario.only()).deployment == command.deployment_id
    assert next_worker(scenario).entries


async def test_a_deployment_of_a_dead_worker_is_restored_before_the_next_one(
    scenario: ServiceScenario,
) -> None:
    await scenario.deploy(await scenario.image("1"))
    before = await scenario.running()
    await begin_and_die(scenario)

    await scenario.fail(await scenario.image("3"), health_check=FAILING)

    assert (await scenario.only()).image == before[0].image
    assert not next_worker(scenario).entries


async def test_an_application_that_an_attempt_holds_is_left_to_it(
    scenario: ServiceScenario,
) -> None:
    await scenario.deploy(await scenario.image("1"))
    scenario.tools = replace(scenario.tools, journal=next_worker(scenario))
    command = scenario.command(await scenario.image("2"), health_check=NEVER_RUN)
    attempt = Attempt("job", 1)
    await scenario.begin(command, attempt)

    await scenario.tools.journal.recover()

    assert (await scenario.only()).deployment == command.deployment_id
    attempt.stop(StopReason.CANCELLED)
    with pytest.raises(asyncio.CancelledError):
        await attempt.task  # type: ignore[misc]


async def test_a_finished_or_restored_deployment_leaves_no_entry(scenario: ServiceScenario) -> None:
    await scenario.deploy(await scenario.image("1"))
    after_success = next_worker(scenario).entries

    await scenario.fail(await scenario.image("2"), health_check=FAILING)

    assert after_success == next_worker(scenario).entries == {}


async def test_a_cancel_during_a_request_to_a_frozen_engine_reports_a_failed_restore(
    scenario: ServiceScenario,
) -> None:
    await scenario.deploy(await scenario.image("1"))
    attempt = Attempt(JOB, 1)
    command = scenario.command(await scenario.image("2"), health_check=NEVER_RUN)
    attempt.task = asyncio.create_task(scenario.deploy(command, attempt=attempt))
    await wait_until(lambda: any("changing the service" in piece for piece in scenario.pieces))

    scenario.local.freeze()
    attempt.stop(StopReason.CANCELLED)
    with pytest.raises(EngineError) as caught:
        await attempt.task
    scenario.local.thaw()

    assert caught.value.code == FaultCode.RESTORE_FAILED
    assert attempt.is_too_late


async def test_a_failed_restore_does_not_block_the_next_version(scenario: ServiceScenario) -> None:
    was, is_now, will_be = 8351, 8352, 8353
    one, three = await scenario.image("1"), await scenario.image("3")
    await scenario.deploy(one, ports=published(was))
    await begin_and_die(scenario, ports=published(is_now))
    taking = ServiceSpec(f"foreign-{scenario.name}", scenario.command(one).target, {})
    foreign_container = await services.create(
        scenario.engine, replace(taking, ports=published(was)), scenario.login
    )

    try:
        await scenario.deploy(three, ports=published(will_be))
    finally:
        await services.remove(scenario.engine, foreign_container)

    assert (await scenario.only()).image.endswith(three.partition("@")[2])
    assert not next_worker(scenario).entries


def published(port: int) -> tuple[PublishedPort, ...]:
    return (PublishedPort(published_port=port, target_port=8080),)


async def test_a_cancel_during_a_frozen_engine_is_recovered_when_it_answers(
    scenario: ServiceScenario,
) -> None:
    await scenario.deploy(await scenario.image("1"))
    before = await scenario.running()
    attempt = Attempt("job", 1)
    await scenario.begin(
        scenario.command(await scenario.image("2"), health_check=NEVER_RUN), attempt
    )

    scenario.local.freeze()
    attempt.stop(StopReason.CANCELLED)
    with pytest.raises(EngineError) as caught:
        await attempt.task  # type: ignore[misc]
    scenario.local.thaw()
    await recover(next_worker(scenario))

    assert caught.value.code == FaultCode.RESTORE_FAILED
    assert attempt.is_too_late
    await wait_until(partial(scenario.is_restored, before), seconds=IN_TIME)


async def test_a_service_that_a_person_changed_is_not_restored(scenario: ServiceScenario) -> None:
    await scenario.deploy(await scenario.image("1"))
    command = await begin_and_die(scenario)
    await change(scenario, partial(scale, 2))

    await recover(next_worker(scenario))

    assert (await scenario.only()).deployment == command.deployment_id
    assert not next_worker(scenario).entries
