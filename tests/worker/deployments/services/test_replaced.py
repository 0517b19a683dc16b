"""Swarm services are replaced on a real Engine; an unhealthy version keeps the previous one."""

import asyncio
import time
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from shared.errors import EngineError, RegistryError
from shared.faults import FaultCode
from shared.jobs.commands import ContainerReplace
from shared.jobs.containers import HealthProbe, PublishedPort
from shared.jobs.results import ContainerResult, ServiceResult
from shared.reference import parse_reference, parse_registry
from tests.fakes.web import open_fake, says
from tests.waiting import wait_until
from tests.worker.deployments.containers.scenario import SERVE, answer
from tests.worker.deployments.services.scenario import (
    FAILING,
    IN_TIME,
    NEVER_RUN,
    PASSING,
    QUICKLY,
    ServiceScenario,
    connect,
    joined,
    no_task_history,
    open_node,
)
from tests.worker.engine.parts import IDLE
from tests.worker.engine.test_images import FOREIGN, ignore
from tests.worker.oci.storage import Storage
from worker.deployments.containers import replace_container
from worker.engine import containers, images
from worker.engine.containers import APPLICATION, DEPLOYMENT
from worker.engine.swarm import services
from worker.engine.swarm.service_spec import ServiceSpec
from worker.engine.transport.connection import Engine
from worker.jobs.attempt import Attempt, StopReason
from worker.login import Grants
from worker.oci.images.plan import make_plan
from worker.oci.registry.client import RegistryClient


async def test_the_registry_says_why_a_node_cannot_pull(scenario: ServiceScenario) -> None:
    reference = await scenario.image("1", "echo nobody reads this; exec /bin/busybox sleep 1000")
    target = parse_reference(reference)
    settings = await scenario.tools.connection_settings()
    async with RegistryClient(
        parse_registry(target.registry), scenario.login, settings
    ) as registry:
        plan = await make_plan(registry, target)
    layer = plan.layers[-1].digest
    Storage(scenario.registry.local).link(target.repository, layer).unlink()

    error = await scenario.fail(reference)

    assert (error.code, error.retryable) == (FaultCode.IMAGE_INCOMPLETE, False)
    assert layer in error.message
    assert "No such image" in error.evidence


async def test_a_first_deployment_runs_exactly_the_image_of_its_registry(
    scenario: ServiceScenario,
) -> None:
    reference = await scenario.image("1")

    result = await scenario.deploy(reference)

    [task] = await scenario.running()
    here = await containers.inspect(scenario.engine, task.container_id)
    pulled = await images.inspect(scenario.engine, reference)
    assert (task.image, here.image_id) == (reference, pulled.image_id)
    assert result == ServiceResult(
        reference=reference,
        digest=reference.partition("@")[2],
        service_id=(await scenario.only()).service_id,
        replicas=1,
        gap_seconds=0,
    )


async def test_a_wrong_login_fails_before_anything_is_created(scenario: ServiceScenario) -> None:
    reference = await scenario.image("1")
    foreign_container = replace(scenario, login=scenario.registry.login("wrong-horse-88"))

    error = await foreign_container.fail(reference)

    assert error.code == FaultCode.AUTH_BAD_CREDENTIALS
    assert "wrong-horse-88" not in f"{error!r} {error.fault()!r} {scenario.pieces}"
    assert await services.find(scenario.engine, APPLICATION, scenario.application_id) == []


async def test_a_missing_or_unrunnable_image_changes_nothing(
    scenario: ServiceScenario,
) -> None:
    first, foreign = await scenario.image("1"), await scenario.image("2", architecture=FOREIGN)
    absent = f"{first.partition('@')[0]}@sha256:{'0' * 64}"
    await scenario.deploy(first)
    before = await scenario.only()

    missing, unfit = await scenario.fail(absent), await scenario.fail(foreign)

    after = await scenario.only()
    assert (missing.code, unfit.code) == (FaultCode.IMAGE_NOT_FOUND, FaultCode.PLATFORM_MISSING)
    assert f"linux/{FOREIGN}" in unfit.message
    assert (after.version, after.document) == (before.version, before.document)


async def test_a_version_without_a_host_port_runs_before_the_old_one_stops(
    scenario: ServiceScenario,
) -> None:
    first, second = await scenario.image("1"), await scenario.image("2")
    await scenario.deploy(first, health_check=PASSING)
    [before] = await scenario.running()

    result = await scenario.deploy(second, health_check=PASSING)

    [after] = await scenario.running()
    [old] = [
        task
        for task in await services.tasks(scenario.engine, result.service_id)
        if task.task_id == before.task_id
    ]
    assert (after.image, result.gap_seconds) == (second, 0)
    assert after.at <= old.at


async def test_a_version_with_a_host_port_stops_the_old_one_first_and_measures_the_gap(
    scenario: ServiceScenario,
) -> None:
    ports = (PublishedPort(published_port=8401, target_port=8080, publish_mode="host"),)
    first, second = await scenario.image("1"), await scenario.image("2")
    await scenario.deploy(first, ports=ports)
    address = (scenario.local.address, 8401)
    await wait_until(lambda: answer(address) == "1")

    result = await scenario.deploy(second, ports=ports)

    await wait_until(lambda: answer(address) == "2")
    assert await scenario.digests() == [second]
    assert 0 < result.gap_seconds < 15


@pytest.mark.parametrize(
    ("version", "code", "expected_text"),
    [
        ((SERVE, FAILING), FaultCode.CONTAINER_UNHEALTHY, "not well"),
        (("echo cannot go on; exit 7", None), FaultCode.CONTAINER_EXITED, "code 7"),
        (("echo cannot go on; exit 0", None), FaultCode.CONTAINER_EXITED, "cannot go on"),
        (("echo cannot go on; exit 7", PASSING), FaultCode.CONTAINER_EXITED, "code 7"),
        (("echo cannot go on; exit 0", PASSING), FaultCode.CONTAINER_EXITED, "cannot go on"),
    ],
)
@pytest.mark.parametrize(
    "ports", [(), (PublishedPort(published_port=8402, target_port=8080, publish_mode="host"),)]
)
async def test_a_version_that_does_not_run_is_rolled_back(
    scenario: ServiceScenario,
    version: tuple[str, HealthProbe | None],
    code: FaultCode,
    expected_text: str,
    ports: tuple[PublishedPort, ...],
) -> None:
    script, check = version
    first = await scenario.image("1")
    await scenario.deploy(first, ports=ports)

    error = await scenario.fail(await scenario.image("2", script), health_check=check, ports=ports)

    assert (error.code, expected_text in error.message) == (code, True)
    assert (await scenario.only()).image == first
    assert await scenario.digests() == [first]


async def test_the_health_check_of_an_image_counts_like_that_of_an_application(
    scenario: ServiceScenario,
) -> None:
    steady = replace(scenario, readiness=replace(QUICKLY, steady=timedelta(hours=1)))
    passing = await scenario.image("1", health_check=("/bin/busybox", "true"))
    failing = await scenario.image("2", health_check=("/bin/busybox", "false"))
    for reference in (passing, failing):  # as an earlier job has done
        await images.pull(
            scenario.engine, scenario.command(reference).target, scenario.login, ignore, IDLE
        )

    await steady.deploy(passing)
    error = await steady.fail(failing)

    assert error.code == FaultCode.CONTAINER_UNHEALTHY
    assert await scenario.digests() == [passing]


async def test_a_version_that_fails_its_health_check_touches_no_running_task(
    scenario: ServiceScenario,
) -> None:
    await scenario.deploy(await scenario.image("1"))
    before = await scenario.running()

    await scenario.fail(await scenario.image("2"), health_check=FAILING)

    assert await scenario.is_restored(before)


async def test_a_first_version_that_does_not_run_leaves_no_service(
    scenario: ServiceScenario,
) -> None:
    error = await scenario.fail(await scenario.image("1", "echo cannot go on; exit 7"))

    assert error.code == FaultCode.CONTAINER_EXITED
    assert await services.find(scenario.engine, APPLICATION, scenario.application_id) == []


async def test_a_task_that_its_swarm_removes_at_once_counts_as_ended(
    scenario: ServiceScenario,
) -> None:
    seldom = replace(scenario, readiness=replace(QUICKLY, every=timedelta(seconds=1.5)))
    reference = await scenario.image("1", "exit 7")

    async with no_task_history(scenario.engine):
        error = await seldom.fail(reference)

    assert (error.code, "keeps nothing" in error.message) == (FaultCode.CONTAINER_EXITED, True)


async def test_a_service_keeps_its_name(scenario: ServiceScenario) -> None:
    first, second = await scenario.image("1"), await scenario.image("2")
    made = await scenario.deploy(first)

    result = await scenario.deploy(second, name=f"{scenario.name}-renamed")

    service = await scenario.only()
    assert (result.service_id, service.name) == (made.service_id, scenario.name)
    assert await scenario.digests() == [second]


async def test_a_container_of_a_service_is_not_replaced_on_its_own(
    scenario: ServiceScenario,
) -> None:
    await scenario.deploy(await scenario.image("1"))

    assert await containers.find(scenario.engine, APPLICATION, scenario.application_id) == []


async def test_an_engine_that_manages_no_swarm_fails_with_a_remedy(
    scenario: ServiceScenario, engine: Engine
) -> None:
    elsewhere = replace(scenario, tools=replace(scenario.tools, engine=engine))

    error = await elsewhere.fail("r.example/team/app@sha256:" + "0" * 64, registry_id=None)

    assert error.code == FaultCode.NOT_A_SWARM_MANAGER
    assert "docker swarm init" in error.fault().remedy


async def test_an_application_in_the_other_runtime_is_neither_doubled_nor_stopped(
    scenario: ServiceScenario,
) -> None:
    one = await scenario.image("one")
    command = scenario.command(one)
    plain = ContainerReplace.model_validate(command.model_dump())

    async def run_plain() -> ContainerResult:
        running = Attempt("job", 1, write_event=scenario.add_piece)
        return await replace_container(plain, Grants(), running, scenario.tools, QUICKLY)

    await scenario.deploy(command)
    before = await scenario.running()
    await images.pull(scenario.engine, command.target, scenario.login, ignore, IDLE)
    with pytest.raises(EngineError) as caught:
        await run_plain()
    assert caught.value.code == FaultCode.OTHER_RUNTIME
    assert f"as the service {scenario.name}" in str(caught.value)
    assert await scenario.is_restored(before)

    await scenario.clear()
    await run_plain()
    error = await scenario.fail(one)
    assert error.code == FaultCode.OTHER_RUNTIME
    [container] = await containers.find(scenario.engine, APPLICATION, scenario.application_id)
    assert f"as the container {container.name}" in str(error)
    assert container.is_running
    await containers.remove(scenario.engine, container.container_id)
    await scenario.deploy(one)


async def test_a_foreign_service_is_not_touched(scenario: ServiceScenario) -> None:
    reference = await scenario.image("1")
    labels = {"of": "somebody else"}
    theirs = ServiceSpec(scenario.name, scenario.command(reference).target, labels)
    service_id = await services.create(scenario.engine, theirs, scenario.login)
    before = await services.inspect(scenario.engine, service_id)

    error = await scenario.fail(reference)

    after = await services.inspect(scenario.engine, service_id)
    assert error.code == FaultCode.NAME_TAKEN
    assert (after.version, after.document) == (before.version, before.document)
    await services.remove(scenario.engine, service_id)


async def test_the_next_attempt_continues_a_deployment_that_lost_its_lease(
    scenario: ServiceScenario,
) -> None:
    slow = PASSING.model_copy(update={"interval_seconds": 2})
    first, second = await scenario.image("1"), await scenario.image("2")
    await scenario.deploy(first)
    command = scenario.command(second, health_check=slow)
    attempt = Attempt("job", 1)
    await scenario.begin(command, attempt)
    entries = await scenario.only()
    attempt.stop(StopReason.LEASE_LOST)
    assert attempt.task is not None
    with pytest.raises(asyncio.CancelledError):
        await attempt.task

    await scenario.deploy(command, attempt=Attempt("job", 2))

    made = [
        task
        for task in await services.tasks(scenario.engine, entries.service_id)
        if task.deployment == command.deployment_id
    ]
    assert (await scenario.only()).document == entries.document
    assert [(task.image, task.is_running) for task in made] == [(second, True)]


@pytest.mark.parametrize("reason", [StopReason.CANCELLED, StopReason.DRAINED])
async def test_a_stop_restores_the_previous_version(
    scenario: ServiceScenario, reason: StopReason
) -> None:
    first, second = await scenario.image("1"), await scenario.image("2")
    await scenario.deploy(first)
    before = await scenario.running()
    attempt = Attempt("job", 1)
    await scenario.begin(scenario.command(second, health_check=NEVER_RUN), attempt)

    entries = time.monotonic()
    attempt.stop(reason)
    assert attempt.task is not None
    with pytest.raises(asyncio.CancelledError):
        await attempt.task

    assert time.monotonic() - entries < 5
    assert (await scenario.only()).image == first
    await wait_until(partial(scenario.is_restored, before), seconds=IN_TIME)


async def test_a_cancel_of_a_first_deployment_leaves_no_service(scenario: ServiceScenario) -> None:
    attempt = Attempt("job", 1)
    await scenario.begin(
        scenario.command(await scenario.image("1"), health_check=NEVER_RUN), attempt
    )

    attempt.stop(StopReason.CANCELLED)
    assert attempt.task is not None
    with pytest.raises(asyncio.CancelledError):
        await attempt.task

    assert await services.find(scenario.engine, APPLICATION, scenario.application_id) == []


async def test_a_task_that_no_node_takes_fails_in_time(scenario: ServiceScenario) -> None:
    command = scenario.command(await scenario.image("1"))
    labels = {APPLICATION: command.application_id, DEPLOYMENT: command.deployment_id}
    spec = ServiceSpec(scenario.name, command.target, labels, platforms=(f"linux/{FOREIGN}",))
    await services.create(scenario.engine, spec, scenario.login)

    with pytest.raises(EngineError) as caught:
        await scenario.deploy(command)

    assert caught.value.code == FaultCode.PLATFORM_MISSING
    assert await services.find(scenario.engine, APPLICATION, scenario.application_id) == []


async def test_the_requested_number_of_replicas_runs(scenario: ServiceScenario) -> None:
    reference = await scenario.image("1")
    await scenario.deploy(reference)

    more = await scenario.deploy(reference, replicas=3)
    all_three = await scenario.digests()
    fewer = await scenario.deploy(reference, replicas=1)

    assert (more.replicas, fewer.replicas) == (3, 1)
    assert all_three == [reference] * 3
    assert await scenario.digests() == [reference]


async def test_a_port_of_another_service_is_named_before_anything_stops(
    scenario: ServiceScenario,
) -> None:
    theirs, ours = (
        PublishedPort(published_port=port, target_port=8080, publish_mode="host")
        for port in (8403, 8404)
    )
    first = await scenario.image("1")
    other = replace(scenario, name=f"{scenario.name}-other")
    await other.deploy(first, ports=(theirs,))
    await scenario.deploy(first, ports=(ours,))
    before = await scenario.running()

    error = await scenario.fail(first, ports=(ours, theirs))

    assert error.code == FaultCode.PORT_TAKEN
    assert await scenario.is_restored(before)
    await other.clear()


async def test_more_replicas_than_free_host_ports_are_refused(scenario: ServiceScenario) -> None:
    ports = (PublishedPort(published_port=8405, target_port=8080, publish_mode="host"),)

    error = await scenario.fail(await scenario.image("1"), ports=ports, replicas=2)

    assert error.code == FaultCode.NO_SUITABLE_NODE
    assert await services.find(scenario.engine, APPLICATION, scenario.application_id) == []


async def test_a_repeated_deployment_changes_nothing(scenario: ServiceScenario) -> None:
    command = scenario.command(await scenario.image("1"))
    first = await scenario.deploy(command)
    before = await scenario.running()

    again = await scenario.deploy(command)

    assert again == first
    assert await scenario.is_restored(before)


async def test_no_swarm_gets_the_login_of_a_registry_whose_token_server_is_unsafe(
    scenario: ServiceScenario,
) -> None:
    listen = scenario.registry.local.address
    async with open_fake(says(200, text='{"token": "t"}'), listen=listen) as elsewhere:
        unsafe = {"WWW-Authenticate": f'Bearer realm="http://{elsewhere.host}/token",service="r"'}
        async with open_fake(says(401, headers=unsafe), listen=listen) as fake:
            login = scenario.login.model_copy(update={"host": fake.host})
            tempted = replace(scenario, login=login)

            with pytest.raises(RegistryError) as caught:
                await tempted.deploy(f"{fake.host}/team/app@sha256:{'0' * 64}")

    assert caught.value.code == FaultCode.AUTH_UNSAFE_REALM
    assert elsewhere.requests == []
    assert not await services.find(scenario.engine, APPLICATION, scenario.application_id)


async def test_a_container_gets_its_environment_unchanged(scenario: ServiceScenario) -> None:
    script = 'echo "$COLOUR $BRACES"; exec /bin/busybox sleep 1000'
    reference = await scenario.image("1", script)

    await scenario.deploy(reference, {"COLOUR": "bluebottle", "BRACES": "{{.Node.ID}} }} {{"})

    [task] = await scenario.running()
    printed = await containers.last_lines(scenario.engine, task.container_id)
    assert printed == "bluebottle {{.Node.ID}} }} {{\n"


async def test_the_environment_is_in_no_message_and_no_log(scenario: ServiceScenario) -> None:
    reference = await scenario.image("1", "echo my password is $PASSWORD; exit 3")

    error = await scenario.fail(reference, {"PASSWORD": "correct-horse"})

    assert "my password is ***" in error.message
    assert "correct-horse" not in f"{error!r} {error.fault()!r} {scenario.pieces}"


async def test_a_node_that_never_logged_in_pulls_with_the_given_login(
    scenario: ServiceScenario, tmp_path: Path
) -> None:
    ports = (PublishedPort(published_port=8406, target_port=8080, publish_mode="host"),)
    reference = await scenario.image("1")
    with open_node(tmp_path / "second") as local:
        assert scenario.local.namespace is not None
        assert local.namespace is not None
        connect(scenario.local.namespace, local.namespace)
        async with joined(scenario, local) as second:
            result = await scenario.deploy(reference, ports=ports, replicas=2)

            assert result.replicas == 2
            assert len({task.node_id for task in await scenario.running()}) == 2
            await images.inspect(second, reference)
            await wait_until(lambda: answer((local.address, 8406)) == "1")
