"""Replace an application's container; the old one stays until the new one is healthy.

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
from worker.deployments.recovery import RecoveryJournal
from worker.deployments.targets import (
    CANCELLED_RESTORE_LIMIT,
    ENGINE_UNREACHABLE_CODES,
    ContainerTarget,
    PreviousState,
    ReadinessPolicy,
    switch_back,
)
from worker.deployments.tools import DeploymentTools
from worker.engine import containers, images
from worker.engine.containers import APPLICATION, DEPLOYMENT, Container, ContainerSpec
from worker.engine.errors import EngineOperation
from worker.jobs.attempt import Attempt
from worker.jobs.joblog import open_log
from worker.jobs.last_step import carry_out
from worker.jobs.mask import Mask, masking
from worker.jobs.tools import log_sender
from worker.login import Grants

RESTORE_LIMIT = timedelta(seconds=60)

GONE_REMEDY = "The previous container is gone. Deploy again, or roll back."

log = structlog.get_logger()


async def replace_container(
    command: ContainerReplace,
    grants: Grants,
    attempt: Attempt,
    tools: DeploymentTools,
    readiness: ReadinessPolicy | None = None,
) -> ContainerResult:
    """Replace the container and return the new one, which runs exactly the requested image.

    Raises:
        EngineError: ``container_unhealthy``, ``container_exited``, ``port_taken``, ``name_taken``,
            ``local_image_missing``, ``platform_missing``, ``host_path_not_allowed``: the previous
            version runs again; or ``restore_failed``. The message shows no environment value.
    """
    tools.host_paths.require(command)
    mask = Mask(value.get_secret_value() for value in grants.environment.values())
    with masking(mask):
        async with (
            open_log(log_sender(attempt), mask) as job_log,
            tools.journal.holding(command),
        ):
            target = ContainerTarget(
                tools.engine, command, job_log, mask, readiness or ReadinessPolicy()
            )
            return await _replace(target, grants, attempt, tools.journal)


async def _replace(
    target: ContainerTarget, grants: Grants, attempt: Attempt, journal: RecoveryJournal
) -> ContainerResult:
    command, engine = target.command, target.engine
    entry = journal.find_entry(command)
    before = entry.before if entry else None
    switchover = await target.switched() if entry else None
    if switchover is not None and not switchover.can_be_reversed(before):
        switchover = None
    current = switchover.old if switchover else await target.tidy(must_run=False)
    image = await images.inspect(engine, command.reference)
    await images.require_platform(engine, image, EngineOperation("deploy", command.target))
    spec = ContainerSpec(
        image.image_id,
        {APPLICATION: command.application_id, DEPLOYMENT: command.deployment_id},
        grants.environment,
        command.health_check,
        command.ports,
        command.mounts,
        command.stop_signal,
        command.stop_grace_seconds,
        command.reference if command.target.digest else None,
    )
    if current is not None and current.labels.get(DEPLOYMENT) == command.deployment_id:
        result = await carry_out(_verify_again(target, spec, current), attempt, lambda: True)
        journal.remove(command)
        return result
    if switchover is None:
        if current is None:
            await target.require_no_service()
        await target.require_free_names()
        ran = current is not None and (current.may_run or journal.ran_before(command))
        before = PreviousState(ran=ran) if current is not None else None
    switch = _Switch(
        target, attempt, journal, current, switchover.new if switchover else None, before
    )
    result = await carry_out(switch.carry_out(spec), attempt, lambda: switch.is_last_step)
    await switch.retire()
    return result


async def _verify_again(
    target: ContainerTarget, spec: ContainerSpec, current: Container
) -> ContainerResult:
    """Verify the result of an earlier attempt, whose previous container is gone already."""
    try:
        return _result(
            target.command, spec, await target.require_healthy(current.container_id), 0.0
        )
    except asyncio.CancelledError:
        raise target.error(
            FaultCode.RESTORE_FAILED, "it had already finished", remedy=GONE_REMEDY
        ) from None
    except EngineError as error:
        if error.code in ENGINE_UNREACHABLE_CODES:
            raise
        raise EngineError(FaultCode.RESTORE_FAILED, error.message, remedy=GONE_REMEDY) from error


@dataclass
class _Switch:
    """The replacement of one container, or of none, by a new one.

    ``switched`` is the container to which an earlier attempt switched without verifying it.
    ``before`` is the previous state of ``current``.
    """

    target: ContainerTarget
    attempt: Attempt
    journal: RecoveryJournal
    current: Container | None
    switched: Container | None = None
    before: PreviousState | None = None
    is_last_step: bool = False
    new_id: str = ""

    async def carry_out(self, spec: ContainerSpec) -> ContainerResult:
        try:
            gap_seconds = await self._start(spec)
            seen = await self.target.require_healthy(self.new_id)
            result = _result(self.target.command, spec, seen, gap_seconds)
            self.is_last_step = True
            await self._rename()
        except asyncio.CancelledError:
            if not await uninterrupted(self._restore(CANCELLED_RESTORE_LIMIT)):
                raise self.target.restore_failed() from None
            raise
        except WharfError as error:
            limit = CANCELLED_RESTORE_LIMIT if self.attempt.is_stopped else RESTORE_LIMIT
            if not await uninterrupted(self._restore(limit)):
                raise EngineError(FaultCode.RESTORE_FAILED, error.message) from error
            raise
        self.target.log.add(f"switched to the new container after a gap of {gap_seconds:.1f} s")
        return result

    async def _start(self, spec: ContainerSpec) -> float:
        """Start the new container; return the seconds between the old one's stop and that."""
        engine, current = self.target.engine, self.current
        if self.switched is not None:
            self.target.log.add("an earlier attempt has switched already: checking its health")
            self.new_id = self.switched.container_id
            return 0.0
        if current is None or not current.may_run or not current.published & spec.published:
            await self._start_beside(spec)
            return 0.0
        await self._start_beside(replace(spec, ports=()))
        await self.target.require_healthy(self.new_id)
        await containers.remove(engine, self.new_id, with_volumes=True)
        self.target.log.add(
            "it is healthy: starting it with its ports in place of the previous one"
        )
        await self._create(spec)
        await self._record_run(current)
        stopped_at = time.monotonic()
        await containers.stop(engine, current)
        await containers.start(engine, self.new_id)
        return time.monotonic() - stopped_at

    async def _start_beside(self, spec: ContainerSpec) -> None:
        self.target.log.add(f"starting {self.target.command.reference}")
        await self._create(spec)
        await containers.start(self.target.engine, self.new_id)

    async def _create(self, spec: ContainerSpec) -> None:
        """Create the container and wait for it: an abandoned request may still be executed."""
        self._record()
        making = containers.create(self.target.engine, self.target.new_name, spec)
        self.new_id = await uninterrupted(making)

    def _record(self) -> None:
        self.journal.record(self.target.command, self.attempt.job_id, before=self.before)

    async def _record_run(self, current: Container) -> None:
        """Record the present run of the container before it is asked to stop."""
        seen = await containers.inspect(self.target.engine, current.container_id)
        ran = seen.may_run or (self.before is not None and self.before.ran)
        self.before = PreviousState(ran=ran, ended_run=seen.started_at)
        self._record()

    async def _rename(self) -> None:
        engine, command = self.target.engine, self.target.command
        if self.switched is not None:
            return
        if self.current is not None:
            await containers.rename(engine, self.current.container_id, self.target.old_name)
        await containers.rename(engine, self.new_id, command.name)

    async def _restore(self, limit: timedelta) -> bool:
        """Restore the previous container; after a failure the journal and the names show it."""
        try:
            async with asyncio.timeout(limit.total_seconds()):
                if (switchover := await self.target.switched()) is not None:
                    await switch_back(self.target.engine, switchover)
                await self.target.tidy(before=self.before)
        except (EngineError, TimeoutError) as error:
            log.warning("restore_failed", error=type(error).__name__)
            self.target.log.add("the previous version could not be restored")
            return False
        with suppress(OSError):  # It is restored; a remaining entry is recovered later.
            self.journal.remove(self.target.command)
        return True

    async def retire(self) -> None:
        """Stop and remove the previous container; kill it if the attempt is stopped."""
        target, old = self.target, self.current
        if old is None:
            self.journal.remove(target.command)
            return
        try:
            if not self.attempt.is_stopped:
                await self._record_run(old)
                await containers.stop(target.engine, old)
        except (asyncio.CancelledError, EngineError) as error:
            log.info("killed", container=old.name, reason=type(error).__name__)
        self.journal.record(target.command, self.attempt.job_id, is_done=True)
        try:
            await uninterrupted(containers.remove(target.engine, old.container_id))
        except EngineError as error:
            log.warning("previous_container_not_removed", container=old.name, error=error.code)
            target.log.add("the previous container could not be removed; this is repeated later")
        else:
            self.journal.remove(target.command)


def _result(
    command: ContainerReplace, spec: ContainerSpec, seen: Container, gap_seconds: float
) -> ContainerResult:
    if seen.image_id != spec.image_id:
        raise EngineError(
            FaultCode.DIGEST_MISMATCH,
            f"cannot deploy {command.target}: the container runs another image, {seen.image_id}",
        )
    return ContainerResult(
        reference=command.reference,
        digest=command.target.digest or "",
        image_id=seen.image_id,
        container_id=seen.container_id,
        gap_seconds=round(gap_seconds, 3),
    )
