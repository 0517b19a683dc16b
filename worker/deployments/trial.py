"""Run a trial of a new service version, one task without ports, before any old task stops.

A Swarm stops the old task first if a port of the node can be used only once. Without a health check
it does so as soon as the new task has started. In both cases a version that does not run would
cost requests.
"""

import asyncio
from dataclasses import replace
from datetime import timedelta

import structlog

from shared.coroutines import uninterrupted
from shared.errors import EngineError
from shared.faults import FaultCode
from worker.deployments.convergence import Convergence
from worker.deployments.swarm_targets import ServiceTarget
from worker.engine.swarm import services
from worker.engine.swarm.service_spec import STOP_FIRST, TRIAL, ServiceSpec, order
from worker.engine.swarm.service_state import Service
from worker.login import EngineLogin

TRIAL_REMOVAL = timedelta(seconds=3)
"""The time for removing a trial, which is killed; a cancel ends within five seconds."""

log = structlog.get_logger()


def is_needed(target: ServiceTarget, spec: ServiceSpec) -> bool:
    """Return whether the Swarm itself would stop the old tasks too early."""
    return order(spec.ports) == STOP_FIRST or not target.is_checked


async def try_out(
    target: ServiceTarget, spec: ServiceSpec, login: EngineLogin | None, current: Service
) -> None:
    """Run one task of the new version until it is healthy, then remove it.

    Another manager of the Swarm may run the same trial; the first one with a result removes it and
    continues.

    Raises:
        EngineError: the task failed. Nothing else was changed.
    """
    target.log.add("running a trial without ports beside the current version")
    alone = replace(target, command=target.command.model_copy(update={"replicas": 1, "ports": ()}))
    try:
        earlier_tasks = await _tasks_so_far(target)
        making = services.create_trial(target.engine, spec, login, current)
        await Convergence(alone, await uninterrupted(making), earlier_tasks).wait()
    except EngineError as error:
        if error.code != FaultCode.SERVICE_MISSING or not await _has_begun(target):
            raise
    finally:
        await uninterrupted(remove_trials(target, only_ours=True))


async def remove_trials(target: ServiceTarget, *, only_ours: bool = False) -> None:
    """Remove the trials of this deployment, or those that other deployments left behind."""
    try:
        async with asyncio.timeout(TRIAL_REMOVAL.total_seconds()):
            for service in await _trials(target, ours=only_ours):
                await _remove(target, service)
    except (EngineError, TimeoutError) as error:
        # The next deployment finds it, and removes it.
        log.warning("trial_not_removed", error=type(error).__name__)


async def _has_begun(target: ServiceTarget) -> bool:
    service = await target.find()
    return service is not None and service.deployment == target.command.deployment_id


async def _tasks_so_far(target: ServiceTarget) -> frozenset[str]:
    """Return the tasks of a trial that an attempt left behind when its Engine died."""
    left = [
        await services.tasks(target.engine, service.service_id)
        for service in await _trials(target, ours=True)
    ]
    return frozenset(task.task_id for tasks in left for task in tasks)


async def _trials(target: ServiceTarget, *, ours: bool) -> list[Service]:
    """Return the application's trials of this deployment, or those of other deployments."""
    found = await services.find(target.engine, TRIAL, target.command.application_id)
    return [one for one in found if (one.deployment == target.command.deployment_id) == ours]


async def _remove(target: ServiceTarget, service: Service) -> None:
    """Stop the tasks, then remove the service: a removed one no longer shows its tasks."""
    try:
        await services.scale_to_zero(target.engine, service)
        while True:
            left = await services.tasks(target.engine, service.service_id)
            if all(task.is_over for task in left):
                return
            await asyncio.sleep(target.readiness.every.total_seconds())
    finally:
        await services.remove(target.engine, service.service_id)
