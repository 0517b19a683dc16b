"""Waiting until a service runs as it was asked for: all of it, only that, and healthy.

A Swarm accepts what it cannot run. So it is looked at again and again: its spec, which it may have
rolled back by itself, and its tasks, which say more of what went wrong than it does.
"""

import asyncio
import time
from dataclasses import dataclass, field
from datetime import timedelta

from shared.errors import EngineError
from shared.faults import FaultCode
from worker.deployments.swarm_targets import SwarmSite
from worker.deployments.task_failures import container_here, explain, unplaced
from worker.engine import images
from worker.engine.swarm import services
from worker.engine.swarm.nodes import nodes
from worker.engine.swarm.service_spec import HEALTHY_MONITOR, parallelism
from worker.engine.swarm.service_state import Service, Task

PULL = timedelta(minutes=10)
"""What nodes have for pulling the image, all at the same time."""

LONGEST = timedelta(minutes=25)
"""An attempt has half an hour, and needs some of it to see what ran before run again."""

ENDING = timedelta(seconds=30)
"""What old tasks have to end; a Swarm gives them ten seconds, and waits for nodes that are away."""


@dataclass(frozen=True)
class Look:
    """A service and its tasks at one moment: of what was asked for last, and all others."""

    service: Service
    ours: tuple[Task, ...]
    others: tuple[Task, ...]

    @property
    def running(self) -> tuple[Task, ...]:
        return tuple(task for task in self.ours if task.is_running)

    @property
    def ending(self) -> tuple[Task, ...]:
        """Others that have to end and did not so far."""
        return tuple(task for task in self.others if not task.is_desired and not task.is_over)

    def gap_seconds(self) -> float:
        """The longest time between the end of a task and the run of the one in its place."""
        gaps = [
            min((new.at - old.at).total_seconds() for old in self.others if _gave_way(old, new))
            for new in self.running
            if any(_gave_way(old, new) for old in self.others)
        ]
        return round(max(gaps, default=0.0), 3)


@dataclass
class _Timer:
    """Since when something has been so."""

    what: object = None
    since: float = 0.0

    def lasts(self, what: object) -> timedelta:
        """For how long it has been just this."""
        now = time.monotonic()
        if what != self.what:
            self.what, self.since = what, now
        return timedelta(seconds=now - self.since)


@dataclass
class Convergence:
    """One wait for one service.

    How tasks end that were there ``before`` says nothing: it may be with their Engine, or another
    attempt's. Others take their place, and end by themselves if it was not. So it is with those
    that are over when a node has joined anew: an Engine that starts again takes its time to answer,
    and is not seen to be away.
    """

    site: SwarmSite
    service_id: str
    before: frozenset[str] = frozenset()
    joined: dict[str, int] = field(default_factory=dict)
    running: _Timer = field(default_factory=_Timer)
    stuck: _Timer = field(default_factory=_Timer)
    ending: _Timer = field(default_factory=_Timer)
    seen: dict[str, Task] = field(default_factory=dict)
    told: str = ""

    async def wait(self) -> Look:
        """Return when it runs as it was asked for.

        Raises:
            EngineError: why it does not; by then the Swarm may be about to roll it back, or not.
        """
        until = time.monotonic() + self._patience().total_seconds()
        await self._has_node_joined()
        while True:
            look = await self._look()
            self._tell(look)
            await self._require_well(look)
            is_ending = await self._is_ending(look)
            self._require_placed(look, is_ending=is_ending)
            if self._is_done(look, is_ending=is_ending) and await self._is_seen_well(look):
                return look
            if time.monotonic() > until:
                raise self._overdue(look)
            await asyncio.sleep(self.site.gate.every.total_seconds())

    async def _look(self) -> Look:
        service = await services.inspect(self.site.engine, self.service_id)
        tasks = await services.tasks(self.site.engine, self.service_id)
        ours, others = list[Task](), list[Task]()
        for task in tasks:
            (ours if self._is_ours(task, service) else others).append(task)
        return Look(service, tuple(ours), tuple(others))

    def _is_ours(self, task: Task, service: Service) -> bool:
        """Of what was asked for, in the turn that the service has of it, if it still has one."""
        deployment = self.site.command.deployment_id
        return task.deployment == deployment and (
            task.force_update == service.force_update or service.deployment != deployment
        )

    def _tell(self, look: Look) -> None:
        count = f"{len(look.running)} of {self.site.command.replicas} run"
        if count != self.told:
            self.told = count
            self.site.log.add(count)

    async def _require_well(self, look: Look) -> None:
        there = {task.task_id for task in (*look.ours, *look.others)}
        # A Swarm may be set up to forget tasks at once.
        gone = [task for key, task in self.seen.items() if key not in there and task.is_desired]
        self.seen = {task.task_id: task for task in look.ours}
        broken = [task for task in look.ours if task.is_broken]
        over = {task.task_id: task for task in (*broken, *gone) if task.task_id not in self.before}
        if over and await self._has_node_joined():
            self.site.log.add("it ended with an Engine that has started again: waiting on")
            self.before |= there | over.keys()
        elif over:
            task = next(iter(over.values()))
            if task.is_broken:
                raise await explain(self.site, task)
            raise self.site.error(
                FaultCode.CONTAINER_EXITED, "it ended, and the Swarm keeps nothing of it"
            )
        self._require_unchanged(look.service)

    async def _has_node_joined(self) -> bool:
        """Whether one has since this was asked last: it has another version then.

        It has when a person changes it, too. Then the next task that ends is believed.
        """
        before = self.joined
        self.joined = {node.node_id: node.version for node in await nodes(self.site.engine)}
        return self.joined != before

    def _require_unchanged(self, service: Service) -> None:
        """By a person, or by the Swarm, which rolls back what it does not find well."""
        asked = self.site.command
        if service.deployment != asked.deployment_id or service.update == "paused":
            says = self.site.shown(service.update_message) or "somebody else changed the service"
            raise self.site.error(FaultCode.SERVICE_CHANGED, says)
        if (service.image, service.replicas) != (self._image, asked.replicas):
            raise self.site.error(
                FaultCode.SERVICE_CHANGED,
                f"somebody else changed it to {service.replicas} of {service.image}",
            )

    async def _is_ending(self, look: Look) -> bool:
        """Whether old tasks end that are waited for; those on nodes that are away not for long."""
        lasted = self.ending.lasts(bool(look.ending))
        if not look.ending or lasted < ENDING:
            return bool(look.ending)
        up = {node.node_id for node in await nodes(self.site.engine) if node.is_up}
        return any(task.node_id in up for task in look.ending)

    def _require_placed(self, look: Look, *, is_ending: bool) -> None:
        """While another task ends, it may be that one's port that is waited for."""
        waiting = [task for task in look.ours if task.is_desired and _is_unplaced(task)]
        is_stuck = bool(waiting) and not is_ending
        if self.stuck.lasts(is_stuck) > self.site.gate.placed and is_stuck:
            raise unplaced(self.site, waiting[0])

    def _is_done(self, look: Look, *, is_ending: bool) -> bool:
        command, running = self.site.command, look.running
        lasted = self.running.lasts(frozenset(task.task_id for task in running))
        if len(running) != command.replicas or look.service.update not in {"", "completed"}:
            return False
        if lasted < (HEALTHY_MONITOR if self.site.is_checked else self.site.gate.steady):
            return False
        if any(task.is_desired for task in look.others):
            return False
        if is_ending:
            return False
        if look.ending:
            self.site.log.add("what ran before has not ended yet; the Swarm sees to it")
        return True

    async def _is_seen_well(self, look: Look) -> bool:
        """By its digest everywhere; where a container can be seen, just that image, and healthy.

        For a moment a task is called running, too, whose health check has its program end well.
        """
        for task in look.running:
            here = await container_here(self.site, task)
            is_it = here is None or here.image_id == await self._image_id()
            if task.image != self._image or not is_it:
                raise self.site.error(
                    FaultCode.DIGEST_MISMATCH, f"another image runs, {task.image}"
                )
            if here is not None and not here.is_healthy:
                return False
        return True

    @property
    def _image(self) -> str:
        return f"{self.site.command.target.name}@{self.site.command.target.digest}"

    async def _image_id(self) -> str:
        return (await images.inspect(self.site.engine, self._image)).image_id

    def _patience(self) -> timedelta:
        command, check = self.site.command, self.site.command.health_check
        each = timedelta(seconds=check.longest_seconds) if check else 2 * self.site.gate.steady
        turns = -(-command.replicas // parallelism(command.replicas))
        return min(PULL + turns * (each + ENDING), LONGEST)

    def _overdue(self, look: Look) -> EngineError:
        late = [task for task in look.ours if task.is_desired and not task.is_running]
        if self.site.is_checked and any(task.state == "starting" for task in late):
            return self.site.error(
                FaultCode.CONTAINER_UNHEALTHY, "its health check has not passed in time"
            )
        states = ", ".join(sorted({task.state for task in late})) or look.service.update
        return self.site.error(
            FaultCode.TRANSFER_TIMEOUT,
            f"{len(look.running)} of {self.site.command.replicas} run in time, others are {states}",
        )


def _is_unplaced(task: Task) -> bool:
    return task.state == "pending" and bool(task.error)


def _gave_way(old: Task, new: Task) -> bool:
    return old.slot == new.slot and old.is_over and old.at <= new.at
