"""An application's containers on one Engine: the current one, leftovers, and their health.

The names show how far an unfinished attempt came. NAME.new is a new container before the switch.
NAME.old next to NAME is the previous container after the switch. NAME.old without NAME is the
previous container in the middle of the switch.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import structlog
from pydantic import BaseModel, ConfigDict

from shared.errors import EngineError
from shared.faults import FaultCode
from shared.jobs.commands import ContainerReplace, Replace
from worker.engine import containers
from worker.engine.containers import APPLICATION, DEPLOYMENT, Container
from worker.engine.exits import find_exit_code
from worker.engine.swarm import services
from worker.engine.transport.connection import Engine
from worker.engine.transport.text import TextLines
from worker.jobs.joblog import JobLog
from worker.jobs.mask import Mask

log = structlog.get_logger()

NEW, OLD = ".new", ".old"
MAX_CHARACTERS = 500

CANCELLED_RESTORE_LIMIT = timedelta(seconds=4)
"""A cancel ends within five seconds; the restored container may need longer until it runs."""


ENGINE_UNREACHABLE_CODES = {
    FaultCode.ENGINE_UNREACHABLE,
    FaultCode.ENGINE_STREAM_TRUNCATED,
    FaultCode.ENGINE_API_VERSION,
}
"""Codes of an Engine that cannot be reached: nothing is restored, the next attempt continues."""


@dataclass(frozen=True)
class ReadinessPolicy:
    """The rules by which a new container or task counts as ready.

    It is inspected at intervals of ``every``. Without a health check it has to run for ``steady``.
    A Swarm has to assign a task to a node within ``placed``.
    """

    every: timedelta = timedelta(seconds=0.2)
    steady: timedelta = timedelta(seconds=5)
    placed: timedelta = timedelta(seconds=15)


class PreviousState(BaseModel):
    """The state of the container before a deployment.

    ``ran`` is true if it was running. ``ended_run`` is the start time of the run that the
    deployment asked to stop, if any; after a restart the start time differs.
    """

    model_config = ConfigDict(frozen=True)

    ran: bool
    ended_run: str | None = None


async def tidy(
    engine: Engine,
    application_id: str,
    name: str = "",
    *,
    before: PreviousState | None = None,
    must_run: bool = True,
) -> Container | None:
    """Clean up after an unfinished attempt and return the application's container, if any.

    ``name`` is the container's intended name; before a change of name it has another one.
    ``before`` is its previous state; if that is unknown, it ran if there are leftovers. Unless it
    ``must_run``, a container that the Engine does not start again stays stopped. The leftovers are
    removed last: while they exist, another attempt sees that there is work to do.
    """
    found = sorted(
        await containers.find(engine, APPLICATION, application_id), key=lambda one: one.name
    )
    new = [one for one in found if one.name.endswith(NEW)]
    old = [one for one in found if one.name.endswith(OLD)]
    named = [one for one in found if one not in new and one not in old]
    current = next((one for one in named if one.name == name), named[0] if named else None)
    is_left = bool(new or old)
    for one in new:
        await containers.kill(engine, one.container_id)
    if current is None and old:
        current = old.pop()
        await containers.rename(engine, current.container_id, current.name.removesuffix(OLD))
    if current is not None:
        ran = is_left if before is None else before.ran
        is_ending = before is not None and current.started_at == before.ended_run
        if ran and (is_ending or not current.may_run):
            await _start(engine, current, must_run=must_run)
    for one in old:
        await containers.stop(engine, one)
        await containers.remove(engine, one.container_id)
    for one in new:
        await containers.remove(engine, one.container_id, with_volumes=True)
    return await containers.inspect(engine, current.container_id) if current else None


@dataclass(frozen=True)
class Switchover:
    """The ``new`` container of a deployment, and the ``old`` one if it still exists."""

    new: Container
    old: Container | None

    def can_be_reversed(self, before: PreviousState | None) -> bool:
        """Return whether the previous container, if there was one, still exists."""
        return self.old is not None or before is None


async def switched(engine: Engine, application_id: str, deployment_id: str) -> Switchover | None:
    """Return both containers if the deployment has switched to its new one."""
    found = {one.name: one for one in await containers.find(engine, APPLICATION, application_id)}
    for name, container in found.items():
        is_its = container.labels.get(DEPLOYMENT) == deployment_id
        if is_its and not name.endswith((NEW, OLD)):
            return Switchover(container, found.get(f"{name}{OLD}"))
    return None


async def switch_back(engine: Engine, switchover: Switchover) -> None:
    """Rename the new container as before the switch; `tidy` does the rest.

    Call this only for a deployment that is not done and that can be reversed.
    """
    await containers.rename(engine, switchover.new.container_id, f"{switchover.new.name}{NEW}")


async def _start(engine: Engine, container: Container, *, must_run: bool) -> None:
    """Restart the container, as its present run may be about to end."""
    try:
        await containers.restart(engine, container.container_id)
    except EngineError as error:
        if must_run or error.code in ENGINE_UNREACHABLE_CODES:
            raise
        log.warning("restart_failed", container=container.name, error=error.code)


class Target(ABC):
    """The Engine and application of a job that starts what runs of it.

    ``is_checked`` is true if the application or its image has a health check.
    """

    engine: Engine
    log: JobLog
    mask: Mask
    readiness: ReadinessPolicy
    is_checked: bool

    @abstractmethod
    def error(self, code: FaultCode, problem: str, *, remedy: str = "") -> EngineError:
        """Return the error of the job."""

    def printable(self, text: str) -> str:
        """Return the text on one line without secrets; mask first, as a cut may halve a secret."""
        return " ".join(" ".join(TextLines().feed(f"{self.mask(text)}\n")).split())

    async def require_healthy(self, container_id: str, *, restarts: int = 0) -> Container:
        """Wait until its health check passes; without one, until it has run for a while.

        ``restarts`` is the number that the Engine counted before.

        Raises:
            EngineError: ``container_unhealthy``, ``container_exited``.
        """
        begun = time.monotonic()
        while True:
            seen = await containers.inspect(self.engine, container_id)
            if not seen.is_running or seen.restarts > restarts:
                raise await self._exited(seen)
            match seen.health:
                case None if time.monotonic() - begun >= self.readiness.steady.total_seconds():
                    return seen
                case containers.Health(status="healthy"):
                    return seen
                case containers.Health(status="unhealthy", output=output):
                    probed = self.printable(output)[:MAX_CHARACTERS] or "no output"
                    raise self.error(
                        FaultCode.CONTAINER_UNHEALTHY, f"its health check reports {probed}"
                    )
            await asyncio.sleep(self.readiness.every.total_seconds())

    async def _exited(self, seen: Container) -> EngineError:
        output = await containers.last_lines(self.engine, seen.container_id)
        for line in TextLines().feed(f"{output}\n"):
            self.log.add(line)
        reason = (
            self.printable(seen.error) or self.printable(output)[-MAX_CHARACTERS:] or "no output"
        )
        # A restart resets the code that the inspection shows.
        code = (
            await find_exit_code(self.engine, seen.container_id) if seen.may_run else seen.exit_code
        )
        ended = "it ended" if code is None else f"it ended with exit code {code}"
        return self.error(FaultCode.CONTAINER_EXITED, f"{ended}: {reason}")


@dataclass
class DeploymentTarget(Target):
    """The Engine and application of one deployment, in any runtime."""

    engine: Engine
    command: Replace
    log: JobLog
    mask: Mask
    readiness: ReadinessPolicy = field(default_factory=ReadinessPolicy)

    def error(self, code: FaultCode, problem: str, *, remedy: str = "") -> EngineError:
        return EngineError(code, f"cannot deploy {self.command.target}: {problem}", remedy=remedy)

    def restore_failed(self) -> EngineError:
        """Return the error of a stopped deployment whose previous version was not restored."""
        return self.error(
            FaultCode.RESTORE_FAILED,
            "it was stopped, and the previous version could not be restored",
            remedy="Check what runs on this server. The previous version is restored once its "
            "Docker Engine answers, unless somebody has changed it since.",
        )


@dataclass
class ContainerTarget(DeploymentTarget):
    """A deployment as one container of the server."""

    command: ContainerReplace

    @property
    def new_name(self) -> str:
        return f"{self.command.name}{NEW}"

    @property
    def old_name(self) -> str:
        return f"{self.command.name}{OLD}"

    async def tidy(
        self, *, before: PreviousState | None = None, must_run: bool = True
    ) -> Container | None:
        """Call `tidy` for this application."""
        command = self.command
        return await tidy(
            self.engine,
            command.application_id,
            command.name,
            before=before,
            must_run=must_run,
        )

    async def switched(self) -> Switchover | None:
        """Call `switched` for this deployment."""
        return await switched(self.engine, self.command.application_id, self.command.deployment_id)

    async def require_no_service(self) -> None:
        """Raise `EngineError` (``other_runtime``) if it runs as a service of a Swarm."""
        if (await self.engine.info()).swarm != "manager":
            return
        application_id = self.command.application_id
        for service in await services.find(self.engine, APPLICATION, application_id):
            raise self.error(
                FaultCode.OTHER_RUNTIME,
                f"the application's runtime is container, but it runs here as the service "
                f"{service.name}",
                remedy=f"Remove the service (docker service rm {service.name}) and deploy again, "
                "or set the application's runtime to service.",
            )

    async def require_free_names(self) -> None:
        """Raise `EngineError` (``name_taken``) if a foreign container has a name that we need."""
        for name in (self.command.name, self.new_name, self.old_name):
            labels = await self._labels(name)
            if labels is not None and labels.get(APPLICATION) != self.command.application_id:
                raise self.error(
                    FaultCode.NAME_TAKEN,
                    f"the container {name} does not belong to this application",
                )

    async def _labels(self, name: str) -> Mapping[str, str] | None:
        try:
            return (await containers.inspect(self.engine, name)).labels
        except EngineError as error:
            if error.code != FaultCode.CONTAINER_MISSING:
                raise
            return None
