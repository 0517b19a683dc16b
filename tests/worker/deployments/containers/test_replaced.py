"""Containers are replaced on a real Engine; an unhealthy version keeps the previous one."""

import asyncio
import time
from dataclasses import replace
from functools import partial

import pytest

from shared.errors import EngineError
from shared.faults import FaultCode
from shared.jobs.containers import HealthProbe, PublishedPort
from tests.waiting import wait_until
from tests.worker.deployments.containers.scenario import (
    FAILING,
    PASSING,
    QUICKLY,
    SERVE,
    ContainerScenario,
    answer,
    deploy_with_environment,
    is_answering,
    is_starting,
    polling,
)
from worker.deployments import targets
from worker.deployments.targets import ENGINE_UNREACHABLE_CODES, ContainerTarget
from worker.engine import containers
from worker.engine.containers import APPLICATION
from worker.engine.transport.connection import Engine
from worker.jobs.attempt import Attempt, StopReason
from worker.jobs.joblog import JobLog, LogLimits
from worker.jobs.mask import Mask


async def test_an_image_runs_with_its_environment_under_its_name(
    scenario: ContainerScenario,
) -> None:
    reference, result = await deploy_with_environment(scenario)

    assert reference.endswith(f"@{result.digest}")
    assert result.gap_seconds == 0


async def test_the_list_of_containers_shows_the_name_of_the_image_and_runs_its_digest(
    scenario: ContainerScenario,
) -> None:
    reference = await scenario.web_image("1")

    result = await scenario.deploy(reference)

    listed = await scenario.engine.request("GET", "containers/json")
    assert isinstance(listed, list)
    [shown] = [
        each for each in listed if isinstance(each, dict) and each["Id"] == result.container_id
    ]
    assert (shown["Image"], shown["ImageID"]) == (reference, result.image_id)


async def test_a_healthy_version_replaces_the_previous_one(scenario: ContainerScenario) -> None:
    first, second = await scenario.web_image("1"), await scenario.web_image("2")
    await scenario.deploy(first)
    before = await scenario.only()

    result = await scenario.deploy(second, health_check=PASSING)

    after = await scenario.only()
    assert after.container_id == result.container_id != before.container_id
    assert after.health is not None
    assert after.health.status == "healthy"


@pytest.mark.parametrize(
    ("version", "code", "expected_text"),
    [
        ((SERVE, FAILING), FaultCode.CONTAINER_UNHEALTHY, "not well"),
        (("echo cannot go on; exit 7", None), FaultCode.CONTAINER_EXITED, "code 7: cannot go on"),
        (("echo cannot go on; exit 0", PASSING), FaultCode.CONTAINER_EXITED, "cannot go on"),
    ],
)
@pytest.mark.parametrize("ports", [(), (PublishedPort(published_port=8301, target_port=8080),)])
async def test_an_unhealthy_version_is_removed_and_the_previous_one_keeps_running(
    scenario: ContainerScenario,
    version: tuple[str, HealthProbe | None],
    code: FaultCode,
    expected_text: str,
    ports: tuple[PublishedPort, ...],
) -> None:
    script, check = version
    await scenario.deploy(await scenario.web_image("1"), ports=ports)
    before = await scenario.document()

    error = await scenario.fail(await scenario.image("2", script), health_check=check, ports=ports)

    assert error.code == code
    assert expected_text in error.message
    assert await scenario.document() == before


@pytest.mark.parametrize("ended", ["it ended with exit code 3: ", "it ended: "])
async def test_the_exit_code_is_that_of_the_run_that_failed_or_none(
    scenario: ContainerScenario, ended: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if ended == "it ended: ":
        monkeypatch.setattr(targets, "find_exit_code", know_nothing)
    ends_once = "[ -e /ran ] && exec /bin/busybox sleep 60; echo once > /ran; exit 3"
    reference = await scenario.image("1", ends_once)
    await scenario.leave_container(reference, scenario.name)

    async def runs_again() -> bool:
        [container] = await scenario.found()
        return container.is_running and container.restarts == 1

    await wait_until(runs_again, seconds=20)
    again = await scenario.only()
    mask = Mask(())
    log = JobLog(mask, LogLimits())
    target = ContainerTarget(scenario.engine, scenario.command(reference), log, mask, QUICKLY)
    with pytest.raises(EngineError) as caught:
        await target.require_healthy(again.container_id)

    assert again.exit_code == 0
    assert caught.value.code == FaultCode.CONTAINER_EXITED
    assert ended in caught.value.message


async def know_nothing(_engine: Engine, _container_id: str) -> None:
    """Answer as an Engine that no longer has the events of a container."""


async def test_the_environment_is_in_no_message_and_no_log(scenario: ContainerScenario) -> None:
    reference = await scenario.image("1", "echo my password is $PASSWORD; exit 3")

    error = await scenario.fail(reference, {"PASSWORD": "correct-horse"})

    output = f"{error!r} {error.fault()!r} {scenario.pieces}"
    assert "my password is ***" in error.message
    assert "correct-horse" not in output


async def test_published_ports_answer_during_a_failed_version_and_soon_after_a_healthy_one(
    scenario: ContainerScenario,
) -> None:
    ports = (PublishedPort(published_port=8302, target_port=8080),)
    first, second = await scenario.web_image("1"), await scenario.web_image("2")
    await scenario.deploy(first, ports=ports)
    address = (scenario.local.address, 8302)
    await wait_until(lambda: answer(address) == "1")

    async with polling(address) as refused:
        await scenario.fail(await scenario.image("3", "exit 1"), ports=ports)
    result = await scenario.deploy(second, ports=ports)

    assert set(refused) == {"1"}
    await wait_until(lambda: answer(address) == "2")
    assert 0 < result.gap_seconds < 15


async def test_a_foreign_port_is_named_and_the_previous_version_runs_again(
    scenario: ContainerScenario,
) -> None:
    theirs, ours = (PublishedPort(published_port=port, target_port=8080) for port in (8303, 8304))
    other = replace(scenario, name=f"{scenario.name}-other")
    await other.deploy(await other.web_image("1"), ports=(theirs,))
    await scenario.deploy(await scenario.web_image("1"), ports=(ours,))
    before = await scenario.document()
    second = await scenario.web_image("2")

    alone = await scenario.fail(second, ports=(theirs,))
    untouched = await scenario.document()
    both = await scenario.fail(second, ports=(ours, theirs))

    assert (alone.code, both.code) == (FaultCode.PORT_TAKEN, FaultCode.PORT_TAKEN)
    assert untouched == before
    assert (await scenario.only()).container_id == before[0]
    await wait_until(lambda: answer((scenario.local.address, 8304)) == "1")
    await other.clear()


async def test_a_foreign_container_is_not_touched(scenario: ContainerScenario) -> None:
    reference = await scenario.web_image("1")
    foreign_container = replace(scenario, name=scenario.name)
    await foreign_container.deploy(reference, application_id="another")

    error = await scenario.fail(reference)

    assert error.code == FaultCode.NAME_TAKEN
    [theirs] = await containers.find(scenario.engine, APPLICATION, "another")
    assert theirs.is_running
    await containers.remove(scenario.engine, theirs.container_id)


async def test_a_missing_image_fails_the_deployment(scenario: ContainerScenario) -> None:
    absent = scenario.registry.reference("team/absent").with_digest("sha256:" + "0" * 64)

    error = await scenario.fail(str(replace(absent, tag=None)))

    assert error.code == FaultCode.LOCAL_IMAGE_MISSING
    assert await scenario.found() == []


async def test_a_cancel_before_the_switch_keeps_the_previous_version(
    scenario: ContainerScenario,
) -> None:
    await scenario.deploy(await scenario.web_image("1"))
    before = await scenario.document()
    second = await scenario.web_image("2")
    attempt = Attempt("job", 1)
    slow = PASSING.model_copy(update={"interval_seconds": 3600})
    attempt.task = asyncio.create_task(scenario.deploy(second, attempt=attempt, health_check=slow))
    await wait_until(partial(is_starting, scenario))

    entries = time.monotonic()
    attempt.stop(StopReason.CANCELLED)
    with pytest.raises(asyncio.CancelledError):
        await attempt.task

    assert time.monotonic() - entries < 5
    assert await scenario.document() == before
    await scenario.only()


async def test_a_cancel_while_the_previous_version_stops_starts_it_again(
    scenario: ContainerScenario,
) -> None:
    before, attempt = await scenario.start_slow_stop("1", 8305)

    entries = time.monotonic()
    attempt.stop(StopReason.CANCELLED)
    with pytest.raises(asyncio.CancelledError):
        await attempt.task  # type: ignore[misc]

    assert time.monotonic() - entries < 5
    assert (await scenario.only()).container_id == before.container_id
    await wait_until(lambda: answer((scenario.local.address, 8305)) == "1")


async def test_an_unnoticed_engine_restart_fails_no_healthy_version(
    scenario: ContainerScenario,
) -> None:
    await scenario.deploy(await scenario.web_image("1"))
    two = await scenario.web_image("2")
    slow = PASSING.model_copy(update={"interval_seconds": 3})
    command = scenario.command(two, health_check=slow)
    deploying = asyncio.create_task(scenario.deploy(command))
    await wait_until(partial(is_starting, scenario))

    # The attempt observes this only if a request is under way: it runs in the same loop.
    scenario.local.kill()
    scenario.local.start_again()
    try:
        result = await deploying
    except EngineError as error:
        if error.code not in ENGINE_UNREACHABLE_CODES:
            raise
        result = await scenario.deploy(command)

    assert (await scenario.only()).container_id == result.container_id


async def test_a_renamed_application_replaces_its_previous_container(
    scenario: ContainerScenario,
) -> None:
    ports = (PublishedPort(published_port=8306, target_port=8080),)
    await scenario.deploy(await scenario.web_image("1"), ports=ports)

    result = await scenario.deploy(
        await scenario.web_image("2"), ports=ports, name=f"{scenario.name}-renamed"
    )

    [container] = await scenario.found()
    assert (container.name, container.container_id) == (
        f"{scenario.name}-renamed",
        result.container_id,
    )


async def test_two_published_ports_may_share_a_target_port(scenario: ContainerScenario) -> None:
    ports = tuple(PublishedPort(published_port=port, target_port=8080) for port in (8307, 8308))

    await scenario.deploy(await scenario.web_image("1"), ports=ports)

    for port in ports:
        address = (scenario.local.address, port.published_port)
        await wait_until(partial(is_answering, address, "1"))


async def test_a_secret_is_hidden_before_a_message_is_cut(scenario: ContainerScenario) -> None:
    secret = "correct-horse  battery-staple"
    filler = "/bin/busybox printf %485s x | /bin/busybox tr ' ' x"
    script = f'echo "$PASSWORD $({filler})"; exit 3'

    error = await scenario.fail(await scenario.image("1", script), {"PASSWORD": secret})

    assert "staple" not in f"{error!r} {scenario.pieces}"


@pytest.mark.parametrize("names", [("", ".new"), (".old", ".new"), ("", ".old")])
@pytest.mark.parametrize("is_running", [True, False])
async def test_the_next_attempt_cleans_up_leftovers(
    scenario: ContainerScenario, names: tuple[str, str], *, is_running: bool
) -> None:
    """The container of the first name has to survive a failed next version."""
    await scenario.deploy(await scenario.web_image("1"))
    stored = await scenario.only()
    if not is_running:
        await containers.stop(scenario.engine, stored)
    if names[0]:
        await containers.rename(scenario.engine, stored.container_id, f"{scenario.name}{names[0]}")
    await scenario.leave_container(await scenario.web_image("2"), f"{scenario.name}{names[1]}")

    error = await scenario.fail(await scenario.image("3", "exit 1"))

    assert error.code == FaultCode.CONTAINER_EXITED
    assert (await scenario.only()).container_id == stored.container_id


async def test_a_repeated_deployment_changes_nothing(scenario: ContainerScenario) -> None:
    command = scenario.command(await scenario.web_image("1"))
    first = await scenario.deploy(command)
    before = await scenario.document()

    again = await scenario.deploy(command)

    assert again == first
    assert await scenario.document() == before
