"""The container of an application is stopped, started and reloaded on a real Engine."""

import asyncio
import time
from datetime import timedelta
from functools import partial

import pytest

from shared.errors import EngineError
from shared.faults import FaultCode
from tests.waiting import wait_until
from tests.worker.deployments.containers.scenario import (
    FAILING,
    PASSING,
    ContainerScenario,
)
from worker.deployments.recovery import RecoveryJournal
from worker.deployments.targets import PreviousState
from worker.engine.containers import Container
from worker.jobs.attempt import Attempt, StopReason

SLOW_STOP = "trap '/bin/busybox sleep 8; exit 0' TERM; /bin/busybox sleep 1000 & wait; wait"
STUBBORN = "trap '' TERM; trap 'exit 3' INT; while true; do /bin/busybox sleep 0.1; done"
ONCE = 'if [ -e /started ]; then echo "no: $PASSWORD"; exit 7; fi; echo > /started; '
SLEEP = "trap 'exit 0' TERM; /bin/busybox sleep 1000 & wait"


async def seen(scenario: ContainerScenario) -> Container:
    [container] = await scenario.found()
    return container


async def is_running(scenario: ContainerScenario) -> bool:
    return (await seen(scenario)).is_running


async def fail(scenario: ContainerScenario, action: str) -> EngineError:
    with pytest.raises(EngineError) as caught:
        await scenario.control(action)
    return caught.value


async def test_a_stopped_application_stays_stopped_until_it_is_started(
    scenario: ContainerScenario,
) -> None:
    await scenario.deploy(await scenario.web_image("1"), health_check=PASSING)
    before = await scenario.only()

    stopped = await scenario.control("stop")
    again = await scenario.control("stop")
    scenario.local.kill()
    scenario.local.start_again()
    after_restart = await seen(scenario)
    started = await scenario.control("start")
    running = await scenario.only()
    unchanged = await scenario.control("start")

    assert (stopped.runtime, stopped.state, stopped.changed) == ("container", "stopped", True)
    assert (again.state, again.changed) == ("stopped", False)
    assert not after_restart.may_run
    assert (started.state, started.changed) == ("running", True)
    assert running.container_id == before.container_id
    assert running.is_healthy
    assert (unchanged.state, unchanged.changed) == ("running", False)
    assert await scenario.only() == running


async def test_a_reload_starts_the_same_container_anew(scenario: ContainerScenario) -> None:
    await scenario.deploy(await scenario.web_image("1"))
    before = await scenario.only()

    reloaded = await scenario.control("reload")
    after = await scenario.only()
    await scenario.stop()
    of_a_stopped_one = await scenario.control("reload")

    assert (reloaded.state, reloaded.changed) == ("running", True)
    assert after.container_id == before.container_id
    assert after.started_at != before.started_at
    assert of_a_stopped_one.changed
    assert (await scenario.only()).is_running


async def test_an_application_that_does_not_start_is_stopped_again_and_shows_no_secret(
    scenario: ContainerScenario,
) -> None:
    reference = await scenario.image("1", f"{ONCE}{SLEEP}")
    await scenario.deploy(reference, {"PASSWORD": "staple"})
    await scenario.control("stop")

    error = await fail(scenario, "start")

    assert error.code == FaultCode.CONTAINER_EXITED
    assert error.message.startswith(
        f"cannot start the application {scenario.name}: it ended with exit code 7: no: ***"
    )
    assert not (await seen(scenario)).may_run
    assert "staple" not in f"{error!r} {scenario.pieces}"


async def test_a_cancelled_stop_leaves_the_application_running(scenario: ContainerScenario) -> None:
    await scenario.deploy(await scenario.image("1", SLOW_STOP))
    attempt = Attempt("job", 1)
    attempt.task = asyncio.create_task(scenario.control("stop", attempt))
    await wait_until(partial(is_logged, scenario, "stopping it"))

    attempt.stop(StopReason.CANCELLED)
    with pytest.raises(asyncio.CancelledError):
        await attempt.task

    await wait_until(partial(is_running, scenario))


async def is_logged(scenario: ContainerScenario, line: str) -> bool:
    return any(line in piece for piece in scenario.pieces)


async def test_a_deployment_starts_a_stopped_application_and_a_failed_one_leaves_it_stopped(
    scenario: ContainerScenario,
) -> None:
    await scenario.deploy(await scenario.web_image("1"))
    await scenario.control("stop")

    await scenario.fail(await scenario.web_image("2"), health_check=FAILING)
    after_failure = await seen(scenario)
    await scenario.deploy(await scenario.web_image("3"))

    assert not after_failure.may_run
    assert (await scenario.only()).container_id != after_failure.container_id


async def test_nothing_of_an_unfinished_deployment_starts_a_stopped_application(
    scenario: ContainerScenario,
) -> None:
    await scenario.deploy(await scenario.web_image("1"))
    before = await scenario.only()
    unfinished = scenario.command("registry.example/a@sha256:" + "0" * 64)
    journal = scenario.tools.journal
    journal.record(unfinished, "job", before=PreviousState(ran=True))
    await scenario.leave_container(await scenario.web_image("2"), f"{scenario.name}.new")

    await scenario.control("stop")
    next_worker = RecoveryJournal(scenario.engine, journal.path)
    next_worker.mark_ended(["job"])
    await next_worker.recover()

    after = await seen(scenario)
    assert (after.container_id, after.may_run) == (before.container_id, False)


async def test_an_application_that_is_not_on_the_server_is_named(
    scenario: ContainerScenario,
) -> None:
    for action in ("stop", "start", "reload"):
        error = await fail(scenario, action)

        assert error.code == FaultCode.CONTAINER_MISSING
        assert error.message == (
            f"cannot {action} the application {scenario.name}: nothing of it is on this server"
        )


async def test_an_application_stops_by_its_signal_and_within_its_time(
    scenario: ContainerScenario,
) -> None:
    reference = await scenario.image("1", STUBBORN)
    await scenario.deploy(reference, stop_grace_seconds=1)
    began_at = time.monotonic()

    await scenario.control("stop")
    seconds = time.monotonic() - began_at
    killed = await seen(scenario)
    await scenario.deploy(reference, stop_signal="SIGINT", stop_grace_seconds=60)
    await scenario.control("stop")
    stopped = await seen(scenario)

    assert seconds < 8
    assert (killed.exit_code, killed.grace) == (137, timedelta(seconds=1))
    assert (stopped.exit_code, stopped.grace) == (3, timedelta(minutes=1))
