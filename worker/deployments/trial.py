"""Try a version of a service out before anything of what runs ends for it: one task, without ports.

A Swarm ends the old task first where a node has a port once, and without a health check as soon as
the new one has started. Either way a version that does not run would cost requests.
"""

import asyncio
from dataclasses import replace
from datetime import timedelta

import structlog

from shared.coroutines import uninterrupted
from shared.errors import EngineError
from shared.faults import FaultCode
from worker.deployments.convergence import Convergence
from worker.deployments.swarm_targets import SwarmSite
from worker.engine.swarm import services
from worker.engine.swarm.service_spec import STOP_FIRST, TRIAL, ServiceSpec, order
from worker.engine.swarm.service_state import Service
from worker.login import EngineLogin

ENDED = timedelta(seconds=3)
"""It is killed, which takes a moment; a cancel has to be over within five seconds."""

log = structlog.get_logger()


def is_needed(site: SwarmSite, spec: ServiceSpec) -> bool:
    """Whether the Swarm itself would end what runs too early."""
    return order(spec.ports) == STOP_FIRST or not site.is_checked


async def try_out(
    site: SwarmSite, spec: ServiceSpec, login: EngineLogin | None, current: Service
) -> None:
    """Return once one task of it was well; it is gone again then.

    Another manager of the Swarm may be trying the same out; then the first to know removes it, and
    goes on.

    Raises:
        EngineError: why it is not. Nothing else was touched.
    """
    site.log.add("trying it out beside what runs, without its ports")
    alone = replace(site, command=site.command.model_copy(update={"replicas": 1, "ports": ()}))
    try:
        before = await _tasks_so_far(site)
        making = services.create_trial(site.engine, spec, login, current)
        await Convergence(alone, await uninterrupted(making), before).wait()
    except EngineError as error:
        if error.code != FaultCode.SERVICE_MISSING or not await _has_begun(site):
            raise
    finally:
        await uninterrupted(remove_trials(site, only_ours=True))


async def remove_trials(site: SwarmSite, *, only_ours: bool = False) -> None:
    """Those of this deployment, or those that others left behind; what they run has ended then."""
    try:
        async with asyncio.timeout(ENDED.total_seconds()):
            for service in await _trials(site, ours=only_ours):
                await _remove(site, service)
    except (EngineError, TimeoutError) as error:
        # The next deployment finds it, and removes it.
        log.warning("trial_not_removed", error=type(error).__name__)


async def _has_begun(site: SwarmSite) -> bool:
    service = await site.find()
    return service is not None and service.deployment == site.command.deployment_id


async def _tasks_so_far(site: SwarmSite) -> frozenset[str]:
    """Of a trial that an attempt left whose Engine died."""
    left = [
        await services.tasks(site.engine, service.service_id)
        for service in await _trials(site, ours=True)
    ]
    return frozenset(task.task_id for tasks in left for task in tasks)


async def _trials(site: SwarmSite, *, ours: bool) -> list[Service]:
    """Of the application: those of this deployment, or of others."""
    found = await services.find(site.engine, TRIAL, site.command.application_id)
    return [one for one in found if (one.deployment == site.command.deployment_id) == ours]


async def _remove(site: SwarmSite, service: Service) -> None:
    """Its tasks first: of what is removed, nobody could see whether it still ends."""
    try:
        await services.scale_to_zero(site.engine, service)
        while True:
            left = await services.tasks(site.engine, service.service_id)
            if all(task.is_over for task in left):
                return
            await asyncio.sleep(site.gate.every.total_seconds())
    finally:
        await services.remove(site.engine, service.service_id)
