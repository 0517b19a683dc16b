"""Replace an application's container: the new one has to be healthy before the old one goes.

```text
side by side        create NAME.new, start it, healthy?, switch
on the same ports   the same without its ports, healthy?, remove it; create NAME.new, stop NAME,
                    start NAME.new, healthy?, switch
switch              NAME becomes NAME.old, NAME.new becomes NAME, NAME.old is removed
not healthy         NAME.new is removed, NAME is started again if it was stopped
```
"""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta

import structlog

from shared.coroutines import uninterrupted
from shared.errors import EngineError, WharfError
from shared.faults import FaultCode
from shared.jobs.commands import ContainerReplace
from shared.jobs.results import ContainerResult
from worker.deployments.recovery import Unfinished
from worker.deployments.targets import AWAY, PUT_BACK_AT_ONCE, Before, Gate, Site, switch_back
from worker.deployments.tools import DeploymentTools
from worker.engine import containers, images
from worker.engine.containers import APPLICATION, DEPLOYMENT, Container, ContainerSpec
from worker.engine.errors import EngineOperation
from worker.jobs.attempt import Attempt
from worker.jobs.joblog import open_log
from worker.jobs.last_step import carry_out
from worker.jobs.mask import Mask, masking
from worker.jobs.tools import sender
from worker.login import Grants

PUT_BACK = timedelta(seconds=60)

GONE = "What ran before is gone: deploy again, or roll back."

log = structlog.get_logger()


async def replace_container(
    command: ContainerReplace,
    grants: Grants,
    attempt: Attempt,
    tools: DeploymentTools,
    gate: Gate | None = None,
) -> ContainerResult:
    """What runs then, which is just the image that was asked for.

    Raises:
        EngineError: ``container_unhealthy``, ``container_exited``, ``port_taken``, ``name_taken``,
            ``local_image_missing``, ``platform_missing``, ``host_path_not_allowed``: what ran
            before runs again; or ``not_put_back``. Its message shows nothing of the environment.
    """
    tools.host_paths.require(command)
    mask = Mask(value.get_secret_value() for value in grants.environment.values())
    with masking(mask):
        async with (
            open_log(sender(attempt), mask) as job_log,
            tools.unfinished.working(command),
        ):
            site = Site(tools.engine, command, job_log, mask, gate or Gate())
            return await _replace(site, grants, attempt, tools.unfinished)


async def _replace(
    site: Site, grants: Grants, attempt: Attempt, unfinished: Unfinished
) -> ContainerResult:
    command, engine = site.command, site.engine
    note = unfinished.noted(command)
    before = note.before if note else None
    left = await site.switched() if note else None
    if left is not None and not left.can_be_undone(before):
        left = None
    current = left.old if left else await site.tidy(must_run=False)
    image = await images.inspect(engine, command.reference)
    await images.require_platform(engine, image, EngineOperation("deploy", command.target))
    spec = ContainerSpec(
        image.image_id,
        {APPLICATION: command.application_id, DEPLOYMENT: command.deployment_id},
        grants.environment,
        command.health_check,
        command.ports,
        command.mounts,
    )
    if current is not None and current.labels.get(DEPLOYMENT) == command.deployment_id:
        result = await carry_out(_look_again(site, spec, current), attempt, lambda: True)
        unfinished.forget(command)
        return result
    if left is None:
        if current is None:
            await site.require_no_service()
        await site.require_free_names()
        ran = current is not None and (current.may_run or unfinished.ran_before(command))
        before = Before(ran=ran) if current is not None else None
    switch = _Switch(site, attempt, unfinished, current, left.new if left else None, before)
    result = await carry_out(switch.carry_out(spec), attempt, lambda: switch.is_last_step)
    await switch.retire()
    return result


async def _look_again(site: Site, spec: ContainerSpec, current: Container) -> ContainerResult:
    """At what an attempt before has done: what ran before that is gone."""
    try:
        return _result(site.command, spec, await site.require_healthy(current.container_id), 0.0)
    except asyncio.CancelledError:
        raise site.error(FaultCode.NOT_PUT_BACK, "it was done already", remedy=GONE) from None
    except EngineError as error:
        if error.code in AWAY:
            raise
        raise EngineError(FaultCode.NOT_PUT_BACK, error.message, remedy=GONE) from error


@dataclass
class _Switch:
    """One container in place of another one, or of none.

    ``switched`` is the one that an attempt before has put there, and may not have looked at since;
    ``before`` says how ``current`` was.
    """

    site: Site
    attempt: Attempt
    unfinished: Unfinished
    current: Container | None
    switched: Container | None = None
    before: Before | None = None
    is_last_step: bool = False
    new_id: str = ""

    async def carry_out(self, spec: ContainerSpec) -> ContainerResult:
        try:
            gap_seconds = await self._start(spec)
            seen = await self.site.require_healthy(self.new_id)
            result = _result(self.site.command, spec, seen, gap_seconds)
            self.is_last_step = True
            await self._rename()
        except asyncio.CancelledError:
            if not await uninterrupted(self._put_back(PUT_BACK_AT_ONCE)):
                raise self.site.not_put_back() from None
            raise
        except WharfError as error:
            limit = PUT_BACK_AT_ONCE if self.attempt.is_stopped else PUT_BACK
            if not await uninterrupted(self._put_back(limit)):
                raise EngineError(FaultCode.NOT_PUT_BACK, error.message) from error
            raise
        self.site.log.add(f"switched, {gap_seconds:.1f} s without an answer")
        return result

    async def _start(self, spec: ContainerSpec) -> float:
        """Seconds from the stop of what ran before to the start of what runs instead."""
        engine, current = self.site.engine, self.current
        if self.switched is not None:
            self.site.log.add("it is switched already: is it healthy still?")
            self.new_id = self.switched.container_id
            return 0.0
        if current is None or not current.may_run or not current.published & spec.published:
            await self._start_beside(spec)
            return 0.0
        await self._start_beside(replace(spec, ports=()))
        await self.site.require_healthy(self.new_id)
        await containers.remove(engine, self.new_id, with_volumes=True)
        self.site.log.add("it is healthy: now with its ports, in place of what ran before")
        await self._create(spec)
        await self._note_end(current)
        stopped_at = time.monotonic()
        await containers.stop(engine, current.container_id)
        await containers.start(engine, self.new_id)
        return time.monotonic() - stopped_at

    async def _start_beside(self, spec: ContainerSpec) -> None:
        self.site.log.add(f"starting {self.site.command.reference}")
        await self._create(spec)
        await containers.start(self.site.engine, self.new_id)

    async def _create(self, spec: ContainerSpec) -> None:
        """To its end: an Engine that was let go makes it all the same, and nobody knew of it."""
        self._note()
        making = containers.create(self.site.engine, self.site.new_name, spec)
        self.new_id = await uninterrupted(making)

    def _note(self) -> None:
        self.unfinished.note(self.site.command, self.attempt.job_id, before=self.before)

    async def _note_end(self, current: Container) -> None:
        """To be called before it is asked to end."""
        seen = await containers.inspect(self.site.engine, current.container_id)
        ran = seen.may_run or (self.before is not None and self.before.ran)
        self.before = Before(ran=ran, ended_run=seen.started_at)
        self._note()

    async def _rename(self) -> None:
        engine, command = self.site.engine, self.site.command
        if self.switched is not None:
            return
        if self.current is not None:
            await containers.rename(engine, self.current.container_id, self.site.old_name)
        await containers.rename(engine, self.new_id, command.name)

    async def _put_back(self, limit: timedelta) -> bool:
        """Undo what was done; where that fails too, the note and the names tell what is left."""
        try:
            async with asyncio.timeout(limit.total_seconds()):
                if (left := await self.site.switched()) is not None:
                    await switch_back(self.site.engine, left)
                await self.site.tidy(before=self.before)
        except (EngineError, TimeoutError) as error:
            log.warning("not_put_back", error=type(error).__name__)
            self.site.log.add("what ran before could not be put back")
            return False
        with suppress(OSError):  # It is put back; a note that stays is looked at again.
            self.unfinished.forget(self.site.command)
        return True

    async def retire(self) -> None:
        """Give what ran before time to end, unless somebody wants to; the new one runs anyway."""
        site, old = self.site, self.current
        if old is None:
            self.unfinished.forget(site.command)
            return
        try:
            if not self.attempt.is_stopped:
                await self._note_end(old)
                await containers.stop(site.engine, old.container_id)
        except (asyncio.CancelledError, EngineError) as error:
            log.info("killed", container=old.name, why=type(error).__name__)
        self.unfinished.note(site.command, self.attempt.job_id, is_done=True)
        try:
            await uninterrupted(containers.remove(site.engine, old.container_id))
        except EngineError as error:
            log.warning("not_retired", container=old.name, error=error.code)
            site.log.add("what ran before could not be removed; that is done later")
        else:
            self.unfinished.forget(site.command)


def _result(
    command: ContainerReplace, spec: ContainerSpec, seen: Container, gap_seconds: float
) -> ContainerResult:
    if seen.image_id != spec.image_id:
        raise EngineError(
            FaultCode.DIGEST_MISMATCH,
            f"deploy {command.target}: another image runs, {seen.image_id}",
        )
    return ContainerResult(
        reference=command.reference,
        digest=command.target.digest or "",
        image_id=seen.image_id,
        container_id=seen.container_id,
        gap_seconds=round(gap_seconds, 3),
    )
