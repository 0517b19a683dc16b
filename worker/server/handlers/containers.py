"""Replace an application's container: the new one has to be healthy before the old one goes.

```text
side by side        create NAME.new, start it, healthy?, switch
on the same ports   the same without its ports, healthy?, remove it; create NAME.new, stop NAME,
                    start NAME.new, healthy?, switch
switch              NAME becomes NAME.old, NAME.new becomes NAME, NAME.old is removed
not healthy         NAME.new is removed, NAME is started again if it was stopped
```

The names say how far an attempt came that nobody finished: NAME.new was not switched to, and beside
a NAME, NAME.old was switched from.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

import structlog

from shared.coroutines import uninterrupted
from shared.errors import EngineError, WharfError
from shared.faults import FaultCode
from shared.jobs.commands import ContainerReplace, ContainerResult
from worker.engine import containers, images
from worker.engine.connection import Engine
from worker.engine.containers import APPLICATION, DEPLOYMENT, Container, ContainerSpec
from worker.engine.errors import Doing
from worker.engine.images import LocalImage
from worker.login import Grants
from worker.server.attempt import Attempt
from worker.server.handlers.last_step import carry_out
from worker.server.handlers.tools import Tools, sender
from worker.server.joblog import JobLog, open_log
from worker.server.mask import Mask

PUT_BACK_SECONDS = 4.0
"""A cancel has to be over within five."""

MAX_WORDS = 500

log = structlog.get_logger()


@dataclass(frozen=True)
class Gate:
    """How often a new container is looked at, and how long one without a check has to run."""

    every: timedelta = timedelta(seconds=0.5)
    steady: timedelta = timedelta(seconds=5)


async def replace_container(
    command: ContainerReplace,
    grants: Grants,
    attempt: Attempt,
    tools: Tools,
    gate: Gate | None = None,
) -> ContainerResult:
    """What runs then, which is just the image that was asked for.

    Raises:
        EngineError: ``container_unhealthy``, ``container_exited``, ``port_taken``, ``name_taken``,
            ``local_image_missing``, ``platform_missing``; what ran before runs again. Its message
            shows nothing of the environment.
    """
    mask = Mask(value.get_secret_value() for value in grants.environment.values())
    try:
        async with open_log(sender(attempt), mask) as job_log:
            site = _Site(tools.engine, command, job_log, gate or Gate())
            return await _replace(site, grants, attempt)
    except WharfError as error:
        # A container's own words are in there, and they may say anything.
        error.message = mask(error.message)
        error.args = (error.message,)
        raise


async def _replace(site: "_Site", grants: Grants, attempt: Attempt) -> ContainerResult:
    command, engine = site.command, site.engine
    image = await images.inspect(engine, command.reference)
    await images.require_platform(engine, image, Doing("deploy", command.target))
    current = await site.tidy()
    if current is not None and current.labels.get(DEPLOYMENT) == command.deployment_id:
        await site.require_healthy(current.container_id)
        return await site.result(image, gap_seconds=0.0)
    spec = ContainerSpec(
        image.image_id,
        {APPLICATION: command.application_id, DEPLOYMENT: command.deployment_id},
        grants.environment,
        command.health_check,
        command.ports,
        command.mounts,
    )
    switch = _Switch(site, current)
    gap_seconds = await carry_out(switch.carry_out(spec), attempt, lambda: switch.is_last_step)
    result = await site.result(image, gap_seconds=gap_seconds)
    if current is not None:
        await _retire(engine, current)
    return result


@dataclass
class _Switch:
    """One container in place of another one, or of none."""

    site: "_Site"
    current: Container | None
    is_last_step: bool = False
    new_id: str = ""

    async def carry_out(self, spec: ContainerSpec) -> float:
        """How many seconds nothing listened at the published ports."""
        try:
            gap = await self._start(spec)
            await self.site.require_healthy(self.new_id)
            self.is_last_step = True
            await self._rename()
        except BaseException:
            await uninterrupted(self._put_back())
            raise
        self.site.log.add(f"switched, {gap:.1f} s without an answer" if gap else "switched")
        return gap

    async def _start(self, spec: ContainerSpec) -> float:
        """Seconds from the stop of what ran before to the start of what runs instead."""
        engine, current = self.site.engine, self.current
        if current is None or not current.is_running or not current.published & spec.published:
            await self._start_beside(spec)
            return 0.0
        await self._start_beside(replace(spec, ports=()))
        await self.site.require_healthy(self.new_id)
        await containers.remove(engine, self.new_id)
        self.site.log.add("it is healthy: now with its ports, in place of what ran before")
        self.new_id = await containers.create(engine, self.site.new_name, spec)
        stopped_at = time.monotonic()
        await containers.stop(engine, current.container_id)
        await containers.start(engine, self.new_id)
        return time.monotonic() - stopped_at

    async def _start_beside(self, spec: ContainerSpec) -> None:
        self.site.log.add(f"starting {self.site.command.reference}")
        self.new_id = await containers.create(self.site.engine, self.site.new_name, spec)
        await containers.start(self.site.engine, self.new_id)

    async def _rename(self) -> None:
        engine = self.site.engine
        if self.current is not None:
            await containers.rename(engine, self.current.container_id, self.site.old_name)
        await containers.rename(engine, self.new_id, self.site.command.name)

    async def _put_back(self) -> None:
        """Undo what was done; where that fails too, the next attempt finds it by its name."""
        try:
            async with asyncio.timeout(PUT_BACK_SECONDS):
                await self.site.tidy()
        except (EngineError, TimeoutError) as error:
            log.warning("not_put_back", error=type(error).__name__)
            self.site.log.add("what ran before could not be put back")


@dataclass
class _Site:
    """An application's containers on one Engine."""

    engine: Engine
    command: ContainerReplace
    log: JobLog
    gate: Gate = field(default_factory=Gate)

    @property
    def new_name(self) -> str:
        return f"{self.command.name}.new"

    @property
    def old_name(self) -> str:
        return f"{self.command.name}.old"

    async def tidy(self) -> Container | None:
        """What the application runs, after whatever an attempt left behind is put right.

        Raises:
            EngineError: ``name_taken``, a container of that name is none of the application's.
        """
        found = await self._found()
        current, new = found.get(self.command.name), found.get(self.new_name)
        old = found.get(self.old_name)
        if new is not None:
            await containers.remove(self.engine, new.container_id)
        if old is not None and current is not None:
            await containers.remove(self.engine, old.container_id)
        if old is not None and current is None:
            await containers.rename(self.engine, old.container_id, self.command.name)
            current = old
        if current is None:
            await self._require_free_name()
            return None
        if (new or old) and not current.is_running:
            await containers.start(self.engine, current.container_id)
        return await containers.inspect(self.engine, current.container_id)

    async def require_healthy(self, container_id: str) -> None:
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
                    return
                case containers.Health(status="healthy"):
                    return
                case containers.Health(status="unhealthy", said=said):
                    raise EngineError(
                        FaultCode.CONTAINER_UNHEALTHY,
                        f"deploy {self.command.target}: its health check says "
                        f"{said[:MAX_WORDS] or 'nothing'}",
                    )
            await asyncio.sleep(self.gate.every.total_seconds())

    async def result(self, image: LocalImage, *, gap_seconds: float) -> ContainerResult:
        """What runs, asked anew.

        Raises:
            EngineError: ``digest_mismatch``, it is another image.
        """
        running = await containers.inspect(self.engine, self.command.name)
        if running.image_id != image.image_id or not running.is_running:
            raise EngineError(
                FaultCode.DIGEST_MISMATCH, f"deploy {self.command.target}: something else runs"
            )
        return ContainerResult(
            reference=self.command.reference,
            digest=self.command.target.digest or "",
            image_id=image.image_id,
            container_id=running.container_id,
            gap_seconds=round(gap_seconds, 3),
        )

    async def _found(self) -> Mapping[str, Container]:
        found = await containers.find(self.engine, APPLICATION, self.command.application_id)
        return {container.name: container for container in found}

    async def _require_free_name(self) -> None:
        try:
            await containers.inspect(self.engine, self.command.name)
        except EngineError as error:
            if error.code != FaultCode.CONTAINER_MISSING:
                raise
            return
        raise EngineError(
            FaultCode.NAME_TAKEN,
            f"deploy {self.command.target}: the container {self.command.name} is not of this "
            "application",
        )

    async def _exited(self, seen: Container) -> EngineError:
        words = await containers.last_lines(self.engine, seen.container_id)
        for line in words.splitlines():
            self.log.add(line)
        return EngineError(
            FaultCode.CONTAINER_EXITED,
            f"deploy {self.command.target}: it ended with exit code {seen.exit_code}: "
            f"{seen.error or ' '.join(words.split())[-MAX_WORDS:] or 'without a word'}",
        )


async def _retire(engine: Engine, old: Container) -> None:
    """Give it time to end; who does not want to wait for that has it killed."""
    try:
        await containers.stop(engine, old.container_id)
    except asyncio.CancelledError:
        log.info("killed", container=old.name)
    await uninterrupted(containers.remove(engine, old.container_id))
