"""What deployments have begun on this Engine and nobody has finished: put right once it can be.

A worker may die, or its Engine may be away when what ran before is to be put back. The names of
containers say that by themselves, up to the switch. From there until the old one goes, and of
services from before the first change until all is well or as it was, a note is kept in the worker's
state directory.
"""

import asyncio
import json
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import structlog

from shared.coroutines import end
from shared.errors import EngineError
from shared.faults import FaultCode
from shared.jobs.commands import Replace
from worker.engine import containers, services
from worker.engine.connection import Engine
from worker.engine.containers import APPLICATION
from worker.engine.service_spec import TRIAL
from worker.server.files import write_whole
from worker.server.handlers.sites import NEW, OLD, switch_back, switched, tidy

EVERY = timedelta(seconds=5)

ANOTHER_ATTEMPT = timedelta(seconds=30)
"""What has come so far needs nobody; the next attempt, if there is to be one, only finishes it."""

log = structlog.get_logger()


@dataclass
class Unfinished:
    """``begun`` says by which deployment an application is being changed."""

    engine: Engine
    path: Path
    grace: timedelta = ANOTHER_ATTEMPT
    every: timedelta = EVERY
    begun: dict[str, str] = field(default_factory=dict, init=False)
    _at_work: Counter[str] = field(default_factory=Counter, init=False)
    _turns: defaultdict[str, asyncio.Lock] = field(
        default_factory=lambda: defaultdict(asyncio.Lock), init=False
    )
    _left_at: dict[str, float] = field(default_factory=dict, init=False)
    _has_looked: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        """Read the notes of the worker before; they count as just written."""
        if self.path.exists():
            self.begun = json.loads(self.path.read_text())
        self._left_at = dict.fromkeys(self.begun, time.monotonic())

    @asynccontextmanager
    async def working(self, command: Replace) -> AsyncIterator[None]:
        """An attempt's work at an application: nothing of it is put right meanwhile.

        What another deployment has begun is put right first: else it were what ran before this one.
        """
        application_id = command.application_id
        async with self._turns[application_id]:
            if self.begun.get(application_id) not in {None, command.deployment_id}:
                await self._undo(application_id)
            self._at_work[application_id] += 1
        try:
            yield
        finally:
            self._at_work[application_id] -= 1
            self._left_at[application_id] = time.monotonic()

    def note(self, application_id: str, deployment_id: str) -> None:
        """To be called before a deployment changes what it could not tell from its own work."""
        self._keep({**self.begun, application_id: deployment_id})

    def forget(self, application_id: str) -> None:
        """To be called once all is well, or what ran before is put back."""
        if application_id in self.begun:
            self._keep({key: self.begun[key] for key in self.begun.keys() - {application_id}})

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Put right what can be, now and then, while the block runs."""
        task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            await end(task)

    async def put_right(self) -> None:
        """All that no attempt works at; what the Engine refuses, or is away for, stays."""
        with suppress(EngineError):
            left = await self._left_containers()
            # Later on only what we worked at: another worker may use this Engine, too.
            ours = left & self._left_at.keys() if self._has_looked else left
            self._has_looked = True
            for application_id in ours:
                await self._when_idle(application_id, self._tidy)
        for application_id in list(self.begun):
            await self._when_idle(application_id, self._undo, self.grace)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self.every.total_seconds())
            await self.put_right()

    async def _left_containers(self) -> set[str]:
        """The applications that have some; names say what is left, as `tidy` reads them."""
        found = await containers.find(self.engine, APPLICATION)
        return {one.labels[APPLICATION] for one in found if one.name.endswith((NEW, OLD))}

    async def _when_idle(
        self,
        application_id: str,
        act: Callable[[str], Awaitable[None]],
        grace: timedelta = timedelta(),
    ) -> None:
        async with self._turns[application_id]:
            idle_for = time.monotonic() - self._left_at.get(application_id, 0)
            if self._at_work[application_id] or idle_for < grace.total_seconds():
                return
            try:
                await act(application_id)
            except (EngineError, OSError) as error:
                log.warning("not_put_right", application=application_id, error=str(error))

    async def _tidy(self, application_id: str) -> None:
        begun = self.begun.get(application_id)
        if begun and await switched(self.engine, application_id, begun):
            return
        current = await tidy(self.engine, application_id)
        log.info("tidied", application=application_id, runs=current is not None)

    async def _undo(self, application_id: str) -> None:
        deployment_id = self.begun[application_id]
        if await switch_back(self.engine, application_id, deployment_id):
            await tidy(self.engine, application_id)
        elif (await self.engine.info()).swarm not in {"inactive", "worker"}:
            await self._undo_service(application_id, deployment_id)
        self.forget(application_id)
        log.info("put_right", application=application_id)

    async def _undo_service(self, application_id: str, deployment_id: str) -> None:
        """Have the Swarm go back to what it had; what is no longer of that deployment it has."""
        for trial in await services.find(self.engine, TRIAL, application_id):
            await services.remove(self.engine, trial.service_id)
        for service in await services.find(self.engine, APPLICATION, application_id):
            await self._put_back(service.service_id, deployment_id)

    async def _put_back(self, service_id: str, deployment_id: str) -> None:
        try:
            await services.put_back(self.engine, service_id, deployment_id, None)
        except EngineError as error:
            if error.code != FaultCode.NOT_PUT_BACK:
                raise
            # Somebody changed it since, and knows what it should be.
            log.warning("left_as_it_is", service=service_id)

    def _keep(self, begun: dict[str, str]) -> None:
        write_whole(self.path, json.dumps(begun))
        self.begun = begun
