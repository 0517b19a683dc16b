"""Replace an application's Swarm service: all of its tasks run the new spec, or the previous one.

```text
no service yet     create it; on failure remove it again
own service        run a trial where the Swarm would stop old tasks too early; then update
                   it; on failure the Swarm rolls it back, by itself or on request
service of this    a worker died or stopped after it had begun: continue to wait
deployment
```
"""

import asyncio
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta

import structlog
from pydantic import JsonValue

from shared.coroutines import uninterrupted
from shared.errors import EngineError, WharfError
from shared.faults import FaultCode
from shared.jobs.commands import ServiceReplace
from shared.jobs.results import ServiceResult
from worker.deployments import trial
from worker.deployments.convergence import Convergence, Observation
from worker.deployments.swarm_targets import ServiceTarget
from worker.deployments.targets import (
    CANCELLED_RESTORE_LIMIT,
    ENGINE_UNREACHABLE_CODES,
    ReadinessPolicy,
)
from worker.deployments.tools import DeploymentTools
from worker.engine import images
from worker.engine.swarm import services
from worker.engine.swarm.service_spec import STOP_FIRST, order
from worker.engine.swarm.service_state import Service
from worker.jobs.attempt import Attempt, StopReason
from worker.jobs.joblog import open_log
from worker.jobs.last_step import carry_out
from worker.jobs.mask import Mask, masking
from worker.jobs.second_opinion import (
    Transfer,
    ask,
    combine,
    find_engine_login,
)
from worker.jobs.tools import log_sender
from worker.jobs.transfers import observe_limit
from worker.login import Grants

RESTORED_WITHIN = timedelta(seconds=90)
"""Restored tasks have to run within this time plus the time that a health check may take."""

log = structlog.get_logger()


async def replace_service(
    command: ServiceReplace,
    grants: Grants,
    attempt: Attempt,
    tools: DeploymentTools,
    readiness: ReadinessPolicy | None = None,
) -> ServiceResult:
    """Replace the service and return it; all of its tasks run exactly the requested image.

    Raises:
        EngineError: ``not_a_swarm_manager``, ``other_runtime``, ``name_taken``,
            ``no_suitable_node``, ``platform_missing``, ``container_unhealthy``,
            ``container_exited``, ``port_taken``, ``local_image_missing``: the previous version runs
            again; or ``restore_failed``. The message shows no environment value.
    """
    tools.host_paths.require(command)
    mask = Mask(value.get_secret_value() for value in grants.environment.values())
    with masking(mask):
        async with (
            open_log(log_sender(attempt), mask) as job_log,
            tools.journal.holding(command),
        ):
            target = ServiceTarget(
                tools.engine, command, job_log, mask, readiness or ReadinessPolicy()
            )
            return await _replace(target, grants, attempt, tools)


async def _replace(
    target: ServiceTarget, grants: Grants, attempt: Attempt, tools: DeploymentTools
) -> ServiceResult:
    await target.require_manager()
    await target.inspect_image()
    await trial.remove_trials(target)
    current = await target.find()
    if current is None:
        await target.require_no_container()
        await target.require_free_name()
    rollout = _Rollout(target, attempt, tools, current)
    if current is None:
        rollout.previous_spec = {}
    elif current.deployment != target.command.deployment_id:
        rollout.previous_spec, rollout.previous_tasks = (
            current.document,
            len(await target.running_tasks(current)),
        )
    return await carry_out(rollout.carry_out(grants), attempt, lambda: rollout.is_last_step)


@dataclass
class _Rollout:
    """The replacement of one service spec, or of none, by a new one.

    ``previous_spec`` is the spec before this deployment, ``previous_tasks`` the number of its
    running tasks. The spec is empty if there was no service. Both are ``None`` if another attempt
    or manager has already begun.
    """

    target: ServiceTarget
    attempt: Attempt
    tools: DeploymentTools
    current: Service | None
    previous_spec: Mapping[str, JsonValue] | None = field(default=None, repr=False)
    previous_tasks: int | None = None
    has_begun: bool = False
    is_last_step: bool = False

    async def carry_out(self, grants: Grants) -> ServiceResult:
        try:
            convergence = await self._begin(grants)
            observation = await convergence.wait()
            self.is_last_step = True
            transfer = self._transfer(grants)
            await observe_limit(transfer.reference, transfer.login, self.tools)
        except asyncio.CancelledError:
            is_ours = self.has_begun and self.attempt.stop_reason is not StopReason.LEASE_LOST
            if is_ours and not await uninterrupted(self._restore()):
                raise self.target.restore_failed() from None
            raise
        except WharfError as error:
            if (
                self.has_begun
                and error.code in ENGINE_UNREACHABLE_CODES
                and self.attempt.stop_reason is StopReason.CANCELLED
            ):
                raise self.target.restore_failed() from error
            if not self.has_begun or error.code in ENGINE_UNREACHABLE_CODES:
                raise  # Its Swarm continues, and the next attempt waits for it.
            if not (await uninterrupted(self._restore()) and await self._is_restored()):
                raise EngineError(FaultCode.RESTORE_FAILED, error.message) from error
            if isinstance(error, EngineError) and error.code == FaultCode.LOCAL_IMAGE_MISSING:
                raise await self._explain(error, grants) from error
            raise
        self.tools.journal.remove(self.target.command)
        return self._result(observation)

    async def _begin(self, grants: Grants) -> Convergence:
        """Create or update the service and wait: an abandoned request may still be executed."""
        target, command, current = self.target, self.target.command, self.current
        if current is not None and current.deployment == command.deployment_id:
            self.tools.journal.record(command, self.attempt.job_id)
            self.has_begun = True
            target.log.add("an earlier attempt has begun: waiting for the service")
            there = await services.tasks(target.engine, current.service_id)
            earlier = frozenset(one.task_id for one in there)
            return Convergence(target, current.service_id, earlier, current.grace)
        transfer = self._transfer(grants)
        login = await find_engine_login(transfer, self.tools)
        name = current.name if current else command.name
        platforms = await target.find_platforms(transfer, login, self.tools)
        spec = await target.make_spec(grants.environment, platforms, name)
        self.tools.journal.record(command, self.attempt.job_id)
        if current is not None and self.previous_tasks and trial.is_needed(target, spec):
            await trial.try_out(target, spec, login, current)
        self.has_begun = True
        if current is None:
            target.log.add(f"starting {spec.replicas} of {command.reference} as the service {name}")
            making = services.create(target.engine, spec, login)
            return Convergence(target, await uninterrupted(making))
        target.log.add(f"changing the service {name} to {spec.replicas} of {command.reference}")
        changing = services.update(target.engine, current.service_id, spec, login)
        await uninterrupted(changing)
        return Convergence(target, current.service_id, grace=current.grace)

    def _transfer(self, grants: Grants) -> Transfer:
        """Return the pull that each node has to do."""
        command = self.target.command
        login = grants.login_for(command.target, "pull") if command.registry_id else None
        return Transfer("pull", command.target, login)

    async def _explain(self, error: EngineError, grants: Grants) -> EngineError:
        """Return the error of a node that did not pull the image, as the registry explains it.

        The node may be of another platform than this manager, so that one is not blamed.
        """
        platform = await images.find_platform(self.target.engine)
        transfer = replace(self._transfer(grants), platform=platform)
        found = await ask(transfer, self.tools, with_parts=True)
        if found.error is None or found.error.code == FaultCode.PLATFORM_MISSING:
            return error
        return combine(error, transfer, found, self.tools.engine_certificates)

    async def _restore(self) -> bool:
        """Ask the Swarm to restore the previous spec; return whether it accepted."""
        self.target.log.add("restoring the previous version")
        return await self._succeeds(self._start_restore(), CANCELLED_RESTORE_LIMIT)

    async def _is_restored(self) -> bool:
        """Wait until the previous version runs again; return whether it does in time."""
        check = self.target.command.health_check
        longest = timedelta(seconds=check.longest_seconds if check else 0)
        return await self._succeeds(self._wait_until_restored(), RESTORED_WITHIN + longest)

    async def _succeeds(self, step: Coroutine[object, object, None], limit: timedelta) -> bool:
        try:
            async with asyncio.timeout(limit.total_seconds()):
                await step
        except (EngineError, TimeoutError) as error:
            log.warning("restore_failed", error=type(error).__name__)
            self.target.log.add("the previous version could not be restored")
            return False
        return True

    async def _start_restore(self) -> None:
        found = await self.target.find()
        if found is not None:
            deployment = self.target.command.deployment_id
            await services.restore(
                self.target.engine, found.service_id, deployment, self.previous_spec
            )
        with suppress(OSError):  # It is restored; a remaining entry is recovered later.
            self.tools.journal.remove(self.target.command)

    async def _wait_until_restored(self) -> None:
        while (service := await self.target.find()) is not None:
            expected = (
                service.replicas
                if self.previous_tasks is None
                else min(service.replicas, self.previous_tasks)
            )
            if len(await self.target.running_tasks(service)) >= expected:
                return
            await asyncio.sleep(self.target.readiness.every.total_seconds())

    def _result(self, observation: Observation) -> ServiceResult:
        command = self.target.command
        gap_seconds = observation.gap_seconds() if order(command.ports) == STOP_FIRST else 0.0
        self.target.log.add(f"all tasks run after a gap of {gap_seconds:.1f} s")
        return ServiceResult(
            reference=command.reference,
            digest=command.target.digest or "",
            service_id=observation.service.service_id,
            replicas=len(observation.running),
            gap_seconds=gap_seconds,
        )
