"""Containers replaced on a real Engine: the healthy run, the others leave what ran before."""

import asyncio
import time
from dataclasses import replace
from functools import partial

import pytest

from shared.faults import FaultCode
from shared.jobs.commands import HealthProbe, PublishedPort
from tests.waiting import wait_until
from tests.worker.deployments.containers.yard import (
    ILL,
    SERVE,
    WELL,
    Yard,
    answer,
    is_answering,
    is_starting,
    polling,
)
from worker.engine import containers
from worker.engine.containers import APPLICATION
from worker.jobs.attempt import Attempt, Why


async def test_an_image_runs_with_its_environment_under_its_name(yard: Yard) -> None:
    reference = await yard.image("1", "echo $COLOUR; exec /bin/busybox sleep 1000")

    result = await yard.deploy(reference, {"COLOUR": "bluebottle"})

    container = await yard.only()
    assert result.container_id == container.container_id
    assert (result.reference, result.image_id) == (reference, container.image_id)
    assert reference.endswith(f"@{result.digest}")
    assert result.gap_seconds == 0
    assert await containers.last_lines(yard.engine, yard.name) == "bluebottle\n"


async def test_a_good_version_takes_the_place_of_the_one_before(yard: Yard) -> None:
    first, second = await yard.serving("1"), await yard.serving("2")
    await yard.deploy(first)
    before = await yard.only()

    result = await yard.deploy(second, health_check=WELL)

    after = await yard.only()
    assert after.container_id == result.container_id != before.container_id
    assert after.health is not None
    assert after.health.status == "healthy"


@pytest.mark.parametrize(
    ("version", "code", "words"),
    [
        ((SERVE, ILL), FaultCode.CONTAINER_UNHEALTHY, "not well"),
        (("echo cannot go on; exit 7", None), FaultCode.CONTAINER_EXITED, "code 7: cannot go on"),
        (("echo cannot go on; exit 0", WELL), FaultCode.CONTAINER_EXITED, "cannot go on"),
    ],
)
@pytest.mark.parametrize("ports", [(), (PublishedPort(published_port=8301, target_port=8080),)])
async def test_what_is_not_healthy_is_removed_and_the_one_before_goes_on(
    yard: Yard,
    version: tuple[str, HealthProbe | None],
    code: FaultCode,
    words: str,
    ports: tuple[PublishedPort, ...],
) -> None:
    script, check = version
    await yard.deploy(await yard.serving("1"), ports=ports)
    before = await yard.document()

    error = await yard.fail(await yard.image("2", script), health_check=check, ports=ports)

    assert error.code == code
    assert words in error.message
    assert await yard.document() == before


async def test_the_environment_is_in_no_message_and_no_log(yard: Yard) -> None:
    reference = await yard.image("1", "echo my password is $PASSWORD; exit 3")

    error = await yard.fail(reference, {"PASSWORD": "correct-horse"})

    said = f"{error!r} {error.fault()!r} {yard.pieces}"
    assert "my password is ***" in error.message
    assert "correct-horse" not in said


async def test_published_ports_answer_through_a_refused_version_and_soon_after_a_good_one(
    yard: Yard,
) -> None:
    ports = (PublishedPort(published_port=8302, target_port=8080),)
    first, second = await yard.serving("1"), await yard.serving("2")
    await yard.deploy(first, ports=ports)
    place = (yard.local.address, 8302)
    await wait_until(lambda: answer(place) == "1")

    async with polling(place) as refused:
        await yard.fail(await yard.image("3", "exit 1"), ports=ports)
    result = await yard.deploy(second, ports=ports)

    assert set(refused) == {"1"}
    await wait_until(lambda: answer(place) == "2")
    assert 0 < result.gap_seconds < 15


async def test_a_port_of_somebody_else_s_is_named_and_the_one_before_runs_again(
    yard: Yard,
) -> None:
    theirs, ours = (PublishedPort(published_port=port, target_port=8080) for port in (8303, 8304))
    other = replace(yard, name=f"{yard.name}-other")
    await other.deploy(await other.serving("1"), ports=(theirs,))
    await yard.deploy(await yard.serving("1"), ports=(ours,))
    before = await yard.document()
    second = await yard.serving("2")

    alone = await yard.fail(second, ports=(theirs,))
    untouched = await yard.document()
    both = await yard.fail(second, ports=(ours, theirs))

    assert (alone.code, both.code) == (FaultCode.PORT_TAKEN, FaultCode.PORT_TAKEN)
    assert untouched == before
    assert (await yard.only()).container_id == before[0]
    await wait_until(lambda: answer((yard.local.address, 8304)) == "1")
    await other.clear()


async def test_a_container_of_somebody_else_s_is_left_alone(yard: Yard) -> None:
    reference = await yard.serving("1")
    stranger = replace(yard, name=yard.name)
    await stranger.deploy(reference, application_id="another")

    error = await yard.fail(reference)

    assert error.code == FaultCode.NAME_TAKEN
    [theirs] = await containers.find(yard.engine, APPLICATION, "another")
    assert theirs.is_running
    await containers.remove(yard.engine, theirs.container_id)


async def test_an_image_that_is_not_there_is_not_run(yard: Yard) -> None:
    absent = yard.registry.reference("team/absent").with_digest("sha256:" + "0" * 64)

    error = await yard.fail(str(replace(absent, tag=None)))

    assert error.code == FaultCode.LOCAL_IMAGE_MISSING
    assert await yard.found() == []


async def test_a_cancel_before_the_switch_leaves_what_ran_before(yard: Yard) -> None:
    await yard.deploy(await yard.serving("1"))
    before = await yard.document()
    second = await yard.serving("2")
    attempt = Attempt("job", 1)
    slow = WELL.model_copy(update={"interval_seconds": 3600})
    attempt.task = asyncio.create_task(yard.deploy(second, attempt=attempt, health_check=slow))
    await wait_until(partial(is_starting, yard))

    begun = time.monotonic()
    attempt.stop(Why.CANCELLED)
    with pytest.raises(asyncio.CancelledError):
        await attempt.task

    assert time.monotonic() - begun < 5
    assert await yard.document() == before
    await yard.only()


async def test_a_cancel_while_the_one_before_ends_has_it_run_again(yard: Yard) -> None:
    before, attempt = await yard.begin_to_end("1", 8305)

    begun = time.monotonic()
    attempt.stop(Why.CANCELLED)
    with pytest.raises(asyncio.CancelledError):
        await attempt.task  # type: ignore[misc]

    assert time.monotonic() - begun < 5
    assert (await yard.only()).container_id == before.container_id
    await wait_until(lambda: answer((yard.local.address, 8305)) == "1")


async def test_an_engine_that_starts_again_unnoticed_refuses_no_good_version(yard: Yard) -> None:
    await yard.deploy(await yard.serving("1"))
    two = await yard.serving("2")
    slow = WELL.model_copy(update={"interval_seconds": 3})
    deploying = asyncio.create_task(yard.deploy(two, health_check=slow))
    await wait_until(partial(is_starting, yard))

    # Nobody looks meanwhile: this is the loop that the attempt runs in.
    yard.local.kill()
    yard.local.start_again()
    result = await deploying

    assert (await yard.only()).container_id == result.container_id


async def test_after_a_change_of_name_the_one_before_is_replaced_all_the_same(yard: Yard) -> None:
    ports = (PublishedPort(published_port=8306, target_port=8080),)
    await yard.deploy(await yard.serving("1"), ports=ports)

    result = await yard.deploy(await yard.serving("2"), ports=ports, name=f"{yard.name}-renamed")

    [container] = await yard.found()
    assert (container.name, container.container_id) == (
        f"{yard.name}-renamed",
        result.container_id,
    )


async def test_two_published_ports_may_lead_to_the_same_one(yard: Yard) -> None:
    ports = tuple(PublishedPort(published_port=port, target_port=8080) for port in (8307, 8308))

    await yard.deploy(await yard.serving("1"), ports=ports)

    for port in ports:
        place = (yard.local.address, port.published_port)
        await wait_until(partial(is_answering, place, "1"))


async def test_a_secret_is_hidden_before_a_message_is_cut(yard: Yard) -> None:
    secret = "correct-horse  battery-staple"
    filler = "/bin/busybox printf %485s x | /bin/busybox tr ' ' x"
    script = f'echo "$PASSWORD $({filler})"; exit 3'

    error = await yard.fail(await yard.image("1", script), {"PASSWORD": secret})

    assert "staple" not in f"{error!r} {yard.pieces}"


@pytest.mark.parametrize("names", [("", ".new"), (".old", ".new"), ("", ".old")])
@pytest.mark.parametrize("is_running", [True, False])
async def test_what_an_attempt_left_behind_is_put_right_by_the_next_one(
    yard: Yard, names: tuple[str, str], *, is_running: bool
) -> None:
    """The first of the names is what has to survive where the next version is refused."""
    await yard.deploy(await yard.serving("1"))
    kept = await yard.only()
    if not is_running:
        await containers.stop(yard.engine, kept.container_id)
    if names[0]:
        await containers.rename(yard.engine, kept.container_id, f"{yard.name}{names[0]}")
    await yard.leave(await yard.serving("2"), f"{yard.name}{names[1]}")

    error = await yard.fail(await yard.image("3", "exit 1"))

    assert error.code == FaultCode.CONTAINER_EXITED
    assert (await yard.only()).container_id == kept.container_id


async def test_the_same_deployment_again_changes_nothing(yard: Yard) -> None:
    command = yard.command(await yard.serving("1"))
    first = await yard.deploy(command)
    before = await yard.document()

    again = await yard.deploy(command)

    assert again == first
    assert await yard.document() == before
