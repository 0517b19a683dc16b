"""The worker's only event loop, which owns every connection; Celery's threads wait for it."""

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple, TypeVar

import structlog

from shared.ids import make_id
from shared.vault import KeyRing
from worker.jobs.attempt import Attempt, AttemptResult, StopReason, Work, run_attempt
from worker.jobs.functions import Functions
from worker.machine import Describe
from worker.server.enrolment import is_removed
from worker.server.heartbeat import Certificates, PendingRecoveries, Presence
from worker.server.identity import Enrolment, StateDirectory, make_not_joined_error

Result = TypeVar("Result")

RETURN_SECONDS = 5

log = structlog.get_logger()


class OpenedWork(NamedTuple):
    """The function that does the work, and what heartbeats report of this server."""

    work: Work
    describe: Describe
    recoveries: PendingRecoveries
    certificates: Certificates | None = None


OpenWork = Callable[[contextlib.AsyncExitStack], Coroutine[Any, Any, OpenedWork]]


class LoopThread:
    """An event loop in a separate thread, for callers that are not asynchronous."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="loop", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine on the loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def call(self, function: Callable[[], None]) -> None:
        self.loop.call_soon_threadsafe(function)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@dataclass
class Runtime:
    """The running attempts of one worker process, and their tools."""

    enrolment: Enrolment
    keys: KeyRing
    functions: Functions
    work: Work
    attempts: dict[tuple[str, int], Attempt] = field(default_factory=dict)
    draining: bool = False
    on_progress: Callable[[], None] | None = None
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    async def run(self, job_id: str, number: int) -> AttemptResult | None:
        """Run one attempt; return ``None`` for a repeated message or one that is not ours."""
        key = (job_id, number)
        if key in self.attempts or self.draining:
            return None
        attempt = self.attempts[key] = Attempt(job_id, number, on_progress=self.on_progress)
        task = asyncio.current_task()
        if task is not None:
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        with structlog.contextvars.bound_contextvars(job_id=job_id, attempt=number):
            try:
                return await run_attempt(
                    attempt, self.functions, self.keys, self.enrolment.server_id, self.work
                )
            finally:
                del self.attempts[key]

    def drain(self, deadline: timedelta) -> None:
        """Accept no new attempts; return the running ones at the deadline."""
        self.draining = True
        asyncio.get_running_loop().call_later(
            deadline.total_seconds(), self.stop_all, StopReason.DRAINED
        )

    async def close(self) -> None:
        """Return the running attempts; the leases end those that cannot be reported in time."""
        self.draining = True
        for _ in range(2):
            for task in self.tasks:
                task.cancel()
            if self.tasks:
                await asyncio.wait(self.tasks, timeout=RETURN_SECONDS)

    def stop_all(self, reason: StopReason) -> None:
        for attempt in list(self.attempts.values()):
            attempt.stop(reason)


@dataclass
class Worker:
    """A started worker: its state directory, its loop, its runtime and its presence."""

    state: StateDirectory
    thread: LoopThread
    runtime: Runtime
    presence: Presence
    closing: contextlib.AsyncExitStack

    def run(self, job_id: str, number: int) -> AttemptResult | None:
        """Run an attempt and wait for its end; called in a thread of Celery's pool."""
        try:
            return self.thread.run(self.runtime.run(job_id, number))
        except concurrent.futures.CancelledError:
            return None

    def drain(self, deadline: timedelta) -> None:
        def drain() -> None:
            self.runtime.drain(deadline)
            self.presence.drain()

        self.thread.call(drain)

    def close(self) -> None:
        self.thread.run(self.closing.aclose())
        self.thread.close()
        self.state.close()


class _ExitCallbacks(NamedTuple):
    """The callbacks for a process that is no longer the current worker of its server."""

    on_superseded: Callable[[], None]
    on_removed: Callable[[], None] | None


def start_worker(
    state: StateDirectory,
    open_work: OpenWork,
    on_superseded: Callable[[], None],
    on_removed: Callable[[], None] | None = None,
) -> Worker:
    """Register and start the heartbeats; return once this is the server's current worker.

    ``open_work`` opens the tools of the handlers, and returns the work function.

    Raises:
        SetupError: the server is not enrolled, or unknown to the control plane.
    """
    enrolment = state.enrolment
    if enrolment is None:
        raise make_not_joined_error()
    thread = LoopThread()
    try:
        callbacks = _ExitCallbacks(on_superseded, on_removed)
        return thread.run(_start(state, enrolment, thread, open_work, callbacks))
    except BaseException:
        thread.close()
        raise


async def _start(
    state: StateDirectory,
    enrolment: Enrolment,
    thread: LoopThread,
    open_work: OpenWork,
    callbacks: _ExitCallbacks,
) -> Worker:
    incarnation = make_id()
    role = f"wharf_server_{enrolment.server_id}"
    password = state.database_password().get_secret_value()
    ca_file = state.ca_file
    functions = Functions(
        enrolment.database_url,
        role,
        password,
        incarnation,
        mark=state.database_mark(),
        keep_mark=state.save_database_mark,
        ca_file=ca_file,
    )
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(functions.close)
        opened = await open_work(stack)
        runtime = Runtime(enrolment, state.key_ring(), functions, opened.work)
        presence = Presence(
            enrolment,
            functions,
            runtime.attempts,
            runtime.stop_all,
            callbacks.on_superseded,
            opened.describe,
            opened.recoveries,
            is_removed=partial(asyncio.to_thread, is_removed, enrolment, ca_file),
            on_removed=callbacks.on_removed,
            certificates=opened.certificates,
        )
        runtime.on_progress = presence.report_soon
        stack.push_async_callback(presence.leave)
        # Before the Engine and the database are closed: a thread waits for each attempt.
        stack.push_async_callback(runtime.close)
        predecessor = state.replace_incarnation(incarnation)
        await presence.register(predecessor, await opened.describe())
        await stack.enter_async_context(presence.sending_heartbeats())
        return Worker(state, thread, runtime, presence, stack.pop_all())
