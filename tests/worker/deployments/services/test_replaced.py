"""Swarm services replaced on a real Engine: the healthy run, the others leave what ran before."""

import asyncio
import time
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from shared.errors import EngineError, RegistryError
from shared.faults import FaultCode
from shared.jobs.commands import ContainerReplace, HealthProbe, PublishedPort
from shared.jobs.results import ContainerResult, ServiceResult
from tests.fakes.web import open_fake, says
from tests.waiting import wait_until
from tests.worker.deployments.containers.yard import SERVE, answer
from tests.worker.deployments.services.yard import (
    ILL,
    IN_PLACE,
    NEVER,
    SOON,
    WELL,
    Yard,
    forgetting,
    joined,
    lay_cable,
    open_node,
)
from tests.worker.engine.parts import IDLE
from tests.worker.engine.test_images import FOREIGN, ignore
from worker.deployments.containers import replace_container
from worker.engine import containers, images
from worker.engine.containers import APPLICATION, DEPLOYMENT
from worker.engine.swarm import services
from worker.engine.swarm.service_spec import ServiceSpec
from worker.engine.transport.connection import Engine
from worker.jobs.attempt import Attempt, Why
from worker.login import Grants


async def test_a_first_deployment_runs_just_the_image_that_its_registry_gives_for_the_login(
    yard: Yard,
) -> None:
    reference = await yard.image("1")

    result = await yard.deploy(reference)

    [task] = await yard.running()
    here = await containers.inspect(yard.engine, task.container_id)
    pulled = await images.inspect(yard.engine, reference)
    assert (task.image, here.image_id) == (reference, pulled.image_id)
    assert result == ServiceResult(
        reference=reference,
        digest=reference.partition("@")[2],
        service_id=(await yard.only()).service_id,
        replicas=1,
        gap_seconds=0,
    )


async def test_a_wrong_login_is_refused_before_anything_is_made(yard: Yard) -> None:
    reference = await yard.image("1")
    stranger = replace(yard, login=yard.registry.login("wrong-horse-88"))

    error = await stranger.fail(reference)

    assert error.code == FaultCode.AUTH_BAD_CREDENTIALS
    assert "wrong-horse-88" not in f"{error!r} {error.fault()!r} {yard.pieces}"
    assert await services.find(yard.engine, APPLICATION, yard.application_id) == []


async def test_what_its_registry_does_not_have_or_no_node_can_run_touches_nothing(
    yard: Yard,
) -> None:
    first, foreign = await yard.image("1"), await yard.image("2", architecture=FOREIGN)
    absent = f"{first.partition('@')[0]}@sha256:{'0' * 64}"
    await yard.deploy(first)
    before = await yard.only()

    missing, unfit = await yard.fail(absent), await yard.fail(foreign)

    after = await yard.only()
    assert (missing.code, unfit.code) == (FaultCode.IMAGE_NOT_FOUND, FaultCode.PLATFORM_MISSING)
    assert f"linux/{FOREIGN}" in unfit.message
    assert (after.version, after.document) == (before.version, before.document)


async def test_without_a_port_of_the_node_a_new_version_runs_before_the_old_one_ends(
    yard: Yard,
) -> None:
    first, second = await yard.image("1"), await yard.image("2")
    await yard.deploy(first, health_check=WELL)
    [before] = await yard.running()

    result = await yard.deploy(second, health_check=WELL)

    [after] = await yard.running()
    [old] = [
        task
        for task in await services.tasks(yard.engine, result.service_id)
        if task.task_id == before.task_id
    ]
    assert (after.image, result.gap_seconds) == (second, 0)
    assert after.at <= old.at


async def test_with_a_port_of_the_node_the_old_version_ends_first_and_the_gap_is_measured(
    yard: Yard,
) -> None:
    ports = (PublishedPort(published_port=8401, target_port=8080, publish_mode="host"),)
    first, second = await yard.image("1"), await yard.image("2")
    await yard.deploy(first, ports=ports)
    place = (yard.local.address, 8401)
    await wait_until(lambda: answer(place) == "1")

    result = await yard.deploy(second, ports=ports)

    await wait_until(lambda: answer(place) == "2")
    assert await yard.digests() == [second]
    assert 0 < result.gap_seconds < 15


@pytest.mark.parametrize(
    ("version", "code", "words"),
    [
        ((SERVE, ILL), FaultCode.CONTAINER_UNHEALTHY, "not well"),
        (("echo cannot go on; exit 7", None), FaultCode.CONTAINER_EXITED, "code 7"),
        (("echo cannot go on; exit 0", None), FaultCode.CONTAINER_EXITED, "cannot go on"),
        (("echo cannot go on; exit 7", WELL), FaultCode.CONTAINER_EXITED, "code 7"),
        (("echo cannot go on; exit 0", WELL), FaultCode.CONTAINER_EXITED, "cannot go on"),
    ],
)
@pytest.mark.parametrize(
    "ports", [(), (PublishedPort(published_port=8402, target_port=8080, publish_mode="host"),)]
)
async def test_what_does_not_run_well_is_rolled_back(
    yard: Yard,
    version: tuple[str, HealthProbe | None],
    code: FaultCode,
    words: str,
    ports: tuple[PublishedPort, ...],
) -> None:
    script, check = version
    first = await yard.image("1")
    await yard.deploy(first, ports=ports)

    error = await yard.fail(await yard.image("2", script), health_check=check, ports=ports)

    assert (error.code, words in error.message) == (code, True)
    assert (await yard.only()).image == first
    assert await yard.digests() == [first]


async def test_the_health_check_of_an_image_decides_as_a_given_one_does(yard: Yard) -> None:
    for_ever = replace(yard, gate=replace(SOON, steady=timedelta(hours=1)))
    well = await yard.image("1", health_check=("/bin/busybox", "true"))
    ill = await yard.image("2", health_check=("/bin/busybox", "false"))
    for reference in (well, ill):  # as the job before has done
        await images.pull(yard.engine, yard.command(reference).target, yard.login, ignore, IDLE)

    await for_ever.deploy(well)
    error = await for_ever.fail(ill)

    assert error.code == FaultCode.CONTAINER_UNHEALTHY
    assert await yard.digests() == [well]


async def test_what_its_health_check_refuses_touches_nothing_that_runs(yard: Yard) -> None:
    await yard.deploy(await yard.image("1"))
    before = await yard.running()

    await yard.fail(await yard.image("2"), health_check=ILL)

    assert await yard.is_back(before)


async def test_a_first_version_that_does_not_run_leaves_no_service(yard: Yard) -> None:
    error = await yard.fail(await yard.image("1", "echo cannot go on; exit 7"))

    assert error.code == FaultCode.CONTAINER_EXITED
    assert await services.find(yard.engine, APPLICATION, yard.application_id) == []


async def test_a_task_that_its_swarm_forgets_at_once_is_missed(yard: Yard) -> None:
    seldom = replace(yard, gate=replace(SOON, every=timedelta(seconds=1.5)))
    reference = await yard.image("1", "exit 7")

    async with forgetting(yard.engine):
        error = await seldom.fail(reference)

    assert (error.code, "keeps nothing" in error.message) == (FaultCode.CONTAINER_EXITED, True)


async def test_a_service_keeps_its_name_as_no_swarm_can_rename_one(yard: Yard) -> None:
    first, second = await yard.image("1"), await yard.image("2")
    made = await yard.deploy(first)

    result = await yard.deploy(second, name=f"{yard.name}-renamed")

    service = await yard.only()
    assert (result.service_id, service.name) == (made.service_id, yard.name)
    assert await yard.digests() == [second]


async def test_a_container_of_a_service_is_none_that_is_replaced_by_itself(yard: Yard) -> None:
    await yard.deploy(await yard.image("1"))

    assert await containers.find(yard.engine, APPLICATION, yard.application_id) == []


async def test_an_engine_that_manages_no_swarm_is_refused_with_what_to_do(
    yard: Yard, engine: Engine
) -> None:
    elsewhere = replace(yard, tools=replace(yard.tools, engine=engine))

    error = await elsewhere.fail("r.example/team/app@sha256:" + "0" * 64, registry_id=None)

    assert error.code == FaultCode.NOT_A_SWARM_MANAGER
    assert "docker swarm init" in error.fault().remedy


async def test_what_runs_in_the_other_runtime_is_neither_doubled_nor_ended(yard: Yard) -> None:
    one = await yard.image("one")
    command = yard.command(one)
    plain = ContainerReplace.model_validate(command.model_dump())

    async def run_plain() -> ContainerResult:
        running = Attempt("job", 1, say=yard.say)
        return await replace_container(plain, Grants(), running, yard.tools, SOON)

    await yard.deploy(command)
    before = await yard.running()
    await images.pull(yard.engine, command.target, yard.login, ignore, IDLE)
    with pytest.raises(EngineError) as caught:
        await run_plain()
    assert caught.value.code == FaultCode.OTHER_RUNTIME
    assert f"as the service {yard.name}" in str(caught.value)
    assert await yard.is_back(before)

    await yard.clear()
    await run_plain()
    error = await yard.fail(one)
    assert error.code == FaultCode.OTHER_RUNTIME
    [container] = await containers.find(yard.engine, APPLICATION, yard.application_id)
    assert f"as the container {container.name}" in str(error)
    assert container.is_running
    await containers.remove(yard.engine, container.container_id)
    await yard.deploy(one)


async def test_a_service_of_somebody_else_s_is_left_alone(yard: Yard) -> None:
    reference = await yard.image("1")
    labels = {"of": "somebody else"}
    theirs = ServiceSpec(yard.name, yard.command(reference).target, labels)
    service_id = await services.create(yard.engine, theirs, yard.login)
    before = await services.inspect(yard.engine, service_id)

    error = await yard.fail(reference)

    after = await services.inspect(yard.engine, service_id)
    assert error.code == FaultCode.NAME_TAKEN
    assert (after.version, after.document) == (before.version, before.document)
    await services.remove(yard.engine, service_id)


async def test_the_next_attempt_waits_on_for_what_one_began_that_lost_its_lease(yard: Yard) -> None:
    slow = WELL.model_copy(update={"interval_seconds": 2})
    first, second = await yard.image("1"), await yard.image("2")
    await yard.deploy(first)
    command = yard.command(second, health_check=slow)
    attempt = Attempt("job", 1)
    await yard.begin(command, attempt)
    begun = await yard.only()
    attempt.stop(Why.LEASE_LOST)
    assert attempt.task is not None
    with pytest.raises(asyncio.CancelledError):
        await attempt.task

    await yard.deploy(command, attempt=Attempt("job", 2))

    made = [
        task
        for task in await services.tasks(yard.engine, begun.service_id)
        if task.deployment == command.deployment_id
    ]
    assert (await yard.only()).document == begun.document
    assert [(task.image, task.is_running) for task in made] == [(second, True)]


@pytest.mark.parametrize("why", [Why.CANCELLED, Why.DRAINED])
async def test_a_stop_puts_back_what_ran_before(yard: Yard, why: Why) -> None:
    first, second = await yard.image("1"), await yard.image("2")
    await yard.deploy(first)
    before = await yard.running()
    attempt = Attempt("job", 1)
    await yard.begin(yard.command(second, health_check=NEVER), attempt)

    begun = time.monotonic()
    attempt.stop(why)
    assert attempt.task is not None
    with pytest.raises(asyncio.CancelledError):
        await attempt.task

    assert time.monotonic() - begun < 5
    assert (await yard.only()).image == first
    await wait_until(partial(yard.is_back, before), seconds=IN_PLACE)


async def test_a_cancel_of_a_first_deployment_leaves_no_service(yard: Yard) -> None:
    attempt = Attempt("job", 1)
    await yard.begin(yard.command(await yard.image("1"), health_check=NEVER), attempt)

    attempt.stop(Why.CANCELLED)
    assert attempt.task is not None
    with pytest.raises(asyncio.CancelledError):
        await attempt.task

    assert await services.find(yard.engine, APPLICATION, yard.application_id) == []


async def test_a_task_that_no_node_takes_is_not_waited_for_for_ever(yard: Yard) -> None:
    command = yard.command(await yard.image("1"))
    labels = {APPLICATION: command.application_id, DEPLOYMENT: command.deployment_id}
    spec = ServiceSpec(yard.name, command.target, labels, platforms=(f"linux/{FOREIGN}",))
    await services.create(yard.engine, spec, yard.login)

    with pytest.raises(EngineError) as caught:
        await yard.deploy(command)

    assert caught.value.code == FaultCode.PLATFORM_MISSING
    assert await services.find(yard.engine, APPLICATION, yard.application_id) == []


async def test_so_many_replicas_run_as_are_asked_for(yard: Yard) -> None:
    reference = await yard.image("1")
    await yard.deploy(reference)

    more = await yard.deploy(reference, replicas=3)
    all_three = await yard.digests()
    fewer = await yard.deploy(reference, replicas=1)

    assert (more.replicas, fewer.replicas) == (3, 1)
    assert all_three == [reference] * 3
    assert await yard.digests() == [reference]


async def test_a_port_of_another_service_is_named_before_anything_ends(
    yard: Yard,
) -> None:
    theirs, ours = (
        PublishedPort(published_port=port, target_port=8080, publish_mode="host")
        for port in (8403, 8404)
    )
    first = await yard.image("1")
    other = replace(yard, name=f"{yard.name}-other")
    await other.deploy(first, ports=(theirs,))
    await yard.deploy(first, ports=(ours,))
    before = await yard.running()

    error = await yard.fail(first, ports=(ours, theirs))

    assert error.code == FaultCode.PORT_TAKEN
    assert await yard.is_back(before)
    await other.clear()


async def test_more_replicas_than_nodes_have_a_port_for_are_refused(yard: Yard) -> None:
    ports = (PublishedPort(published_port=8405, target_port=8080, publish_mode="host"),)

    error = await yard.fail(await yard.image("1"), ports=ports, replicas=2)

    assert error.code == FaultCode.NO_SUITABLE_NODE
    assert await services.find(yard.engine, APPLICATION, yard.application_id) == []


async def test_the_same_deployment_again_changes_nothing(yard: Yard) -> None:
    command = yard.command(await yard.image("1"))
    first = await yard.deploy(command)
    before = await yard.running()

    again = await yard.deploy(command)

    assert again == first
    assert await yard.is_back(before)


async def test_no_swarm_gets_the_login_of_a_registry_whose_token_server_is_unsafe(
    yard: Yard,
) -> None:
    listen = yard.registry.local.address
    async with open_fake(says(200, text='{"token": "t"}'), listen=listen) as elsewhere:
        unsafe = {"WWW-Authenticate": f'Bearer realm="http://{elsewhere.host}/token",service="r"'}
        async with open_fake(says(401, headers=unsafe), listen=listen) as fake:
            login = yard.login.model_copy(update={"host": fake.host})
            tempted = replace(yard, login=login)

            with pytest.raises(RegistryError) as caught:
                await tempted.deploy(f"{fake.host}/team/app@sha256:{'0' * 64}")

    assert caught.value.code == FaultCode.AUTH_UNSAFE_REALM
    assert elsewhere.requests == []
    assert not await services.find(yard.engine, APPLICATION, yard.application_id)


async def test_a_container_gets_its_environment_as_it_stands(yard: Yard) -> None:
    said = 'echo "$COLOUR $BRACES"; exec /bin/busybox sleep 1000'
    reference = await yard.image("1", said)

    await yard.deploy(reference, {"COLOUR": "bluebottle", "BRACES": "{{.Node.ID}} }} {{"})

    [task] = await yard.running()
    printed = await containers.last_lines(yard.engine, task.container_id)
    assert printed == "bluebottle {{.Node.ID}} }} {{\n"


async def test_the_environment_is_in_no_message_and_no_log(yard: Yard) -> None:
    reference = await yard.image("1", "echo my password is $PASSWORD; exit 3")

    error = await yard.fail(reference, {"PASSWORD": "correct-horse"})

    assert "my password is ***" in error.message
    assert "correct-horse" not in f"{error!r} {error.fault()!r} {yard.pieces}"


async def test_a_node_that_never_logged_in_pulls_with_the_login_that_it_is_handed(
    yard: Yard, tmp_path: Path
) -> None:
    ports = (PublishedPort(published_port=8406, target_port=8080, publish_mode="host"),)
    reference = await yard.image("1")
    with open_node(tmp_path / "second") as local:
        assert yard.local.namespace is not None
        assert local.namespace is not None
        lay_cable(yard.local.namespace, local.namespace)
        async with joined(yard, local) as second:
            result = await yard.deploy(reference, ports=ports, replicas=2)

            assert result.replicas == 2
            assert len({task.node_id for task in await yard.running()}) == 2
            await images.inspect(second, reference)
            await wait_until(lambda: answer((local.address, 8406)) == "1")
