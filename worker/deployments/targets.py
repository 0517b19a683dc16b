"""An application's containers on one Engine: what runs, what was left behind, what is healthy.

The names say how far an attempt came that nobody finished: NAME.new was not switched to; beside a
NAME, NAME.old was switched from, and without one it is what ran before.
"""

import asyncio
import time
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
from worker.engine.swarm import services
from worker.engine.transport.connection import Engine
from worker.engine.transport.text import TextLines
from worker.jobs.joblog import JobLog
from worker.jobs.mask import Mask

log = structlog.get_logger()

NEW, OLD = ".new", ".old"
MAX_WORDS = 500

PUT_BACK_AT_ONCE = timedelta(seconds=4)
"""A cancel has to be over within five; what is put back may come to run after that."""


AWAY = {
    FaultCode.ENGINE_UNREACHABLE,
    FaultCode.ENGINE_STREAM_TRUNCATED,
    FaultCode.ENGINE_API_VERSION,
}
"""An Engine that is away is asked for nothing; when it is back, the next attempt goes on."""


@dataclass(frozen=True)
class Gate:
    """How often a new container is looked at, and how long one without a check has to run.

    A Swarm's task is given a node within ``placed``, or there is none for it.
    """

    every: timedelta = timedelta(seconds=0.2)
    steady: timedelta = timedelta(seconds=5)
    placed: timedelta = timedelta(seconds=15)


class Before(BaseModel):
    """What there was before a deployment: whether it ran, and which run was asked to end, if one.

    A run is told by when it began: one that was started again since is another.
    """

    model_config = ConfigDict(frozen=True)

    ran: bool
    ended_run: str | None = None


async def tidy(
    engine: Engine,
    application_id: str,
    name: str = "",
    *,
    before: Before | None = None,
    must_run: bool = True,
) -> Container | None:
    """What the application runs, after whatever an attempt left behind is put right.

    ``name`` is what its container should be called; before a change of name it is called another.
    ``before`` says how it was; where nobody knows, it ran if anything was left behind. Unless it
    ``must_run``, one that the Engine will not start again is left stopped. What was left behind
    goes last: while it is there, another attempt knows that there is something to be done.
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
        await containers.stop(engine, one.container_id)
        await containers.remove(engine, one.container_id)
    for one in new:
        await containers.remove(engine, one.container_id, with_volumes=True)
    return await containers.inspect(engine, current.container_id) if current else None


@dataclass(frozen=True)
class Switched:
    """What a deployment has put in the place of ``old``, if that is still there."""

    new: Container
    old: Container | None

    def can_be_undone(self, before: Before | None) -> bool:
        """Not where there was something ``before`` that somebody has removed since."""
        return self.old is not None or before is None


async def switched(engine: Engine, application_id: str, deployment_id: str) -> Switched | None:
    """How they are called, if a deployment has switched."""
    found = {one.name: one for one in await containers.find(engine, APPLICATION, application_id)}
    for name, container in found.items():
        is_its = container.labels.get(DEPLOYMENT) == deployment_id
        if is_its and not name.endswith((NEW, OLD)):
            return Switched(container, found.get(f"{name}{OLD}"))
    return None


async def switch_back(engine: Engine, left: Switched) -> None:
    """By their names, nothing is switched any more: the rest is for `tidy`.

    Only of a deployment that is not done, and where it can be undone.
    """
    await containers.rename(engine, left.new.container_id, f"{left.new.name}{NEW}")


async def _start(engine: Engine, container: Container, *, must_run: bool) -> None:
    """From its start, as it may just be about to end."""
    try:
        await containers.restart(engine, container.container_id)
    except EngineError as error:
        if must_run or error.code in AWAY:
            raise
        log.warning("not_started_again", container=container.name, error=error.code)


@dataclass
class Place:
    """Where one deployment of an application is carried out, in whatever runtime."""

    engine: Engine
    command: Replace
    log: JobLog
    mask: Mask
    gate: Gate = field(default_factory=Gate)

    def error(self, code: FaultCode, what: str, *, remedy: str = "") -> EngineError:
        return EngineError(code, f"deploy {self.command.target}: {what}", remedy=remedy)

    def not_put_back(self) -> EngineError:
        """Of a deployment that was stopped when it was too late, or its Engine away."""
        return self.error(
            FaultCode.NOT_PUT_BACK,
            "it was stopped, and what ran before could not be put back",
            remedy="It is put back once the Docker Engine of this server answers, unless somebody "
            "changed it since: look at what runs there.",
        )

    def shown(self, text: str) -> str:
        """On one line, without secrets: those go before anything is cut, or half of one stays."""
        return " ".join(" ".join(TextLines().feed(f"{self.mask(text)}\n")).split())


@dataclass
class Site(Place):
    """Where it is carried out as one container of the server."""

    command: ContainerReplace

    @property
    def new_name(self) -> str:
        return f"{self.command.name}{NEW}"

    @property
    def old_name(self) -> str:
        return f"{self.command.name}{OLD}"

    async def tidy(
        self, *, before: Before | None = None, must_run: bool = True
    ) -> Container | None:
        """As `tidy`, for this application."""
        command = self.command
        return await tidy(
            self.engine,
            command.application_id,
            command.name,
            before=before,
            must_run=must_run,
        )

    async def switched(self) -> Switched | None:
        """As `switched`, for this deployment."""
        return await switched(self.engine, self.command.application_id, self.command.deployment_id)

    async def require_no_service(self) -> None:
        """Raises `EngineError` (``other_runtime``) where it runs as a service of a Swarm."""
        if (await self.engine.info()).swarm != "manager":
            return
        application_id = self.command.application_id
        for service in await services.find(self.engine, APPLICATION, application_id):
            raise self.error(FaultCode.OTHER_RUNTIME, f"it runs here as the service {service.name}")

    async def require_free_names(self) -> None:
        """Raises `EngineError` (``name_taken``) where somebody else has a name that we need."""
        for name in (self.command.name, self.new_name, self.old_name):
            labels = await self._labels(name)
            if labels is not None and labels.get(APPLICATION) != self.command.application_id:
                raise self.error(
                    FaultCode.NAME_TAKEN, f"the container {name} is not of this application"
                )

    async def require_healthy(self, container_id: str) -> Container:
        """Wait until its health check passes; without one, until it has run for a while.

        Raises:
            EngineError: ``container_unhealthy``, ``container_exited``.
        """
        begun = time.monotonic()
        while True:
            seen = await containers.inspect(self.engine, container_id)
            if not seen.is_running or seen.restarts:
                raise await self._exited(seen)
            match seen.health:
                case None if time.monotonic() - begun >= self.gate.steady.total_seconds():
                    return seen
                case containers.Health(status="healthy"):
                    return seen
                case containers.Health(status="unhealthy", output=said):
                    probed = self.shown(said)[:MAX_WORDS] or "nothing"
                    raise self.error(
                        FaultCode.CONTAINER_UNHEALTHY, f"its health check says {probed}"
                    )
            await asyncio.sleep(self.gate.every.total_seconds())

    async def _labels(self, name: str) -> Mapping[str, str] | None:
        try:
            return (await containers.inspect(self.engine, name)).labels
        except EngineError as error:
            if error.code != FaultCode.CONTAINER_MISSING:
                raise
            return None

    async def _exited(self, seen: Container) -> EngineError:
        words = await containers.last_lines(self.engine, seen.container_id)
        for line in TextLines().feed(f"{words}\n"):
            self.log.add(line)
        said = self.shown(seen.error) or self.shown(words)[-MAX_WORDS:] or "without a word"
        return self.error(
            FaultCode.CONTAINER_EXITED, f"it ended with exit code {seen.exit_code}: {said}"
        )
