"""A real Engine, an application's container on it, and HTTP clients for it."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from pydantic import SecretStr

from shared.errors import EngineError
from shared.jobs.commands import ApplicationControl, ApplicationLogs, ContainerReplace
from shared.jobs.containers import HealthProbe, PublishedPort
from shared.jobs.results import ContainerResult, ControlResult, LogsResult
from shared.reference import Reference
from tests.engines import is_engine
from tests.waiting import wait_until
from tests.worker.engine.contexts import PROGRAMS
from tests.worker.engine.parts import IDLE, RegistryFixture
from tests.worker.engine.test_images import ignore
from worker.deployments.containers import replace_container
from worker.deployments.control import control_application
from worker.deployments.logs import read_logs
from worker.deployments.targets import ReadinessPolicy
from worker.deployments.tools import DeploymentTools
from worker.engine import containers, images
from worker.engine.containers import APPLICATION, DEPLOYMENT, Container
from worker.engine.transport.connection import Engine
from worker.jobs.attempt import Attempt
from worker.local.engines import LocalEngine
from worker.local.images import make_image
from worker.login import Grants

QUICKLY = ReadinessPolicy(every=timedelta(milliseconds=50), steady=timedelta(milliseconds=400))
PASSING = HealthProbe(command=("/bin/busybox", "true"), interval_seconds=1, retries=1)
FAILING = HealthProbe(
    command=("/bin/sh", "-c", "echo not well; exit 1"), interval_seconds=1, retries=1
)
SERVE = (
    "trap 'exit 0' TERM; mkdir -p /www; echo $0 > /www/index.html;"
    " /bin/busybox httpd -p 8080 -h /www; /bin/busybox sleep 1000 & wait"
)


@dataclass
class ContainerScenario:
    """One Engine, an application on it, and the log of its deployments."""

    engine: Engine
    local: LocalEngine
    registry: RegistryFixture
    tools: DeploymentTools
    name: str
    pieces: list[str] = field(default_factory=list)

    async def image(self, version: str, script: str) -> str:
        """Make and push an image that runs the script; return its reference by digest."""
        target = self.registry.reference(f"team/{self.name}", version)
        make_image(
            self.local.docker_host,
            str(target),
            files=PROGRAMS,
            command=["/bin/sh", "-c", script, version],
        )
        pushed = await images.push(self.engine, target, None, ignore, IDLE)
        reference = Reference(target.registry, target.repository, digest=pushed.digest)
        if is_engine("podman"):  # it knows an image by that digest only after a pull
            await images.pull(self.engine, reference, None, ignore, IDLE)
        return str(reference)

    async def web_image(self, version: str) -> str:
        return await self.image(version, SERVE)

    def command(self, reference: str, **changes: Any) -> ContainerReplace:
        number = str(time.monotonic_ns())
        command = ContainerReplace(
            application_id=f"id-of-{self.name}",
            deployment_id=number,
            name=self.name,
            reference=reference,
        )
        return command.model_copy(update=changes)

    async def deploy(
        self,
        reference: str | ContainerReplace,
        environment: Mapping[str, str] | None = None,
        *,
        attempt: Attempt | None = None,
        **changes: Any,
    ) -> ContainerResult:
        command = reference if isinstance(reference, ContainerReplace) else None
        secrets = {name: SecretStr(value) for name, value in (environment or {}).items()}
        running = attempt or Attempt("job", 1)
        running.write_event = self.add_piece
        return await replace_container(
            command or self.command(str(reference), **changes),
            Grants(environment=secrets),
            running,
            self.tools,
            QUICKLY,
        )

    async def fail(
        self, reference: str, *environment: Mapping[str, str], **changes: Any
    ) -> EngineError:
        with pytest.raises(EngineError) as caught:
            await self.deploy(reference, *environment, **changes)
        return caught.value

    async def found(self) -> list[Container]:
        return await containers.find(self.engine, APPLICATION, f"id-of-{self.name}")

    async def only(self) -> Container:
        """Return the application's only container."""
        [container] = await self.found()
        assert (container.name, container.is_running) == (self.name, True)
        return container

    async def document(self) -> Any:
        """Return the container's id, start time and state; a restart changes them."""
        document: Any = await self.engine.request("GET", f"containers/{self.name}/json")
        return document["Id"], document["State"]["StartedAt"], document["State"]["Running"]

    async def start_slow_stop(self, version: str, port: int) -> tuple[Container, Attempt]:
        """Deploy over a version that stops slowly; return that one and the running attempt."""
        ports = (PublishedPort(published_port=port, target_port=8080),)
        slow = SERVE.replace("'exit 0'", "'/bin/busybox sleep 2; exit 0'")
        await self.deploy(await self.image(version, slow), ports=ports)
        before, after = await self.only(), await self.web_image(f"after-{version}")
        attempt = Attempt("job", 1)
        attempt.task = asyncio.create_task(self.deploy(after, attempt=attempt, ports=ports))
        await wait_until(partial(is_created, self, ports), seconds=20)
        return before, attempt

    async def leave_container(
        self, reference: str, name: str, health_check: HealthProbe | None = None
    ) -> None:
        """Start a container of the application as a dead attempt leaves it."""
        image = await images.inspect(self.engine, reference)
        labels = {APPLICATION: f"id-of-{self.name}", DEPLOYMENT: "died"}
        spec = containers.ContainerSpec(image.image_id, labels, health_check=health_check)
        await containers.start(self.engine, await containers.create(self.engine, name, spec))

    async def stop(self) -> None:
        """Stop the container as a person does."""
        await containers.stop(self.engine, await containers.inspect(self.engine, self.name))

    async def control(
        self, action: str, attempt: Attempt | None = None, **changes: Any
    ) -> ControlResult:
        """Stop, start or reload the application."""
        command = ApplicationControl.model_validate(
            {
                "application_id": f"id-of-{self.name}",
                "name": self.name,
                "action": action,
                **changes,
            }
        )
        running = attempt or Attempt("job", 1)
        running.write_event = self.add_piece
        return await control_application(command, running, self.tools, QUICKLY)

    async def logs(self, **fields: Any) -> LogsResult:
        command = {"application_id": f"id-of-{self.name}", "name": self.name, "tail": 100, **fields}
        return await read_logs(ApplicationLogs.model_validate(command), self.tools)

    async def clear(self) -> None:
        for container in await self.found():
            await containers.remove(self.engine, container.container_id)

    async def add_piece(self, _: int, __: str, data: Mapping[str, Any]) -> None:
        self.pieces.append(data["text"])


async def deploy_with_environment(scenario: ContainerScenario) -> tuple[str, ContainerResult]:
    """Deploy an image that writes a variable; see it run under its name; give it and the result."""
    reference = await scenario.image("1", "echo $COLOUR; exec /bin/busybox sleep 1000")

    result = await scenario.deploy(reference, {"COLOUR": "bluebottle"})

    container = await scenario.only()
    assert result.container_id == container.container_id
    assert (result.reference, result.image_id) == (reference, container.image_id)
    assert await containers.last_lines(scenario.engine, scenario.name) == "bluebottle\n"
    return reference, result


async def is_created(scenario: ContainerScenario, ports: tuple[PublishedPort, ...]) -> bool:
    """Return whether the new container with its ports exists; the previous one stops next."""
    expected = {f"{port.published_port}/tcp" for port in ports}
    return any(
        found.name == f"{scenario.name}.new" and found.published == expected
        for found in await scenario.found()
    )


def is_answering(address: tuple[str, int], expected: str) -> bool:
    return answer(address) == expected


async def is_called(scenario: ContainerScenario, name: str) -> bool:
    return [found.name for found in await scenario.found()] == [name]


async def is_starting(scenario: ContainerScenario) -> bool:
    return any(
        found.name == f"{scenario.name}.new" and found.is_running
        for found in await scenario.found()
    )


def answer(address: tuple[str, int]) -> str:
    """Return the answer of the web server at the address, or nothing if none listens."""
    with contextlib.suppress(OSError), socket.create_connection(address, 1) as connection:
        connection.settimeout(1)
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        content = b""
        while part := connection.recv(4096):
            content += part
        return content.partition(b"\r\n\r\n")[2].decode().strip()
    return ""


@contextlib.asynccontextmanager
async def polling(address: tuple[str, int]) -> Any:
    """Collect the answers of the web server while the block runs."""
    answers: list[str] = []
    done = asyncio.Event()

    async def ask() -> None:
        while not done.is_set():
            answers.append(await asyncio.to_thread(answer, address))

    polling_task = asyncio.create_task(ask())
    yield answers
    done.set()
    await polling_task
