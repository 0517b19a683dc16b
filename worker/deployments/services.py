"""Replace an application's Swarm service: all of its tasks run as asked for, or as before.

```text
no service yet     create it; not well: remove it again
one of ours        try it out, where the Swarm would end what runs too early; then
                   update it; not well: the Swarm rolls it back, or is told to
one of this        a worker died, or stopped, after it had begun: go on waiting
deployment
```
"""

import asyncio
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

import structlog
from pydantic import JsonValue

from shared.coroutines import uninterrupted
from shared.errors import EngineError, WharfError
from shared.faults import FaultCode
from shared.jobs.commands import ServiceReplace
from shared.jobs.results import ServiceResult
from worker.deployments import trial
from worker.deployments.convergence import Convergence, Look
from worker.deployments.swarm_targets import SwarmSite
from worker.deployments.targets import AWAY, PUT_BACK_AT_ONCE, Gate
from worker.deployments.tools import DeploymentTools
from worker.engine.swarm import services
from worker.engine.swarm.service_spec import STOP_FIRST, order
from worker.engine.swarm.service_state import Service
from worker.jobs.attempt import Attempt, Why
from worker.jobs.joblog import open_log
from worker.jobs.last_step import carry_out
from worker.jobs.mask import Mask, masking
from worker.jobs.tools import sender
from worker.login import Grants

RUNS_AGAIN = timedelta(seconds=90)
"""What tasks that were put back have to run again, with what a health check may take besides."""

log = structlog.get_logger()


async def replace_service(
    command: ServiceReplace,
    grants: Grants,
    attempt: Attempt,
    tools: DeploymentTools,
    gate: Gate | None = None,
) -> ServiceResult:
    """What the Swarm runs then: so many tasks, all of just the image that was asked for.

    Raises:
        EngineError: ``not_a_swarm_manager``, ``other_runtime``, ``name_taken``,
            ``no_suitable_node``, ``platform_missing``, ``container_unhealthy``,
            ``container_exited``, ``port_taken``, ``local_image_missing``: what ran before runs
            again; or ``not_put_back``. Its message shows nothing of the environment.
    """
    tools.host_paths.require(command)
    mask = Mask(value.get_secret_value() for value in grants.environment.values())
    with masking(mask):
        async with (
            open_log(sender(attempt), mask) as job_log,
            tools.unfinished.working(command),
        ):
            site = SwarmSite(tools.engine, command, job_log, mask, gate or Gate())
            return await _replace(site, grants, attempt, tools)


async def _replace(
    site: SwarmSite, grants: Grants, attempt: Attempt, tools: DeploymentTools
) -> ServiceResult:
    await site.require_manager()
    await site.see_image()
    await trial.remove_trials(site)
    current = await site.find()
    if current is None:
        await site.require_no_container()
        await site.require_free_name()
    rollout = _Rollout(site, attempt, tools, current)
    if current is None:
        rollout.before = {}
    elif current.deployment != site.command.deployment_id:
        rollout.before, rollout.ran = current.document, len(await site.running(current))
    return await carry_out(rollout.carry_out(grants), attempt, lambda: rollout.is_last_step)


@dataclass
class _Rollout:
    """One spec in place of another one, or of none.

    ``before`` and ``ran`` are the spec and how many tasks ran of it before this deployment; empty
    where there was no service, none where another attempt or another manager has begun with it.
    """

    site: SwarmSite
    attempt: Attempt
    tools: DeploymentTools
    current: Service | None
    before: Mapping[str, JsonValue] | None = field(default=None, repr=False)
    ran: int | None = None
    has_begun: bool = False
    is_last_step: bool = False

    async def carry_out(self, grants: Grants) -> ServiceResult:
        try:
            convergence = await self._begin(grants)
            look = await convergence.wait()
            self.is_last_step = True
        except asyncio.CancelledError:
            is_ours = self.has_begun and self.attempt.why is not Why.LEASE_LOST
            if is_ours and not await uninterrupted(self._put_back()):
                raise self.site.not_put_back() from None
            raise
        except WharfError as error:
            if self.has_begun and error.code in AWAY and self.attempt.why is Why.CANCELLED:
                raise self.site.not_put_back() from error
            if not self.has_begun or error.code in AWAY:
                raise  # Its Swarm goes on, and the next attempt waits on.
            if not (await uninterrupted(self._put_back()) and await self._is_back()):
                raise EngineError(FaultCode.NOT_PUT_BACK, error.message) from error
            raise
        self.tools.unfinished.forget(self.site.command)
        return self._result(look)

    async def _begin(self, grants: Grants) -> Convergence:
        """To its end: an Engine that was let go does it all the same, and nobody knew of it."""
        site, command, current = self.site, self.site.command, self.current
        if current is not None and current.deployment == command.deployment_id:
            self.tools.unfinished.note(command, self.attempt.job_id)
            self.has_begun = True
            site.log.add("it has begun before: waiting on")
            there = await services.tasks(site.engine, current.service_id)
            return Convergence(site, current.service_id, frozenset(one.task_id for one in there))
        given = grants.login_for(command.target, "pull") if command.registry_id else None
        login = await self.tools.for_engine(given, command.target)
        name = current.name if current else command.name
        spec = await site.spec(grants.environment, login, name)
        self.tools.unfinished.note(command, self.attempt.job_id)
        if current is not None and self.ran and trial.is_needed(site, spec):
            await trial.try_out(site, spec, login, current)
        self.has_begun = True
        if current is None:
            site.log.add(f"starting {spec.replicas} of {command.reference} as the service {name}")
            making = services.create(site.engine, spec, login)
            return Convergence(site, await uninterrupted(making))
        site.log.add(f"changing the service {name} to {spec.replicas} of {command.reference}")
        changing = services.update(site.engine, current.service_id, spec, login)
        await uninterrupted(changing)
        return Convergence(site, current.service_id)

    async def _put_back(self) -> bool:
        """Whether the Swarm was told to undo what was done; it then does that by itself."""
        self.site.log.add("putting back what ran before")
        return await self._is_done(self._tell_back(), PUT_BACK_AT_ONCE)

    async def _is_back(self) -> bool:
        """Whether what ran before runs again; it may have as slow a health check as this one."""
        check = self.site.command.health_check
        longest = timedelta(seconds=check.longest_seconds if check else 0)
        return await self._is_done(self._wait_until_back(), RUNS_AGAIN + longest)

    async def _is_done(self, step: Coroutine[object, object, None], limit: timedelta) -> bool:
        try:
            async with asyncio.timeout(limit.total_seconds()):
                await step
        except (EngineError, TimeoutError) as error:
            log.warning("not_put_back", error=type(error).__name__)
            self.site.log.add("what ran before could not be put back")
            return False
        return True

    async def _tell_back(self) -> None:
        found = await self.site.find()
        if found is not None:
            deployment = self.site.command.deployment_id
            await services.restore(self.site.engine, found.service_id, deployment, self.before)
        with suppress(OSError):  # It is put back; a note that stays is looked at again.
            self.tools.unfinished.forget(self.site.command)

    async def _wait_until_back(self) -> None:
        while (service := await self.site.find()) is not None:
            wanted = service.replicas if self.ran is None else min(service.replicas, self.ran)
            if len(await self.site.running(service)) >= wanted:
                return
            await asyncio.sleep(self.site.gate.every.total_seconds())

    def _result(self, look: Look) -> ServiceResult:
        command = self.site.command
        gap_seconds = look.gap_seconds() if order(command.ports) == STOP_FIRST else 0.0
        self.site.log.add(f"all run, {gap_seconds:.1f} s without an answer")
        return ServiceResult(
            reference=command.reference,
            digest=command.target.digest or "",
            service_id=look.service.service_id,
            replicas=len(look.running),
            gap_seconds=gap_seconds,
        )
