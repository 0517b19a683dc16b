"""A real Engine, an application's container on it, and who asks it."""

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
from shared.jobs.commands import ContainerReplace, HealthProbe, PublishedPort
from shared.jobs.results import ContainerResult
from shared.reference import Reference
from tests.waiting import wait_until
from tests.worker.engine.contexts import BUSYBOX
from tests.worker.engine.parts import IDLE, RegistryFixture
from tests.worker.engine.test_images import ignore
from worker.deployments.containers import replace_container
from worker.deployments.targets import Gate
from worker.deployments.tools import DeploymentTools
from worker.engine import containers, images
from worker.engine.containers import APPLICATION, DEPLOYMENT, Container
from worker.engine.transport.connection import Engine
from worker.jobs.attempt import Attempt
from worker.local.engines import LocalEngine
from worker.local.images import make_image
from worker.login import Grants

SOON = Gate(every=timedelta(milliseconds=50), steady=timedelta(milliseconds=400))
WELL = HealthProbe(command=("/bin/busybox", "true"), interval_seconds=1, retries=1)
ILL = HealthProbe(command=("/bin/sh", "-c", "echo not well; exit 1"), interval_seconds=1, retries=1)
SERVE = (
    "trap 'exit 0' TERM; mkdir -p /www; echo $0 > /www/index.html;"
    " /bin/busybox httpd -p 8080 -h /www; /bin/busybox sleep 1000 & wait"
)


@dataclass
class Yard:
    """One Engine, an application on it, and what its deployments log."""

    engine: Engine
    local: LocalEngine
    registry: RegistryFixture
    tools: DeploymentTools
    name: str
    pieces: list[str] = field(default_factory=list)

    async def image(self, version: str, script: str) -> str:
        """An image that runs this; by its digest, as a pull leaves it."""
        target = self.registry.reference(f"team/{self.name}", version)
        make_image(
            self.local.docker_host,
            str(target),
            files={"bin/sh": BUSYBOX, "bin/busybox": BUSYBOX, "bin/mkdir": BUSYBOX},
            command=["/bin/sh", "-c", script, version],
        )
        pushed = await images.push(self.engine, target, None, ignore, IDLE)
        return str(Reference(target.registry, target.repository, digest=pushed.digest))

    async def serving(self, version: str) -> str:
        return await self.image(version, SERVE)

    def command(self, reference: str, **changes: Any) -> ContainerReplace:
        number = str(time.monotonic_ns())
        asked = ContainerReplace(
            application_id=f"id-of-{self.name}",
            deployment_id=number,
            name=self.name,
            reference=reference,
        )
        return asked.model_copy(update=changes)

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
        running.say = self._say
        return await replace_container(
            command or self.command(str(reference), **changes),
            Grants(environment=secrets),
            running,
            self.tools,
            SOON,
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
        """The application's one container: nothing else is left behind."""
        [container] = await self.found()
        assert (container.name, container.is_running) == (self.name, True)
        return container

    async def document(self) -> Any:
        """Since when what has run: a restart would change it."""
        document: Any = await self.engine.request("GET", f"containers/{self.name}/json")
        return document["Id"], document["State"]["StartedAt"], document["State"]["Running"]

    async def begin_to_end(self, version: str, port: int) -> tuple[Container, Attempt]:
        """What runs and takes its time to end, and a deployment that has just asked it to."""
        ports = (PublishedPort(published_port=port, target_port=8080),)
        slow = SERVE.replace("'exit 0'", "'/bin/busybox sleep 2; exit 0'")
        await self.deploy(await self.image(version, slow), ports=ports)
        before, after = await self.only(), await self.serving(f"after-{version}")
        attempt = Attempt("job", 1)
        attempt.task = asyncio.create_task(self.deploy(after, attempt=attempt, ports=ports))
        await wait_until(partial(is_created, self, ports), seconds=20)
        return before, attempt

    async def leave(
        self, reference: str, name: str, health_check: HealthProbe | None = None
    ) -> None:
        """A container of the application as an attempt that died leaves it."""
        image = await images.inspect(self.engine, reference)
        labels = {APPLICATION: f"id-of-{self.name}", DEPLOYMENT: "died"}
        spec = containers.ContainerSpec(image.image_id, labels, health_check=health_check)
        await containers.start(self.engine, await containers.create(self.engine, name, spec))

    async def clear(self) -> None:
        for container in await self.found():
            await containers.remove(self.engine, container.container_id)

    async def _say(self, _: int, __: str, data: Mapping[str, Any]) -> None:
        self.pieces.append(data["text"])


async def is_created(yard: Yard, ports: tuple[PublishedPort, ...]) -> bool:
    """The new one with its ports: right after that the one before is asked to end."""
    wanted = {f"{port.published_port}/tcp" for port in ports}
    return any(
        found.name == f"{yard.name}.new" and found.published == wanted
        for found in await yard.found()
    )


def is_answering(place: tuple[str, int], said: str) -> bool:
    return answer(place) == said


async def is_called(yard: Yard, name: str) -> bool:
    return [found.name for found in await yard.found()] == [name]


async def is_starting(yard: Yard) -> bool:
    return any(
        found.name == f"{yard.name}.new" and found.is_running for found in await yard.found()
    )


def answer(place: tuple[str, int]) -> str:
    """What a web server says there; nothing where none listens."""
    with contextlib.suppress(OSError), socket.create_connection(place, 1) as connection:
        connection.settimeout(1)
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        content = b""
        while part := connection.recv(4096):
            content += part
        return content.partition(b"\r\n\r\n")[2].decode().strip()
    return ""


@contextlib.asynccontextmanager
async def polling(place: tuple[str, int]) -> Any:
    """All that is answered there while the block runs."""
    answers: list[str] = []
    done = asyncio.Event()

    async def ask() -> None:
        while not done.is_set():
            answers.append(await asyncio.to_thread(answer, place))

    asking = asyncio.create_task(ask())
    yield answers
    done.set()
    await asking
