"""The recovery journal: deployments that have begun on this Engine and are not finished.

A worker may die, or its Engine may be unreachable when the previous version has to be restored. So
a deployment writes an entry to the worker's state directory before it changes anything. The entry
is removed when the deployment has succeeded or the previous version is restored. While no attempt
works on an entry, the recovery task handles it:

```text
container, not switched   restored at once: the next attempt starts from the beginning
container, switched       left to the next attempt while it runs and one may follow; then restored
service                   left to the next attempt while one may follow; then restored
done                      leftovers are removed
```

The database knows whether another attempt may follow; the heartbeats ask it. The recovery runs
twice before the entry is removed, because an Engine that hung may still execute earlier requests.
A step that the Engine refuses is repeated.
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
from shared.jobs.commands import ApplicationControl, Replace, ServiceReplace
from worker.deployments.targets import (
    ENGINE_UNREACHABLE_CODES,
    PreviousState,
    switch_back,
    switched,
    tidy,
)
from worker.engine.containers import APPLICATION, Container
from worker.engine.swarm import services
from worker.engine.swarm.service_spec import TRIAL
from worker.engine.transport.connection import Engine
from worker.files import write_atomically

EVERY = timedelta(seconds=5)

log = structlog.get_logger()


class JournalEntry(BaseModel):
    """One deployment that changes an application.

    ``before`` is the previous state of a container. ``is_done`` means that only leftovers remain
    to be removed. ``is_right`` means that the recovery has run once. The field names are keys of
    the file on the server.
    """

    model_config = ConfigDict(frozen=True)

    deployment_id: str
    job_id: str
    runtime: Literal["container", "service"]
    before: PreviousState | None = None
    is_done: bool = False
    is_right: bool = False


_ENTRIES = TypeAdapter(dict[str, JournalEntry])


@dataclass
class RecoveryJournal:
    """The journal file and its ``entries``: one for each application that is being changed.

    Raises:
        SetupError: the file of the previous worker cannot be read.
    """

    engine: Engine
    path: Path
    every: timedelta = EVERY
    entries: dict[str, JournalEntry] = field(default_factory=dict, init=False)
    _ended_jobs: frozenset[str] = field(default=frozenset(), init=False)
    _active: Counter[str] = field(default_factory=Counter, init=False)
    _locks: defaultdict[str, asyncio.Lock] = field(
        default_factory=lambda: defaultdict(asyncio.Lock), init=False
    )

    def __post_init__(self) -> None:
        try:
            if self.path.exists():
                self.entries = _ENTRIES.validate_json(self.path.read_bytes())
        except (OSError, ValidationError) as error:
            raise SetupError(
                f"the file of unfinished deployments, {self.path}, cannot be read: "
                f"{type(error).__name__}",
                remedy="Check with docker ps that each application runs its version, then remove "
                "the file.",
            ) from None

    @asynccontextmanager
    async def holding(self, command: Replace | ApplicationControl) -> AsyncIterator[None]:
        """Hold an application for one attempt; other attempts and the recovery wait meanwhile.

        What another deployment has left unfinished is restored first, as this one would otherwise
        take it for the previous version.
        """
        self._active[command.application_id] += 1
        try:
            async with self._locks[command.application_id]:
                await self._restore_others(command)
                yield
        finally:
            self._active[command.application_id] -= 1

    def find_entry(self, command: Replace) -> JournalEntry | None:
        """Return the entry of this deployment unless it is done."""
        entry = self.entries.get(command.application_id)
        is_it = entry is not None and _belongs_to(entry, command) and not entry.is_done
        return entry if is_it else None

    def ran_before(self, command: Replace) -> bool:
        """Return whether the container was meant to run when the last deployment began."""
        entry = self.entries.get(command.application_id)
        return entry is not None and entry.before is not None and entry.before.ran

    def record(
        self,
        command: Replace,
        job_id: str,
        *,
        before: PreviousState | None = None,
        is_done: bool = False,
    ) -> None:
        """Write an entry; call this before any change that may have to be restored."""
        entry = JournalEntry(
            deployment_id=command.deployment_id,
            job_id=job_id,
            runtime="service" if isinstance(command, ServiceReplace) else "container",
            before=before,
            is_done=is_done,
        )
        if self.entries.get(command.application_id) != entry:
            self._save({**self.entries, command.application_id: entry})

    def remove(self, command: Replace) -> None:
        """Remove the entry once the deployment has succeeded or the old version is restored."""
        entry = self.entries.get(command.application_id)
        if entry is not None and _belongs_to(entry, command):
            self._remove(command.application_id)

    def forget(self, command: ApplicationControl) -> None:
        """Remove what an unfinished deployment left: a later request decides what runs."""
        if command.application_id in self.entries:
            self._remove(command.application_id)

    def job_ids(self) -> Sequence[str]:
        """Return the jobs whose end the recovery has to know about."""
        return [entry.job_id for entry in self.entries.values() if not entry.is_done]

    def mark_ended(self, job_ids: Collection[str]) -> None:
        """Record the jobs that will have no further attempt."""
        self._ended_jobs = frozenset(job_ids)

    @asynccontextmanager
    async def running_recovery(self) -> AsyncIterator[None]:
        """Run the recovery task while the block runs."""
        task = asyncio.create_task(self._run())
        task.add_done_callback(_log_failure)
        try:
            yield
        finally:
            await end(task)

    async def recover(self) -> None:
        """Recover each application that no attempt holds; failed ones keep their entries."""
        for application_id in list(self.entries):
            if not self._active[application_id]:
                async with self._locks[application_id]:
                    await self._recover(application_id)

    async def _run(self) -> None:
        while True:
            await self.recover()
            await asyncio.sleep(self.every.total_seconds())

    async def _recover(self, application_id: str) -> None:
        entry = self.entries.get(application_id)
        try:
            if entry is None or not await self._restore(application_id, entry):
                return
            if entry.is_right:
                self._remove(application_id)
                log.info("recovered", application=application_id)
            else:
                seen = entry.model_copy(update={"is_right": True})
                self._save({**self.entries, application_id: seen})
        except EngineError as error:
            log.warning("recovery_failed", application=application_id, error=error.code)
        except OSError as error:
            log.warning("recovery_failed", application=application_id, error=type(error).__name__)

    async def _restore(self, application_id: str, entry: JournalEntry) -> bool:
        """Return whether the application was restored; it is, unless the next attempt continues."""
        if entry.job_id not in self._ended_jobs and await self._can_continue(application_id, entry):
            return False
        if entry.runtime == "service":
            await self._restore_service(application_id, entry.deployment_id)
            return True
        await self._restore_container(application_id, entry, must_run=True)
        return True

    async def _restore_others(self, command: Replace | ApplicationControl) -> None:
        """Restore what another deployment left unfinished before an attempt begins."""
        application_id = command.application_id
        entry = self.entries.get(application_id)
        if entry is None or (
            _belongs_to(entry, command) and await self._can_continue(application_id, entry)
        ):
            return
        if entry.runtime == "container":
            current = await self._restore_container(application_id, entry, must_run=False)
            if current is None or current.may_run:
                self._remove(application_id)
            return
        try:
            await self._restore_service(application_id, entry.deployment_id)
        except EngineError as error:
            if error.code in ENGINE_UNREACHABLE_CODES or error.code == FaultCode.SERVICE_CHANGED:
                raise
            # The cause may be a port that is taken now; the next version may not need it.
            log.warning("recovery_failed", application=application_id, error=error.code)
        else:
            self._remove(application_id)

    async def _can_continue(self, application_id: str, entry: JournalEntry) -> bool:
        """Return whether another attempt of the same deployment could finish it."""
        if entry.is_done or entry.runtime == "service":
            return not entry.is_done
        switchover = await switched(self.engine, application_id, entry.deployment_id)
        return switchover is not None and switchover.new.may_run

    async def _restore_container(
        self, application_id: str, entry: JournalEntry, *, must_run: bool
    ) -> Container | None:
        """Restore the previous container; if it is gone, keep the new one.

        Return the container that remains.
        """
        switchover = None
        if not entry.is_done:
            switchover = await switched(self.engine, application_id, entry.deployment_id)
        before = entry.before or PreviousState(ran=False)
        if switchover is not None and switchover.can_be_reversed(entry.before):
            await switch_back(self.engine, switchover)
        elif switchover is not None:
            log.warning("restore_skipped", container=switchover.new.name)
            before = PreviousState(ran=False)
        return await tidy(self.engine, application_id, before=before, must_run=must_run)

    async def _restore_service(self, application_id: str, deployment_id: str) -> None:
        """Have the Swarm restore its previous spec where it still has that deployment."""
        if (await self.engine.info()).swarm in {"inactive", "worker"}:
            return
        for trial in await services.find(self.engine, TRIAL, application_id):
            if trial.deployment == deployment_id:
                await services.remove(self.engine, trial.service_id)
        for service in await services.find(self.engine, APPLICATION, application_id):
            await self._restore_spec(service.service_id, deployment_id)

    async def _restore_spec(self, service_id: str, deployment_id: str) -> None:
        try:
            await services.restore(self.engine, service_id, deployment_id, None)
        except EngineError as error:
            if error.code != FaultCode.RESTORE_FAILED:
                raise
            # Somebody has changed the service since: keep that.
            log.warning("restore_skipped", service=service_id)

    def _remove(self, application_id: str) -> None:
        self._save({key: self.entries[key] for key in self.entries.keys() - {application_id}})

    def _save(self, entries: dict[str, JournalEntry]) -> None:
        write_atomically(self.path, _ENTRIES.dump_json(entries).decode())
        self.entries = entries


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("recovery_task_failed", error=type(error).__name__)


def _belongs_to(entry: JournalEntry, command: Replace | ApplicationControl) -> bool:
    return isinstance(command, Replace) and entry.deployment_id == command.deployment_id
