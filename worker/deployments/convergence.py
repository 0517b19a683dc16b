"""Wait until a service runs as requested: all tasks, no others, and healthy.

A Swarm accepts specs that it cannot run. So the service is observed again and again: its spec,
which the Swarm may have rolled back, and its tasks, which tell more about a failure.
"""

import asyncio
import time
from dataclasses import dataclass, field
from datetime import timedelta

from shared.errors import EngineError
from shared.faults import FaultCode
from worker.deployments.swarm_targets import ServiceTarget
from worker.deployments.task_failures import container_here, explain, unplaced_error
from worker.engine import images
from worker.engine.containers import STOP_TIMEOUT
from worker.engine.swarm import services
from worker.engine.swarm.nodes import nodes
from worker.engine.swarm.service_spec import HEALTHY_MONITOR, parallelism
from worker.engine.swarm.service_state import Service, Task

PULL = timedelta(minutes=10)
"""The time for pulling the image on all nodes at the same time."""

LONGEST = timedelta(minutes=25)
"""The limit of the wait, without the time that old tasks may need to stop.

An attempt has an hour more than this, and needs some of it to see the previous version run again.
"""

ENDING = timedelta(seconds=30)
"""The time for old tasks to stop; a Swarm gives ten seconds and waits for unreachable nodes."""


@dataclass(frozen=True)
class Observation:
    """A service at one moment, with its tasks of the last request and all other tasks."""

    service: Service
    ours: tuple[Task, ...]
    others: tuple[Task, ...]

    @property
    def running(self) -> tuple[Task, ...]:
        return tuple(task for task in self.ours if task.is_running)

    @property
    def ending(self) -> tuple[Task, ...]:
        """Other tasks that have to stop and have not stopped yet."""
        return tuple(task for task in self.others if not task.is_desired and not task.is_over)

    def gap_seconds(self) -> float:
        """Return the longest time from the end of a task to the start of its replacement."""
        gaps = [
            min((new.at - old.at).total_seconds() for old in self.others if _replaced(old, new))
            for new in self.running
            if any(_replaced(old, new) for old in self.others)
        ]
        return round(max(gaps, default=0.0), 3)


@dataclass
class _Timer:
    """The time since which a value has been the same."""

    value: object = None
    since: float = 0.0

    def lasts(self, value: object) -> timedelta:
        """Return for how long the value has been the same."""
        now = time.monotonic()
        if value != self.value:
            self.value, self.since = value, now
        return timedelta(seconds=now - self.since)


@dataclass
class Convergence:
    """The wait for one service.

    The end of one of the ``earlier_tasks`` proves nothing: it may have ended with its Engine, or
    another attempt may have stopped it. New tasks replace it, and end too if the version is broken.
    The same holds for tasks that are over when a node has joined again: an Engine that restarts
    answers late and is not seen as unreachable.

    ``grace`` is the time for an old task to stop by itself.
    """

    target: ServiceTarget
    service_id: str
    earlier_tasks: frozenset[str] = frozenset()
    grace: timedelta = STOP_TIMEOUT
    joined: dict[str, int] = field(default_factory=dict)
    running: _Timer = field(default_factory=_Timer)
    stuck: _Timer = field(default_factory=_Timer)
    ending: _Timer = field(default_factory=_Timer)
    seen: dict[str, Task] = field(default_factory=dict)
    reported: str = ""

    async def wait(self) -> Observation:
        """Return when the service runs as requested.

        Raises:
            EngineError: it does not; the Swarm may be rolling it back at that time.
        """
        until = time.monotonic() + self._patience().total_seconds()
        await self._has_node_joined()
        while True:
            observation = await self._observe()
            self._report(observation)
            await self._require_no_failure(observation)
            is_ending = await self._is_ending(observation)
            self._require_placed(observation, is_ending=is_ending)
            if self._is_done(observation, is_ending=is_ending) and await self._is_verified(
                observation
            ):
                return observation
            if time.monotonic() > until:
                raise self._timeout_error(observation)
            await asyncio.sleep(self.target.readiness.every.total_seconds())

    async def _observe(self) -> Observation:
        service = await services.inspect(self.target.engine, self.service_id)
        tasks = await services.tasks(self.target.engine, self.service_id)
        ours, others = list[Task](), list[Task]()
        for task in tasks:
            (ours if self._is_ours(task, service) else others).append(task)
        return Observation(service, tuple(ours), tuple(others))

    def _is_ours(self, task: Task, service: Service) -> bool:
        """Return whether the task is of this deployment and of the service's current update."""
        deployment = self.target.command.deployment_id
        return task.deployment == deployment and (
            task.force_update == service.force_update or service.deployment != deployment
        )

    def _report(self, observation: Observation) -> None:
        count = f"{len(observation.running)} of {self.target.command.replicas} tasks run"
        if count != self.reported:
            self.reported = count
            self.target.log.add(count)

    async def _require_no_failure(self, observation: Observation) -> None:
        there = {task.task_id for task in (*observation.ours, *observation.others)}
        # A Swarm may be configured to keep no ended tasks.
        gone = [task for key, task in self.seen.items() if key not in there and task.is_desired]
        self.seen = {task.task_id: task for task in observation.ours}
        broken = [task for task in observation.ours if task.is_broken]
        over = {
            task.task_id: task
            for task in (*broken, *gone)
            if task.task_id not in self.earlier_tasks
        }
        if over and await self._has_node_joined():
            self.target.log.add(
                "a task ended with an Engine that has restarted: waiting for the next one"
            )
            self.earlier_tasks |= there | over.keys()
        elif over:
            task = next(iter(over.values()))
            if task.is_broken:
                raise await explain(self.target, task)
            raise self.target.error(
                FaultCode.CONTAINER_EXITED, "its task ended, and the Swarm keeps nothing of it"
            )
        self._require_unchanged(observation.service)

    async def _has_node_joined(self) -> bool:
        """Return whether a node has joined since the last call: its version has changed then.

        A person's change of a node has the same effect; the next ended task counts then.
        """
        known = self.joined
        self.joined = {node.node_id: node.version for node in await nodes(self.target.engine)}
        return self.joined != known

    def _require_unchanged(self, service: Service) -> None:
        """Raise `EngineError` if a person changed the service or the Swarm rolled it back."""
        requested = self.target.command
        if service.deployment != requested.deployment_id or service.update == "paused":
            message = (
                self.target.printable(service.update_message)
                or "the service was changed from outside"
            )
            raise self.target.error(FaultCode.SERVICE_CHANGED, message)
        if (service.image, service.replicas) != (self._image, requested.replicas):
            raise self.target.error(
                FaultCode.SERVICE_CHANGED,
                f"it was changed from outside to {service.replicas} replicas of {service.image}",
            )

    async def _is_ending(self, observation: Observation) -> bool:
        """Return whether old tasks are stopping; those of unreachable nodes count for a while."""
        lasted = self.ending.lasts(bool(observation.ending))
        if not observation.ending or lasted < ENDING:
            return bool(observation.ending)
        up = {node.node_id for node in await nodes(self.target.engine) if node.is_up}
        return any(task.node_id in up for task in observation.ending)

    def _require_placed(self, observation: Observation, *, is_ending: bool) -> None:
        """Raise `EngineError` if no node takes a task; a stopping task may still hold its port."""
        waiting = [task for task in observation.ours if task.is_desired and is_unplaced(task)]
        is_stuck = bool(waiting) and not is_ending
        if self.stuck.lasts(is_stuck) > self.target.readiness.placed and is_stuck:
            raise unplaced_error(self.target, waiting[0])

    def _is_done(self, observation: Observation, *, is_ending: bool) -> bool:
        command, running = self.target.command, observation.running
        lasted = self.running.lasts(frozenset(task.task_id for task in running))
        if len(running) != command.replicas or observation.service.update not in {"", "completed"}:
            return False
        if lasted < (HEALTHY_MONITOR if self.target.is_checked else self.target.readiness.steady):
            return False
        if any(task.is_desired for task in observation.others):
            return False
        if is_ending:
            return False
        if observation.ending:
            self.target.log.add("the previous version has not stopped yet; the Swarm will stop it")
        return True

    async def _is_verified(self, observation: Observation) -> bool:
        """Verify each task by its digest, and by its image and health if its container is here.

        A task whose failed health check makes its program exit with 0 is briefly reported as
        running.
        """
        for task in observation.running:
            here = await container_here(self.target, task)
            is_it = here is None or here.image_id == await self._image_id()
            if task.image != self._image or not is_it:
                raise self.target.error(
                    FaultCode.DIGEST_MISMATCH, f"its task runs another image, {task.image}"
                )
            if here is not None and not here.is_healthy:
                return False
        return True

    @property
    def _image(self) -> str:
        return f"{self.target.command.target.name}@{self.target.command.target.digest}"

    async def _image_id(self) -> str:
        return (await images.inspect(self.target.engine, self._image)).image_id

    def _patience(self) -> timedelta:
        command, check = self.target.command, self.target.command.health_check
        each = (
            timedelta(seconds=check.longest_seconds) if check else 2 * self.target.readiness.steady
        )
        turns = -(-command.replicas // parallelism(command.replicas))
        slow = max(self.grace - STOP_TIMEOUT, timedelta())
        return min(PULL + turns * (each + ENDING + slow), LONGEST + slow)

    def _timeout_error(self, observation: Observation) -> EngineError:
        late = [task for task in observation.ours if task.is_desired and not task.is_running]
        if self.target.is_checked and any(task.state == "starting" for task in late):
            return self.target.error(
                FaultCode.CONTAINER_UNHEALTHY, "its health check did not pass in time"
            )
        states = ", ".join(sorted({task.state for task in late})) or observation.service.update
        return self.target.error(
            FaultCode.TRANSFER_TIMEOUT,
            f"only {len(observation.running)} of {self.target.command.replicas} tasks run in time, "
            f"the others are {states}",
        )


def is_unplaced(task: Task) -> bool:
    """Return whether no node has taken the task."""
    return task.state == "pending" and bool(task.error)


def _replaced(old: Task, new: Task) -> bool:
    return old.slot == new.slot and old.is_over and old.at <= new.at
