"""Stop, start and reload the Swarm service of an application.

A stopped service has no tasks. A label on it keeps their number, so that a start brings them back.
"""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from shared.errors import EngineError
from shared.faults import FaultCode
from worker.deployments.controlled import Controlled, ControlTarget, find_container
from worker.deployments.convergence import ENDING, PULL, is_unplaced
from worker.deployments.task_failures import explain, unplaced_error
from worker.engine import images
from worker.engine.containers import APPLICATION
from worker.engine.swarm import services
from worker.engine.swarm.nodes import nodes
from worker.engine.swarm.service_spec import unescape_template
from worker.engine.swarm.service_state import Service, Task
from worker.engine.transport.connection import Engine
from worker.engine.transport.text import parse_variables


@dataclass
class ControlledService:
    """The application's service, as it was when the job began."""

    engine: Engine
    service: Service

    @property
    def runtime(self) -> Literal["container", "service"]:
        return "service"

    @property
    def is_stopped(self) -> bool:
        return not self.service.replicas

    @property
    def logs_path(self) -> str:
        return f"services/{self._id}/logs"

    async def find_secrets(self) -> Iterable[str]:
        values = parse_variables(self.service.environment).values()
        return [unescape_template(value) for value in values]

    async def stop(self, target: ControlTarget) -> None:
        await services.stop(self.engine, self._id)
        until = time.monotonic() + (self.service.grace + ENDING).total_seconds()
        while left := await self._left(is_late=time.monotonic() > until):
            if time.monotonic() > until:
                raise target.error(FaultCode.ENGINE_REFUSED, f"{len(left)} of its tasks still run")
            await asyncio.sleep(target.readiness.every.total_seconds())

    async def start(self, target: ControlTarget) -> None:
        earlier = await services.tasks(self.engine, self._id)
        await services.start(self.engine, self._id, target.command.replicas)
        await self._wait_until_running(target, frozenset(task.task_id for task in earlier))

    async def reload(self, target: ControlTarget) -> None:
        earlier = await services.tasks(self.engine, self._id)
        await services.reload(self.engine, self._id)
        await self._wait_until_running(target, frozenset(task.task_id for task in earlier))

    async def require_running(self, target: ControlTarget) -> None:
        earlier = await services.tasks(self.engine, self._id)
        running = [task for task in earlier if task.is_running]
        if len(running) != self.service.replicas:
            ended = frozenset(task.task_id for task in earlier if task.is_over)
            await self._wait_until_running(target, ended)

    async def resume(self, target: ControlTarget) -> None:
        target.log.add("starting it again")
        await services.start(self.engine, self._id, target.command.replicas)

    @property
    def _id(self) -> str:
        return self.service.service_id

    async def _left(self, *, is_late: bool) -> list[Task]:
        """Return the tasks that have not stopped; in the end only those of nodes that answer."""
        found = await services.tasks(self.engine, self._id)
        left = [task for task in found if not task.is_over]
        if not left or not is_late:
            return left
        up = {node.node_id for node in await nodes(self.engine) if node.is_up}
        return [task for task in left if task.node_id in up]

    async def _wait_until_running(self, target: ControlTarget, earlier: frozenset[str]) -> None:
        """Wait until all tasks run for a while; those that are ``earlier`` prove nothing.

        Raises:
            EngineError: a task ended, no node takes it, or the Swarm does not start them in time.
        """
        await self._find_check(target)
        watch = _Watch(target)
        until = time.monotonic() + PULL.total_seconds()
        while True:
            service = await services.inspect(self.engine, self._id)
            found = await services.tasks(self.engine, self._id)
            ours = [task for task in found if task.task_id not in earlier]
            for task in ours:
                if task.is_broken:
                    raise await explain(target, task)
            if service.update in {"paused", "rollback_started", "rollback_completed"}:
                message = target.printable(service.update_message)
                raise target.error(FaultCode.SERVICE_CHANGED, message)
            watch.require_placed(ours)
            running = [task for task in found if task.is_running and service.is_current(task)]
            is_all = len(running) == service.replicas and service.update in {"", "completed"}
            if watch.lasts(running if is_all else []):
                return
            if time.monotonic() > until:
                states = ", ".join(sorted({task.state for task in ours if task.is_desired}))
                raise target.error(
                    FaultCode.TRANSFER_TIMEOUT,
                    f"only {len(running)} of {service.replicas} tasks run in time, the others are "
                    f"{states or 'not there'}",
                )
            await asyncio.sleep(target.readiness.every.total_seconds())

    async def _find_check(self, target: ControlTarget) -> None:
        """Find out whether its tasks have a health check, of their own or of their image."""
        image = await images.find(self.engine, self.service.image)
        of_image = image is not None and image.has_health_check
        target.is_checked = self.service.has_health_check or of_image


@dataclass
class _Watch:
    """The time for which the same tasks run, and for which one has no node."""

    target: ControlTarget
    running: frozenset[str] = frozenset()
    running_since: float = 0.0
    unplaced_since: float | None = field(default=None)

    def lasts(self, running: list[Task]) -> bool:
        """Return whether these tasks, if any, have run for long enough."""
        now, ids = time.monotonic(), frozenset(task.task_id for task in running)
        if ids != self.running:
            self.running, self.running_since = ids, now
        lasted = timedelta(seconds=now - self.running_since)
        return bool(ids) and lasted >= self.target.readiness.steady

    def require_placed(self, ours: list[Task]) -> None:
        """Raise `EngineError` if no node has taken a task for some time."""
        waiting = [task for task in ours if task.is_desired and is_unplaced(task)]
        if not waiting:
            self.unplaced_since = None
            return
        now = time.monotonic()
        self.unplaced_since = now if self.unplaced_since is None else self.unplaced_since
        if now - self.unplaced_since > self.target.readiness.placed.total_seconds():
            raise unplaced_error(self.target, waiting[0])


async def find_service(engine: Engine, application_id: str) -> ControlledService | None:
    """Return the application's service if this Engine manages a Swarm that has one.

    Raises:
        EngineError: ``name_taken``, several services have the application's label.
    """
    if (await engine.info()).swarm != "manager":
        return None
    found = await services.find(engine, APPLICATION, application_id)
    if len(found) > 1:
        names = " and ".join(sorted(service.name for service in found))
        raise EngineError(
            FaultCode.NAME_TAKEN,
            f"several services ({names}) have the label of one application, so nothing was changed",
            remedy="Keep the right one, and remove the others with docker service rm, or remove "
            f"their label {APPLICATION}.",
        )
    return ControlledService(engine, found[0]) if found else None


async def require_controlled(engine: Engine, application_id: str, task: str) -> Controlled:
    """Return what runs of an application here, or did.

    Raises:
        EngineError: ``container_missing``; the message begins with what cannot be done, ``task``.
    """
    for find in (find_container, find_service):
        if (found := await find(engine, application_id)) is not None:
            return found
    raise EngineError(
        FaultCode.CONTAINER_MISSING,
        f"cannot {task}: nothing of it is on this server",
        remedy="Deploy it again: it was removed from this server.",
    )
