"""Swarm services replaced on a real Engine: the healthy run, the others leave what ran before."""

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue, SecretStr

from shared.diagnosis import Right
from shared.errors import EngineError
from shared.faults import FaultCode
from shared.jobs.commands import ContainerReplace, HealthProbe, PublishedPort, ServiceReplace
from shared.jobs.results import ContainerResult, ServiceResult
from shared.networks import parse_networks
from shared.reference import Reference
from tests.engine.contexts import BUSYBOX
from tests.engine.parts import IDLE, Registry, require_real_parts
from tests.engine.test_images import FOREIGN, ignore
from tests.server.handlers.test_containers import SERVE, answer
from tests.waiting import wait_until
from worker.engine import containers, images, services
from worker.engine.connection import Engine
from worker.engine.containers import APPLICATION, DEPLOYMENT
from worker.engine.nodes import nodes
from worker.engine.service_spec import ServiceSpec
from worker.engine.services import Service, Task
from worker.local.engines import LocalEngine
from worker.local.images import HERE, make_image
from worker.local.namespaces import Namespace
from worker.login import Grant, Grants, Login
from worker.server.attempt import Attempt, Why
from worker.server.handlers.containers import replace_container
from worker.server.handlers.services import replace_service
from worker.server.handlers.sites import Gate
from worker.server.handlers.tools import Tools
from worker.server.workspaces import Workspaces

SOON = Gate(
    every=timedelta(milliseconds=50),
    steady=timedelta(milliseconds=400),
    placed=timedelta(seconds=2),
)
WELL = HealthProbe(command=("/bin/busybox", "true"), interval_seconds=1, retries=1)
ILL = HealthProbe(command=("/bin/sh", "-c", "echo not well; exit 1"), interval_seconds=1, retries=1)
NEVER = WELL.model_copy(update={"interval_seconds": 3600})
IN_PLACE = 30
LISTEN = "0.0.0.0:2377"


@dataclass
class Yard:
    """A Swarm of one Engine, an application on it, and what its deployments log."""

    engine: Engine
    local: LocalEngine
    registry: Registry
    tools: Tools
    name: str
    login: Login
    gate: Gate = SOON
    pieces: list[str] = field(default_factory=list)

    @property
    def application_id(self) -> str:
        return f"id-of-{self.name}"

    async def image(self, version: str, script: str = SERVE, *, architecture: str = HERE) -> str:
        """An image that runs this, by its digest; it is in the registry and nowhere else."""
        target = self.registry.reference(f"team/{self.name}", version)
        make_image(
            self.local.docker_host,
            str(target),
            files={"bin/sh": BUSYBOX, "bin/busybox": BUSYBOX, "bin/mkdir": BUSYBOX},
            command=["/bin/sh", "-c", script, version],
            architecture=architecture,
        )
        pushed = await images.push(self.engine, target, self.login, ignore, IDLE)
        await self.engine.request("DELETE", f"images/{target}", params={"force": "true"})
        return str(Reference(target.registry, target.repository, digest=pushed.digest))

    def command(self, reference: str, **changes: Any) -> ServiceReplace:
        asked = ServiceReplace(
            application_id=self.application_id,
            deployment_id=str(time.monotonic_ns()),
            name=self.name,
            reference=reference,
            registry_id="locked",
        )
        return asked.model_copy(update=changes)

    async def deploy(
        self,
        asked: str | ServiceReplace,
        environment: Mapping[str, str] | None = None,
        *,
        attempt: Attempt | None = None,
        **changes: Any,
    ) -> ServiceResult:
        command = self.command(asked, **changes) if isinstance(asked, str) else asked
        running = attempt or Attempt("job", 1)
        running.say = self.say
        return await replace_service(
            command, self._grants(command, environment or {}), running, self.tools, self.gate
        )

    async def fail(
        self, reference: str, *environment: Mapping[str, str], **changes: Any
    ) -> EngineError:
        with pytest.raises(EngineError) as caught:
            await self.deploy(reference, *environment, **changes)
        return caught.value

    async def begin(self, command: ServiceReplace, attempt: Attempt) -> None:
        """Return when the Swarm has begun to start what was asked for."""
        attempt.task = asyncio.create_task(self.deploy(command, attempt=attempt))
        await wait_until(partial(self.is_starting, command.deployment_id), seconds=IN_PLACE)

    async def is_starting(self, deployment_id: str) -> bool:
        found = await services.find(self.engine, APPLICATION, self.application_id)
        tasks = [
            task for one in found for task in await services.tasks(self.engine, one.service_id)
        ]
        return any(task.deployment == deployment_id and task.state == "starting" for task in tasks)

    async def only(self) -> Service:
        """The application's one service."""
        [service] = await services.find(self.engine, APPLICATION, self.application_id)
        return service

    async def running(self) -> list[Task]:
        """Everything of the application that runs, of whichever spec."""
        tasks = await services.tasks(self.engine, (await self.only()).service_id)
        return [task for task in tasks if task.is_running]

    async def digests(self) -> list[str]:
        return [task.image for task in await self.running()]

    async def is_back(self, before: list[Task]) -> bool:
        """Whether just these tasks run."""
        return {task.task_id for task in await self.running()} == {task.task_id for task in before}

    async def clear(self) -> None:
        for service in await services.find(self.engine, APPLICATION, self.application_id):
            await services.remove(self.engine, service.service_id)

    def _grants(self, command: ServiceReplace, environment: Mapping[str, str]) -> Grants:
        rights = frozenset[Right]({"pull"})
        return Grants(
            grants=(Grant(login=self.login, repository=command.target.repository, rights=rights),),
            environment={name: SecretStr(value) for name, value in environment.items()},
        )

    async def say(self, _: int, __: str, data: Mapping[str, Any]) -> None:
        self.pieces.append(data["text"])


@contextmanager
def open_node(directory: Path) -> Iterator[LocalEngine]:
    """An Engine in a network of its own, in no Swarm so far."""
    own = Namespace.create("swarm-tests")
    try:
        running = LocalEngine.start(directory, namespace=own, insecure_registries=("10.77.0.0/16",))
        try:
            yield running
        finally:
            running.stop()
    finally:
        own.remove()


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEngine]:
    require_real_parts()
    with open_node(tmp_path_factory.mktemp("swarm")) as node:
        yield node


@pytest.fixture
async def swarm(manager: LocalEngine) -> AsyncIterator[Engine]:
    """Its manager; the first who asks makes it one."""
    async with Engine.open(manager.docker_host) as opened:
        if (await opened.info()).swarm == "inactive":
            body: JsonValue = {"ListenAddr": LISTEN, "AdvertiseAddr": manager.address}
            await opened.request("POST", "swarm/init", body=body, limit=timedelta(seconds=30))
        yield opened


@asynccontextmanager
async def joined(yard: Yard, local: LocalEngine) -> AsyncIterator[Engine]:
    """A second node of the Swarm until the block is left."""
    tokens: Any = await yard.engine.request("GET", "swarm")
    body: JsonValue = {
        "ListenAddr": LISTEN,
        "AdvertiseAddr": local.address,
        "RemoteAddrs": [f"{yard.local.address}:2377"],
        "JoinToken": tokens["JoinTokens"]["Worker"],
    }
    async with Engine.open(local.docker_host) as engine:
        await engine.request("POST", "swarm/join", body=body, limit=timedelta(seconds=30))
        info: Any = await engine.request("GET", "info")
        node_id = info["Swarm"]["NodeID"]
        await wait_until(partial(is_ready, yard.engine, node_id), seconds=IN_PLACE)
        try:
            yield engine
        finally:
            await yard.clear()
            await engine.request(
                "POST", "swarm/leave", params={"force": "true"}, limit=timedelta(seconds=30)
            )
            await yard.engine.request("DELETE", f"nodes/{node_id}", params={"force": "true"})


@asynccontextmanager
async def forgetting(engine: Engine) -> AsyncIterator[None]:
    """The Swarm keeps no task that is over until the block is left."""
    await remember(engine, 0)
    try:
        yield
    finally:
        await remember(engine, 5)


async def remember(engine: Engine, tasks: int) -> None:
    swarm: Any = await engine.request("GET", "swarm")
    body = {**swarm["Spec"], "Orchestration": {"TaskHistoryRetentionLimit": tasks}}
    params = {"version": str(swarm["Version"]["Index"])}
    await engine.request("POST", "swarm/update", params=params, body=body)


def lay_cable(one: Namespace, other: Namespace) -> None:
    """Let two servers reach each other; we pass nothing on between them."""
    there = str(other.holder.pid)
    run(one, "link", "add", "peer", "type", "veth", "peer", "name", "peer", "netns", there)
    for here, far in ((one, other), (other, one)):
        run(here, "link", "set", "peer", "up")
        run(here, "route", "add", far.address, "dev", "peer", "src", here.address)


def run(namespace: Namespace, *arguments: str) -> None:
    subprocess.run([*namespace.wrapper, "ip", *arguments], check=True)


async def is_ready(engine: Engine, node_id: str) -> bool:
    return any(node.node_id == node_id and node.is_ready for node in await nodes(engine))


@pytest.fixture
async def yard(
    swarm: Engine,
    manager: LocalEngine,
    locked_registry: Registry,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> AsyncIterator[Yard]:
    tools = Tools(swarm, parse_networks("private"), Workspaces.open(tmp_path / "builds"))
    name = f"app-{abs(hash(request.node.name)) % 10**8}"
    yard = Yard(swarm, manager, locked_registry, tools, name, locked_registry.login())
    yield yard
    await yard.clear()


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


@pytest.mark.parametrize("why", [Why.LEASE_LOST, Why.DRAINED])
async def test_the_next_attempt_waits_on_for_what_a_stopped_one_began(yard: Yard, why: Why) -> None:
    slow = WELL.model_copy(update={"interval_seconds": 2})
    first, second = await yard.image("1"), await yard.image("2")
    await yard.deploy(first)
    command = yard.command(second, health_check=slow)
    attempt = Attempt("job", 1)
    await yard.begin(command, attempt)
    begun = await yard.only()
    attempt.stop(why)
    assert attempt.task is not None
    with pytest.raises(asyncio.CancelledError):
        await attempt.task

    await yard.deploy(command, attempt=Attempt("job", 2))

    after = await yard.only()
    made = [
        task
        for task in await services.tasks(yard.engine, after.service_id)
        if task.deployment == command.deployment_id
    ]
    assert after.turn == begun.turn
    assert [(task.image, task.is_running) for task in made] == [(second, True)]


async def test_a_cancel_puts_back_what_ran_before(yard: Yard) -> None:
    first, second = await yard.image("1"), await yard.image("2")
    await yard.deploy(first)
    before = await yard.running()
    attempt = Attempt("job", 1)
    await yard.begin(yard.command(second, health_check=NEVER), attempt)

    begun = time.monotonic()
    attempt.stop(Why.CANCELLED)
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
