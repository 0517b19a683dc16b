"""What deployments have begun on this Engine and nobody has finished: put right once it can be.

A worker may die, or its Engine may be away when what ran before is to be put back. So before a
deployment changes anything, a note of it is kept in the worker's state directory; it is dropped
when all is well, or as it was. What is left of a note while no attempt works at it:

```text
container, not switched   put right at once: the next attempt begins anew
container, switched       left to the next attempt while it runs and there may be one; then undone
service                   left to the next attempt while there may be one; then undone
done                      what is left behind is removed
```

Whether there may be another attempt, the database says: the beats ask it. It is put right twice
before the note goes: an Engine that hung may yet do what it was asked for before. What the Engine
refuses is tried again.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal

import structlog
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from shared.coroutines import end
from shared.errors import EngineError, SetupError
from shared.faults import FaultCode
from shared.jobs.commands import Replace, ServiceReplace
from worker.deployments.targets import AWAY, Before, switch_back, switched, tidy
from worker.engine.containers import APPLICATION, Container
from worker.engine.swarm import services
from worker.engine.swarm.service_spec import TRIAL
from worker.engine.transport.connection import Engine
from worker.files import write_whole

EVERY = timedelta(seconds=5)

log = structlog.get_logger()


class Note(BaseModel):
    """The deployment that changes an application.

    ``before`` is of a container that was there before it. ``is_done``: only leftovers are to be
    removed. ``is_right``: it was put right once.
    """

    model_config = ConfigDict(frozen=True)

    deployment_id: str
    job_id: str
    runtime: Literal["container", "service"]
    before: Before | None = None
    is_done: bool = False
    is_right: bool = False


_NOTES = TypeAdapter(dict[str, Note])


@dataclass
class Unfinished:
    """``begun`` has a note for each application that is being changed.

    Raises:
        SetupError: the notes of the worker before cannot be read.
    """

    engine: Engine
    path: Path
    every: timedelta = EVERY
    begun: dict[str, Note] = field(default_factory=dict, init=False)
    _ended: frozenset[str] = field(default=frozenset(), init=False)
    _at_work: Counter[str] = field(default_factory=Counter, init=False)
    _turns: defaultdict[str, asyncio.Lock] = field(
        default_factory=lambda: defaultdict(asyncio.Lock), init=False
    )

    def __post_init__(self) -> None:
        try:
            if self.path.exists():
                self.begun = _NOTES.validate_json(self.path.read_bytes())
        except (OSError, ValidationError) as error:
            raise SetupError(
                f"{self.path} cannot be read: {type(error).__name__}",
                remedy="Look at what this server's applications run, then remove the file.",
            ) from None

    @asynccontextmanager
    async def working(self, command: Replace) -> AsyncIterator[None]:
        """An attempt's work at an application: one at a time, and nothing is put right meanwhile.

        What another deployment has begun is put right first: else it were what ran before this one.
        """
        self._at_work[command.application_id] += 1
        try:
            async with self._turns[command.application_id]:
                await self._make_way(command)
                yield
        finally:
            self._at_work[command.application_id] -= 1

    def noted(self, command: Replace) -> Note | None:
        """What this deployment has begun, unless it is done: it can be undone."""
        note = self.begun.get(command.application_id)
        is_it = note is not None and _is_of(note, command) and not note.is_done
        return note if is_it else None

    def ran_before(self, command: Replace) -> bool:
        """Whether something was to run, or to be started again, when the last deployment began."""
        note = self.begun.get(command.application_id)
        return note is not None and note.before is not None and note.before.ran

    def note(
        self,
        command: Replace,
        job_id: str,
        *,
        before: Before | None = None,
        is_done: bool = False,
    ) -> None:
        """To be called before anything is changed that another attempt might have to undo."""
        note = Note(
            deployment_id=command.deployment_id,
            job_id=job_id,
            runtime="service" if isinstance(command, ServiceReplace) else "container",
            before=before,
            is_done=is_done,
        )
        if self.begun.get(command.application_id) != note:
            self._keep({**self.begun, command.application_id: note})

    def forget(self, command: Replace) -> None:
        """To be called once all is well, or what ran before is put back."""
        note = self.begun.get(command.application_id)
        if note is not None and _is_of(note, command):
            self._drop(command.application_id)

    def job_ids(self) -> Sequence[str]:
        """The jobs of which it matters whether they have ended."""
        return [note.job_id for note in self.begun.values() if not note.is_done]

    def have_ended(self, job_ids: Collection[str]) -> None:
        """There will be no further attempt at these."""
        self._ended = frozenset(job_ids)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Put right what can be, now and then, while the block runs."""
        task = asyncio.create_task(self._watch())
        task.add_done_callback(_tell_end)
        try:
            yield
        finally:
            await end(task)

    async def put_right(self) -> None:
        """All that no attempt works at; what the Engine refuses, or is away for, stays noted."""
        for application_id in list(self.begun):
            if not self._at_work[application_id]:
                async with self._turns[application_id]:
                    await self._put_right(application_id)

    async def _watch(self) -> None:
        while True:
            await self.put_right()
            await asyncio.sleep(self.every.total_seconds())

    async def _put_right(self, application_id: str) -> None:
        note = self.begun.get(application_id)
        try:
            if note is None or not await self._is_right(application_id, note):
                return
            if note.is_right:
                self._drop(application_id)
                log.info("put_right", application=application_id)
            else:
                seen = note.model_copy(update={"is_right": True})
                self._keep({**self.begun, application_id: seen})
        except EngineError as error:
            log.warning("not_put_right", application=application_id, error=error.code)
        except OSError as error:
            log.warning("not_put_right", application=application_id, error=type(error).__name__)

    async def _is_right(self, application_id: str, note: Note) -> bool:
        """Put it right, unless that is left to the next attempt."""
        if note.job_id not in self._ended and await self._may_go_on(application_id, note):
            return False
        if note.runtime == "service":
            await self._undo_service(application_id, note.deployment_id)
            return True
        await self._undo_container(application_id, note, must_run=True)
        return True

    async def _make_way(self, command: Replace) -> None:
        """For an attempt that is about to begin."""
        application_id = command.application_id
        note = self.begun.get(application_id)
        if note is None or (_is_of(note, command) and await self._may_go_on(application_id, note)):
            return
        if note.runtime == "container":
            current = await self._undo_container(application_id, note, must_run=False)
            if current is None or current.may_run:
                self._drop(application_id)
            return
        try:
            await self._undo_service(application_id, note.deployment_id)
        except EngineError as error:
            if error.code in AWAY or error.code == FaultCode.SERVICE_CHANGED:
                raise
            # A port that somebody took since, perhaps: what comes now may do without it.
            log.warning("not_put_right", application=application_id, error=error.code)
        else:
            self._drop(application_id)

    async def _may_go_on(self, application_id: str, note: Note) -> bool:
        """Whether another attempt of the same deployment could finish it."""
        if note.is_done or note.runtime == "service":
            return not note.is_done
        left = await switched(self.engine, application_id, note.deployment_id)
        return left is not None and left.new.may_run

    async def _undo_container(
        self, application_id: str, note: Note, *, must_run: bool
    ) -> Container | None:
        """What runs then; where nothing is left of what ran before, what took its place."""
        left = None
        if not note.is_done:
            left = await switched(self.engine, application_id, note.deployment_id)
        before = note.before or Before(ran=False)
        if left is not None and left.can_be_undone(note.before):
            await switch_back(self.engine, left)
        elif left is not None:
            log.warning("left_as_it_is", container=left.new.name)
            before = Before(ran=False)
        return await tidy(self.engine, application_id, before=before, must_run=must_run)

    async def _undo_service(self, application_id: str, deployment_id: str) -> None:
        """Have the Swarm go back to what it had; what is no longer of that deployment it has."""
        if (await self.engine.info()).swarm in {"inactive", "worker"}:
            return
        for trial in await services.find(self.engine, TRIAL, application_id):
            if trial.deployment == deployment_id:
                await services.remove(self.engine, trial.service_id)
        for service in await services.find(self.engine, APPLICATION, application_id):
            await self._put_back(service.service_id, deployment_id)

    async def _put_back(self, service_id: str, deployment_id: str) -> None:
        try:
            await services.restore(self.engine, service_id, deployment_id, None)
        except EngineError as error:
            if error.code != FaultCode.NOT_PUT_BACK:
                raise
            # Somebody changed it since, and knows what it should be.
            log.warning("left_as_it_is", service=service_id)

    def _drop(self, application_id: str) -> None:
        self._keep({key: self.begun[key] for key in self.begun.keys() - {application_id}})

    def _keep(self, begun: dict[str, Note]) -> None:
        write_whole(self.path, _NOTES.dump_json(begun).decode())
        self.begun = begun


def _tell_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("keeper_broken", error=type(error).__name__)


def _is_of(note: Note, command: Replace) -> bool:
    return note.deployment_id == command.deployment_id
