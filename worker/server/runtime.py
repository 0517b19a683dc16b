"""The worker's one event loop: it owns every connection, Celery's threads only wait for it."""

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

from shared.errors import SetupError
from shared.ids import make_id
from shared.vault import KeyRing
from worker.jobs.attempt import Attempt, End, Why, Work, run_attempt
from worker.jobs.functions import Functions
from worker.machine import Describe
from worker.server.enrolment import is_removed
from worker.server.heartbeat import Begun, Presence
from worker.server.identity import Enrolled, StateDirectory

Result = TypeVar("Result")

HAND_BACK_SECONDS = 5

log = structlog.get_logger()


class Opened(NamedTuple):
    """What does the work, what describes its Engine, and what it has begun there."""

    work: Work
    describe: Describe
    begun: Begun


OpenWork = Callable[[contextlib.AsyncExitStack], Coroutine[Any, Any, Opened]]


class LoopThread:
    """An event loop in a thread of its own, for callers that are not asynchronous."""

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
    """What one worker process is running, and what it needs for it."""

    enrolled: Enrolled
    keys: KeyRing
    functions: Functions
    work: Work
    attempts: dict[tuple[str, int], Attempt] = field(default_factory=dict)
    draining: bool = False
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    async def run(self, job_id: str, number: int) -> End | None:
        """Do one attempt; ``None`` for a doubled message or one that is not ours."""
        key = (job_id, number)
        if key in self.attempts or self.draining:
            return None
        attempt = self.attempts[key] = Attempt(job_id, number)
        task = asyncio.current_task()
        if task is not None:
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        with structlog.contextvars.bound_contextvars(job_id=job_id, attempt=number):
            try:
                return await run_attempt(
                    attempt, self.functions, self.keys, self.enrolled.server_id, self.work
                )
            finally:
                del self.attempts[key]

    def drain(self, deadline: timedelta) -> None:
        """Take nothing new; hand back at the deadline what is still running."""
        self.draining = True
        asyncio.get_running_loop().call_later(deadline.total_seconds(), self.stop_all, Why.DRAINED)

    async def close(self) -> None:
        """Hand back what still runs; what cannot be told in time is left to its lease."""
        self.draining = True
        for _ in range(2):
            for task in self.tasks:
                task.cancel()
            if self.tasks:
                await asyncio.wait(self.tasks, timeout=HAND_BACK_SECONDS)

    def stop_all(self, why: Why) -> None:
        for attempt in list(self.attempts.values()):
            attempt.stop(why)


@dataclass
class Worker:
    """A started worker: its state directory, its loop, its runtime and its presence."""

    state: StateDirectory
    thread: LoopThread
    runtime: Runtime
    presence: Presence
    closing: contextlib.AsyncExitStack

    def run(self, job_id: str, number: int) -> End | None:
        """Called in a thread of Celery's pool; returns when the attempt has ended."""
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


class _Ends(NamedTuple):
    """What this process does when it no longer speaks for its server."""

    on_superseded: Callable[[], None]
    on_removed: Callable[[], None] | None


def start_worker(
    state: StateDirectory,
    open_work: OpenWork,
    on_superseded: Callable[[], None],
    on_removed: Callable[[], None] | None = None,
) -> Worker:
    """Say hello and begin to beat; returns once this process speaks for its server.

    ``open_work`` opens what the handlers need, and gives them.

    Raises:
        SetupError: not enrolled, or unknown to the control plane.
    """
    enrolled = state.enrolled
    if enrolled is None:
        raise SetupError("this server is not enrolled", remedy="Set WHARF_JOIN_TOKEN.")
    thread = LoopThread()
    try:
        ends = _Ends(on_superseded, on_removed)
        return thread.run(_start(state, enrolled, thread, open_work, ends))
    except BaseException:
        thread.close()
        raise


async def _start(
    state: StateDirectory,
    enrolled: Enrolled,
    thread: LoopThread,
    open_work: OpenWork,
    ends: _Ends,
) -> Worker:
    incarnation = make_id()
    role = f"wharf_server_{enrolled.server_id}"
    password = state.database_password().get_secret_value()
    functions = Functions(
        enrolled.database_url,
        role,
        password,
        incarnation,
        mark=state.database_mark(),
        keep_mark=state.keep_database_mark,
    )
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(functions.close)
        opened = await open_work(stack)
        runtime = Runtime(enrolled, state.key_ring(), functions, opened.work)
        presence = Presence(
            enrolled,
            functions,
            runtime.attempts,
            runtime.stop_all,
            ends.on_superseded,
            opened.describe,
            opened.begun,
            is_removed=partial(asyncio.to_thread, is_removed, enrolled),
            on_removed=ends.on_removed,
        )
        stack.push_async_callback(presence.leave)
        # Before the Engine and the database go: somebody waits in a thread for each attempt.
        stack.push_async_callback(runtime.close)
        predecessor = state.take_turn(incarnation)
        await presence.hello(predecessor, await opened.describe())
        await stack.enter_async_context(presence.beating())
        return Worker(state, thread, runtime, presence, stack.pop_all())
