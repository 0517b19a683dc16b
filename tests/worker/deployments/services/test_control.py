"""The Swarm service of an application is stopped, started and reloaded on a real Engine."""

import asyncio
from functools import partial
from typing import Any

import pytest

from shared.errors import EngineError
from shared.faults import FaultCode
from shared.jobs.commands import ApplicationLogs
from shared.jobs.containers import Mounted
from tests.waiting import wait_until
from tests.worker.deployments.containers.test_control import STUBBORN
from tests.worker.deployments.services.scenario import (
    FAILING,
    IN_TIME,
    PASSING,
    ServiceScenario,
)
from worker.deployments.logs import read_logs
from worker.engine.swarm import services
from worker.jobs.attempt import Attempt, StopReason

SLOW_STOP = "trap '/bin/busybox sleep 8; exit 0' TERM; /bin/busybox sleep 1000 & wait; wait"
ONCE = (
    "if [ -e /data/started ]; then echo cannot go on: $PASSWORD; exit 7; fi; echo > /data/started;"
    " /bin/busybox sleep 1000"
)


async def tasks_left(scenario: ServiceScenario) -> list[str]:
    """Return the ids of tasks that have not stopped."""
    found = await services.tasks(scenario.engine, (await scenario.only()).service_id)
    return [task.task_id for task in found if not task.is_over]


async def has_left(scenario: ServiceScenario, count: int) -> bool:
    return len(await tasks_left(scenario)) == count


async def has_running(scenario: ServiceScenario, count: int) -> bool:
    return len(await scenario.running()) == count


async def test_a_stopped_service_has_no_tasks_until_it_is_started_with_as_many(
    scenario: ServiceScenario,
) -> None:
    await scenario.deploy(await scenario.image("1"), replicas=2)
    before = await scenario.only()

    stopped = await scenario.control("stop")
    left = await tasks_left(scenario)
    again = await scenario.control("stop")
    started = await scenario.control("start")
    unchanged = await scenario.control("start")

    assert (stopped.runtime, stopped.state, stopped.changed) == ("service", "stopped", True)
    assert left == []
    assert (again.state, again.changed) == ("stopped", False)
    assert (started.state, started.changed) == ("running", True)
    assert (unchanged.state, unchanged.changed) == ("running", False)
    assert len(await scenario.running()) == 2
    after = await scenario.only()
    assert (after.service_id, after.labels) == (before.service_id, before.labels)


async def test_a_reload_replaces_all_tasks_of_the_same_spec(scenario: ServiceScenario) -> None:
    await scenario.deploy(await scenario.image("1"), replicas=2, health_check=PASSING)
    before = await scenario.running()

    reloaded = await scenario.control("reload")
    after = await scenario.running()
    await scenario.control("stop")
    of_a_stopped_one = await scenario.control("reload")

    assert reloaded.changed
    assert not {task.task_id for task in before} & {task.task_id for task in after}
    assert [task.image for task in after] == [task.image for task in before]
    assert of_a_stopped_one.changed
    assert len(await scenario.running()) == 2


async def test_a_deployment_starts_a_stopped_service_and_a_failed_one_leaves_it_stopped(
    scenario: ServiceScenario,
) -> None:
    await scenario.deploy(await scenario.image("1"), replicas=2)
    await scenario.control("stop")

    error = await scenario.fail(await scenario.image("2"), replicas=2, health_check=FAILING)
    after_failure = await scenario.only()
    await wait_until(partial(has_left, scenario, 0), seconds=IN_TIME)
    await scenario.deploy(await scenario.image("3"), replicas=3)
    await scenario.control("stop")
    await scenario.control("start")

    assert error.code == FaultCode.CONTAINER_UNHEALTHY
    assert after_failure.replicas == 0
    assert len(await scenario.running()) == 3


async def test_a_service_that_does_not_start_is_stopped_again(scenario: ServiceScenario) -> None:
    data = Mounted(type="volume", source=scenario.name, mount_path="/data")
    await scenario.deploy(await scenario.image("1", ONCE), {"PASSWORD": "{{staple"}, mounts=(data,))
    await scenario.control("stop")

    with pytest.raises(EngineError) as caught:
        await scenario.control("start")

    error = caught.value
    assert error.code == FaultCode.CONTAINER_EXITED
    assert error.message.startswith(f"cannot start the application {scenario.name}: ")
    assert "cannot go on: ***" in error.message
    assert (await scenario.only()).replicas == 0
    assert "staple" not in f"{error!r} {scenario.pieces}"


async def test_a_cancelled_stop_leaves_the_service_running(scenario: ServiceScenario) -> None:
    await scenario.deploy(await scenario.image("1", SLOW_STOP))
    attempt = Attempt("job", 1)
    attempt.task = asyncio.create_task(scenario.control("stop", attempt))
    await wait_until(partial(has_running, scenario, 0), seconds=IN_TIME)

    attempt.stop(StopReason.CANCELLED)
    with pytest.raises(asyncio.CancelledError):
        await attempt.task

    await wait_until(partial(has_running, scenario, 1), seconds=IN_TIME)


async def test_a_service_stops_by_its_signal_and_within_its_time(
    scenario: ServiceScenario,
) -> None:
    await scenario.deploy(
        await scenario.image("1", STUBBORN), stop_signal="SIGINT", stop_grace_seconds=60
    )
    task: Any = (await scenario.only()).document["TaskTemplate"]

    await scenario.control("stop")

    spec = task["ContainerSpec"]
    assert (spec["StopSignal"], spec["StopGracePeriod"]) == ("SIGINT", 60_000_000_000)
    service_id = (await scenario.only()).service_id
    [ended] = await services.tasks(scenario.engine, service_id)
    assert ended.exit_code == 3


async def test_the_output_of_all_tasks_of_a_service_is_read(scenario: ServiceScenario) -> None:
    script = "echo my $PASSWORD; exec /bin/busybox sleep 1000"
    await scenario.deploy(await scenario.image("1", script), {"PASSWORD": "staple"}, replicas=2)
    command = ApplicationLogs(application_id=scenario.application_id, name=scenario.name, tail=100)

    found = await read_logs(command, scenario.tools)

    assert [line.partition(" ")[2] for line in found.lines] == ["my ***", "my ***"]
