"""Say that we are here: hello once, then a beat that prolongs leases and brings back wishes.

A beat goes every 3 s, at once on a hint, and after a second where there is progress to tell. A
worker that cannot beat stops its own work before its leases run out. One that drains says so with
its beats, and with the last of them that it leaves.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.metadata import version
from typing import Any, Protocol

import psycopg
import structlog

from shared.coroutines import end, wait_for_event
from shared.database import listening
from shared.errors import SetupError
from shared.jobs.commands import RULES
from shared.jobs.states import BEAT, LEASE
from worker.jobs.attempt import Attempt, Why
from worker.jobs.functions import RENEW_SECONDS, Beat, BeatAnswer, DatabaseAway, Functions
from worker.machine import Clock, Describe
from worker.server.identity import Enrolled

WIRE_VERSION = 1
PROGRESS = timedelta(seconds=1)
SHORTEST = timedelta(milliseconds=200)
"""Between two beats, however many hints there are: anybody with a role can send them."""
FENCE = LEASE - timedelta(seconds=3)
"""So long after the start of the last beat that was answered we stop; it takes a moment to stop."""

DESCRIBE = timedelta(minutes=1)
"""How often the Engine is described again: disks fill, Engines come, go and are updated."""

ASK_AFTER = timedelta(seconds=3)
"""A database that lets nobody in for so long may have shut us out for good: ask the API."""

ASK_EVERY = timedelta(seconds=30)
HELLO_PATIENCE = timedelta(seconds=60)
HELLO_AGAIN_SECONDS = 0.3

JOIN_AGAIN = "To join again, make a token with wharf server add NAME and start with it."

log = structlog.get_logger()


IsRemoved = Callable[[], Awaitable[bool]]
"""Asks the API whether this server was removed."""


class Begun(Protocol):
    """What keeps the jobs that left something here, until it is told that they have ended."""

    def job_ids(self) -> Sequence[str]:
        """Of which it wants to be told."""

    def have_ended(self, job_ids: Collection[str]) -> None:
        """There is no further attempt at these."""


@dataclass
class Outage:
    """Since when the database has let nobody in, in seconds of the loop's clock."""

    began: float | None = None
    asked: float | None = None

    def is_to_be_told(self, now: float) -> bool:
        """Note one more failed call; true for the first one of an outage."""
        is_first = self.began is None
        self.began = now if self.began is None else self.began
        return is_first

    def is_time_to_ask(self, now: float) -> bool:
        """Return whether to ask the API now: after a while, then now and then."""
        if self.began is None or now - self.began < ASK_AFTER.total_seconds():
            return False
        if self.asked is not None and now - self.asked < ASK_EVERY.total_seconds():
            return False
        self.asked = now
        return True

    def end(self) -> None:
        self.began = self.asked = None


@dataclass
class Presence:
    """This worker in the eyes of the control plane."""

    enrolled: Enrolled
    functions: Functions
    attempts: dict[tuple[str, int], Attempt]
    stop_all: Callable[[Why], None]
    on_superseded: Callable[[], None]
    describe: Describe | None = None
    begun: Begun | None = None
    is_removed: IsRemoved | None = None
    on_removed: Callable[[], None] | None = None
    every: timedelta = BEAT
    fence: timedelta = FENCE
    patience: timedelta = HELLO_PATIENCE
    describe_every: timedelta = DESCRIBE
    _draining: bool = False
    _greeted: bool = False
    _hint: asyncio.Event = field(default_factory=asyncio.Event)
    _fencing: asyncio.TimerHandle | None = None
    _engine: dict[str, Any] | None = None
    _clock: Clock = field(default_factory=Clock)
    _outage: Outage = field(default_factory=Outage)

    async def hello(self, predecessor: str | None, engine: dict[str, Any]) -> None:
        """Become the worker that speaks for this server.

        Waits for control to make our database role, and for a predecessor that may be alive.

        Raises:
            SetupError: the database is not reached within ``patience``, or the server was removed.
        """
        document = {
            "predecessor": predecessor,
            "wire_version": WIRE_VERSION,
            "worker_version": version("wharfinger"),
            "kinds": [f"{kind}@{rule.version}" for kind, rule in RULES.items()],
            "engine": engine,
        }
        until = asyncio.get_running_loop().time() + self.patience.total_seconds()
        while True:
            try:
                answer = await self.functions.hello(document)
            except (*DatabaseAway, psycopg.Error) as error:
                if await self._was_removed():
                    raise SetupError("this server was removed", remedy=JOIN_AGAIN) from error
                if asyncio.get_running_loop().time() > until:
                    raise SetupError(
                        f"the database does not let this server in: {type(error).__name__}",
                        remedy="Check that control runs and that this server was not removed.",
                    ) from error
                await asyncio.sleep(HELLO_AGAIN_SECONDS)
                continue
            match answer.status:
                case "current":
                    self._greeted = True
                    return
                case "unknown":
                    raise SetupError("this server was removed", remedy=JOIN_AGAIN)
                case "wait":
                    log.info("waits_for_predecessor", seconds=answer.seconds)
                    await asyncio.sleep(min(answer.seconds, 1))

    def drain(self) -> None:
        """Have nothing new sent from now on."""
        self._draining = True
        self._hint.set()

    async def leave(self) -> None:
        """Say goodbye, so that nobody waits for this worker; without an answer time says it."""
        if self._greeted:
            with contextlib.suppress(*DatabaseAway, psycopg.Error):
                await self.functions.beat([], draining=True, leaving=True)

    @contextlib.asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """Beat while the block runs; hints come as soon as, and as long as, we can listen."""
        steps = (self._beat_on(), self._listen(), self._describe_on())
        tasks = [asyncio.create_task(step) for step in steps]
        try:
            yield
        finally:
            await end(*tasks)
            self._forget_fence()

    async def _describe_on(self) -> None:
        """Have a beat say now and then how the Engine is; sooner, while there is none."""
        if self.describe is None:
            return
        is_there = True
        while True:
            every = self.describe_every if is_there else self.describe_every / 6
            await asyncio.sleep(every.total_seconds())
            engine = await self.describe()
            is_there = bool(engine)
            self._engine = engine

    async def _listen(self) -> None:
        async with listening(
            self.functions.conninfo, ("wharf_beat",), self._hear, renew_seconds=RENEW_SECONDS
        ):
            await asyncio.Event().wait()

    def _hear(self, channel: str, server_id: str) -> None:
        """A hint for us, or word that the listener is connected again; others forge at will."""
        if not channel or server_id == self.enrolled.server_id:
            self._hint.set()

    async def _beat_on(self) -> None:
        loop = asyncio.get_running_loop()
        self._put_off_fence(loop.time())
        while True:
            started = loop.time()
            engine, asked = self._engine, time.time()
            try:
                told = self._claimed()
                jobs = [_beat(attempt) for attempt in told]
                answer = await self.functions.beat(
                    jobs,
                    begun=self.begun.job_ids() if self.begun else (),
                    draining=self._draining,
                    engine=engine,
                    clock_ahead=self._clock.ahead,
                )
            except (*DatabaseAway, psycopg.Error) as error:
                if self._outage.is_to_be_told(loop.time()):
                    log.warning("beat_failed", error=type(error).__name__)
                if await self._was_removed():
                    self._leave_removed()
                    return
                await asyncio.sleep(HELLO_AGAIN_SECONDS)
                continue
            if answer.status == "superseded":
                # Of a removed server nobody is current.
                if self.is_removed is not None and await self.is_removed():
                    self._leave_removed()
                    return
                log.warning("superseded")
                self.stop_all(Why.LEASE_LOST)
                self.on_superseded()
                return
            self._outage.end()
            self._put_off_fence(started)
            self._clock.compare(asked, time.time(), answer.now)
            if self._engine is engine:
                self._engine = None
            _obey(answer, told)
            if self.begun:
                self.begun.have_ended(answer.ended)
            await self._pause()

    def _leave_removed(self) -> None:
        self.stop_all(Why.LEASE_LOST)
        (self.on_removed or self.on_superseded)()

    async def _was_removed(self) -> bool:
        """Ask the API, where it is time to: a role that was dropped looks like a wrong password."""
        now = asyncio.get_running_loop().time()
        self._outage.is_to_be_told(now)
        if self.is_removed is None or not self._outage.is_time_to_ask(now):
            return False
        return await self.is_removed()

    def _put_off_fence(self, renewed: float) -> None:
        """Fence ``fence`` after that moment of the loop's clock, unless it is put off again.

        A timer of its own: a beat may have to wait for other calls, or hang.
        """
        self._forget_fence()
        loop = asyncio.get_running_loop()
        self._fencing = loop.call_at(renewed + self.fence.total_seconds(), self._stop_by_fence)

    def _forget_fence(self) -> None:
        if self._fencing is not None:
            self._fencing.cancel()

    def _stop_by_fence(self) -> None:
        log.warning("fenced", attempts=len(self.attempts))
        self.stop_all(Why.LEASE_LOST)
        # What was claimed since has a lease from then on, and is stopped in its turn.
        self._put_off_fence(asyncio.get_running_loop().time())

    def _claimed(self) -> list[Attempt]:
        return [attempt for attempt in self.attempts.values() if attempt.claimed]

    async def _pause(self) -> None:
        await asyncio.sleep(min(SHORTEST, self.every).total_seconds())
        until = asyncio.get_running_loop().time() + self.every.total_seconds()
        while not self._hint.is_set() and (left := until - asyncio.get_running_loop().time()) > 0:
            await wait_for_event(self._hint, min(left, PROGRESS.total_seconds()))
            if any(attempt.has_news for attempt in self._claimed()):
                break
        self._hint.clear()


def _beat(attempt: Attempt) -> Beat:
    fresh = attempt.progress if attempt.has_news else None
    attempt.told = attempt.progress
    return Beat(job_id=attempt.job_id, attempt=attempt.number, progress=fresh)


def _obey(answer: BeatAnswer, told: list[Attempt]) -> None:
    """Stop what is no longer ours, and what somebody wishes to be cancelled."""
    cancel = {(job.job_id, job.attempt): job.cancel for job in answer.jobs}
    for attempt in told:
        wish = cancel.get((attempt.job_id, attempt.number))
        if wish is None:
            attempt.stop(Why.LEASE_LOST)
        elif wish:
            attempt.stop(Why.CANCELLED)
