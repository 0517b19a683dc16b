"""Stop, start and reload the container of an application on this server."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from shared.errors import EngineError
from shared.faults import FaultCode
from shared.jobs.commands import ApplicationControl
from worker.deployments.targets import NEW, OLD, ReadinessPolicy, Target
from worker.engine import containers, images
from worker.engine.containers import APPLICATION, Container
from worker.engine.transport.connection import Engine
from worker.jobs.joblog import JobLog
from worker.jobs.mask import Mask


@dataclass
class ControlTarget(Target):
    """The application that a job stops, starts or reloads."""

    engine: Engine
    command: ApplicationControl
    log: JobLog
    mask: Mask
    readiness: ReadinessPolicy = field(default_factory=ReadinessPolicy)
    is_checked: bool = False

    def error(self, code: FaultCode, problem: str, *, remedy: str = "") -> EngineError:
        message = f"cannot {self.command.action} the application {self.command.name}: {problem}"
        return EngineError(code, message, remedy=remedy)


class Controlled(Protocol):
    """A container or a service, as it was when the job began."""

    @property
    def runtime(self) -> Literal["container", "service"]: ...

    @property
    def is_stopped(self) -> bool: ...

    @property
    def logs_path(self) -> str: ...

    async def find_secrets(self) -> Iterable[str]:
        """Return the values of its variables, except those of its image."""

    async def stop(self, target: ControlTarget) -> None:
        """Stop it, and return when it has stopped. Its Engine does not start it again."""

    async def start(self, target: ControlTarget) -> None:
        """Start it, and return when it runs and is healthy."""

    async def reload(self, target: ControlTarget) -> None:
        """Start it anew with the same image and settings, and return when it is healthy."""

    async def require_running(self, target: ControlTarget) -> None:
        """Raise `EngineError` if it does not run or is not healthy."""

    async def resume(self, target: ControlTarget) -> None:
        """Have it run again, even if it is just stopping; do not wait for that."""


@dataclass(frozen=True)
class ControlledContainer:
    """The application's container on this Engine."""

    engine: Engine
    container: Container

    @property
    def runtime(self) -> Literal["container", "service"]:
        return "container"

    @property
    def is_stopped(self) -> bool:
        return not self.container.may_run

    @property
    def logs_path(self) -> str:
        return f"containers/{self._id}/logs"

    async def find_secrets(self) -> Iterable[str]:
        image = await images.find(self.engine, self.container.image_id)
        given = {} if image is None else image.environment
        environment = self.container.environment
        return [value for name, value in environment.items() if given.get(name) != value]

    async def stop(self, target: ControlTarget) -> None:
        await containers.stop(self.engine, self.container)
        seen = await containers.inspect(self.engine, self._id)
        if seen.may_run:
            raise target.error(FaultCode.ENGINE_REFUSED, "the container still runs")

    async def start(self, target: ControlTarget) -> None:
        await containers.start(self.engine, self._id)
        await self._require_healthy(target)

    async def reload(self, target: ControlTarget) -> None:
        await containers.restart(self.engine, self._id, self.container.grace)
        await self._require_healthy(target)

    async def require_running(self, target: ControlTarget) -> None:
        if not self.container.is_healthy:
            await self._require_healthy(target)

    async def resume(self, target: ControlTarget) -> None:
        target.log.add("starting it again")
        await containers.restart(self.engine, self._id)

    async def _require_healthy(self, target: ControlTarget) -> None:
        """Wait until it is healthy; Docker counts restarts anew after a start, Podman does not."""
        seen, before = await containers.inspect(self.engine, self._id), self.container.restarts
        await target.require_healthy(self._id, restarts=before if seen.restarts >= before else 0)

    @property
    def _id(self) -> str:
        return self.container.container_id


async def find_container(engine: Engine, application_id: str) -> ControlledContainer | None:
    """Return the application's container; leftovers of a deployment do not count."""
    for found in await containers.find(engine, APPLICATION, application_id):
        if not found.name.endswith((NEW, OLD)):
            return ControlledContainer(engine, found)
    return None
