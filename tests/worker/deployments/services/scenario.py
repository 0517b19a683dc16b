"""A Swarm of one Engine with an application; a second node can join."""

import asyncio
import copy
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue, SecretStr

from shared.errors import EngineError
from shared.jobs.commands import ApplicationControl, ServiceReplace
from shared.jobs.containers import HealthProbe
from shared.jobs.diagnosis import Right
from shared.jobs.results import ControlResult, ServiceResult
from shared.reference import Reference
from tests.waiting import wait_until
from tests.worker.deployments.containers.scenario import SERVE
from tests.worker.engine.contexts import PROGRAMS
from tests.worker.engine.parts import IDLE, RegistryFixture
from tests.worker.engine.test_images import ignore
from worker.deployments.control import control_application
from worker.deployments.services import replace_service
from worker.deployments.targets import ReadinessPolicy
from worker.deployments.tools import DeploymentTools
from worker.engine import images
from worker.engine.containers import APPLICATION
from worker.engine.swarm import services
from worker.engine.swarm.nodes import nodes
from worker.engine.swarm.service_state import Service, Task
from worker.engine.transport.connection import Engine
from worker.jobs.attempt import Attempt
from worker.local.engines import LocalEngine
from worker.local.images import HERE, make_image
from worker.local.namespaces import Namespace
from worker.login import EngineLogin, Grant, Grants

QUICKLY = ReadinessPolicy(
    every=timedelta(milliseconds=50),
    steady=timedelta(milliseconds=400),
    placed=timedelta(seconds=2),
)
PASSING = HealthProbe(command=("/bin/busybox", "true"), interval_seconds=1, retries=1)
FAILING = HealthProbe(
    command=("/bin/sh", "-c", "echo not well; exit 1"), interval_seconds=1, retries=1
)
NEVER_RUN = PASSING.model_copy(update={"interval_seconds": 3600})
IN_TIME = 30
LISTEN = "0.0.0.0:2377"

Document = dict[str, Any]


@dataclass
class ServiceScenario:
    """A Swarm of one Engine, an application on it, and the log of its deployments."""

    engine: Engine
    local: LocalEngine
    registry: RegistryFixture
    tools: DeploymentTools
    name: str
    login: EngineLogin
    readiness: ReadinessPolicy = QUICKLY
    pieces: list[str] = field(default_factory=list)

    @property
    def application_id(self) -> str:
        return f"id-of-{self.name}"

    async def image(
        self,
        version: str,
        script: str = SERVE,
        *,
        health_check: Sequence[str] = (),
        architecture: str = HERE,
    ) -> str:
        """Make and push an image that runs the script, remove it locally; return its digest."""
        target = self.registry.reference(f"team/{self.name}", version)
        make_image(
            self.local.docker_host,
            str(target),
            files=PROGRAMS,
            command=["/bin/sh", "-c", script, version],
            health_check=health_check,
            architecture=architecture,
        )
        pushed = await images.push(self.engine, target, self.login, ignore, IDLE)
        await self.engine.request("DELETE", f"images/{target}", params={"force": "true"})
        return str(Reference(target.registry, target.repository, digest=pushed.digest))

    def command(self, reference: str, **changes: Any) -> ServiceReplace:
        command = ServiceReplace(
            application_id=self.application_id,
            deployment_id=str(time.monotonic_ns()),
            name=self.name,
            reference=reference,
            registry_id="locked",
        )
        return command.model_copy(update=changes)

    async def deploy(
        self,
        requested: str | ServiceReplace,
        environment: Mapping[str, str] | None = None,
        *,
        attempt: Attempt | None = None,
        **changes: Any,
    ) -> ServiceResult:
        command = self.command(requested, **changes) if isinstance(requested, str) else requested
        running = attempt or Attempt("job", 1)
        running.write_event = self.add_piece
        return await replace_service(
            command, self._grants(command, environment or {}), running, self.tools, self.readiness
        )

    async def fail(
        self, reference: str, *environment: Mapping[str, str], **changes: Any
    ) -> EngineError:
        with pytest.raises(EngineError) as caught:
            await self.deploy(reference, *environment, **changes)
        return caught.value

    async def control(self, action: str, attempt: Attempt | None = None) -> ControlResult:
        """Stop, start or reload the application."""
        fields = {"application_id": self.application_id, "name": self.name, "action": action}
        running = attempt or Attempt("job", 1)
        running.write_event = self.add_piece
        return await control_application(
            ApplicationControl.model_validate(fields), running, self.tools, self.readiness
        )

    async def begin(self, command: ServiceReplace, attempt: Attempt) -> None:
        """Return when the Swarm has begun to start the requested version."""
        attempt.task = asyncio.create_task(self.deploy(command, attempt=attempt))
        await wait_until(partial(self.is_starting, command.deployment_id), seconds=IN_TIME)

    async def is_starting(self, deployment_id: str) -> bool:
        found = await services.find(self.engine, APPLICATION, self.application_id)
        tasks = [
            task for one in found for task in await services.tasks(self.engine, one.service_id)
        ]
        return any(task.deployment == deployment_id and task.state == "starting" for task in tasks)

    async def only(self) -> Service:
        """Return the application's only service."""
        [service] = await services.find(self.engine, APPLICATION, self.application_id)
        return service

    async def running(self) -> list[Task]:
        """Return all running tasks of the application, of any spec."""
        tasks = await services.tasks(self.engine, (await self.only()).service_id)
        return [task for task in tasks if task.is_running]

    async def digests(self) -> list[str]:
        return [task.image for task in await self.running()]

    async def is_restored(self, before: list[Task]) -> bool:
        """Return whether exactly these tasks run."""
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

    async def add_piece(self, _: int, __: str, data: Mapping[str, Any]) -> None:
        self.pieces.append(data["text"])


async def change(scenario: ServiceScenario, how: Callable[[Document], object]) -> None:
    """Change the service like a person who uses the Engine's own tools."""
    service = await scenario.only()
    document: Any = copy.deepcopy(dict(service.document))
    how(document)
    await scenario.engine.request(
        "POST",
        f"services/{service.service_id}/update",
        params={"version": str(service.version)},
        body=document,
    )


def scale(replicas: int, document: Document) -> None:
    document["Mode"]["Replicated"]["Replicas"] = replicas


@contextmanager
def open_node(directory: Path) -> Iterator[LocalEngine]:
    """Start an Engine in a separate network that is not part of a Swarm."""
    own = Namespace.create("swarm-tests")
    try:
        running = LocalEngine.start(directory, namespace=own, insecure_registries=("10.77.0.0/16",))
        try:
            yield running
        finally:
            running.stop()
    finally:
        own.remove()


@asynccontextmanager
async def joined(scenario: ServiceScenario, local: LocalEngine) -> AsyncIterator[Engine]:
    """Join a second node to the Swarm until the block ends."""
    tokens: Any = await scenario.engine.request("GET", "swarm")
    body: JsonValue = {
        "ListenAddr": LISTEN,
        "AdvertiseAddr": local.address,
        "RemoteAddrs": [f"{scenario.local.address}:2377"],
        "JoinToken": tokens["JoinTokens"]["Worker"],
    }
    async with Engine.open(local.docker_host) as engine:
        await engine.request("POST", "swarm/join", body=body, limit=timedelta(seconds=30))
        info: Any = await engine.request("GET", "info")
        node_id = info["Swarm"]["NodeID"]
        await wait_until(partial(is_ready, scenario.engine, node_id), seconds=IN_TIME)
        try:
            yield engine
        finally:
            await scenario.clear()
            await engine.request(
                "POST", "swarm/leave", params={"force": "true"}, limit=timedelta(seconds=30)
            )
            await scenario.engine.request("DELETE", f"nodes/{node_id}", params={"force": "true"})


@asynccontextmanager
async def no_task_history(engine: Engine) -> AsyncIterator[None]:
    """Have the Swarm keep no ended task until the block ends."""
    await set_task_history(engine, 0)
    try:
        yield
    finally:
        await set_task_history(engine, 5)


async def set_task_history(engine: Engine, tasks: int) -> None:
    swarm: Any = await engine.request("GET", "swarm")
    body = {**swarm["Spec"], "Orchestration": {"TaskHistoryRetentionLimit": tasks}}
    params = {"version": str(swarm["Version"]["Index"])}
    await engine.request("POST", "swarm/update", params=params, body=body)


def connect(one: Namespace, other: Namespace) -> None:
    """Connect two servers directly to each other."""
    there = str(other.holder.pid)
    run(one, "link", "add", "peer", "type", "veth", "peer", "name", "peer", "netns", there)
    for here, far in ((one, other), (other, one)):
        run(here, "link", "set", "peer", "up")
        run(here, "route", "add", far.address, "dev", "peer", "src", here.address)


def run(namespace: Namespace, *arguments: str) -> None:
    subprocess.run([*namespace.wrapper, "ip", *arguments], check=True)


async def is_ready(engine: Engine, node_id: str) -> bool:
    return any(node.node_id == node_id and node.is_ready for node in await nodes(engine))
