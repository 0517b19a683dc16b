"""Register this worker, then send heartbeats that prolong leases and receive cancel requests.

A heartbeat is sent every 3 s, at once after a notification, and after a second if there is new
progress. A worker whose heartbeats fail stops its own work before its leases run out. The
heartbeats of a draining worker say so, and its last one says that it leaves.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.metadata import version
from typing import Any, Protocol

import psycopg
import structlog

from shared.coroutines import end, wait_for_event
from shared.database import listening
from shared.errors import SetupError
from shared.jobs.commands import SUPPORTED
from shared.jobs.states import HEARTBEAT_INTERVAL, LEASE
from worker.jobs.attempt import Attempt, StopReason
from worker.jobs.clean_ups import CleanUps
from worker.jobs.engine_certificates import StoredCertificate
from worker.jobs.functions import (
    RENEW_SECONDS,
    AttemptHeartbeat,
    DatabaseAway,
    Functions,
    HeartbeatAnswer,
)
from worker.machine import Clock, Describe
from worker.server.identity import Enrolment

WIRE_VERSION = 1
PROGRESS = timedelta(seconds=1)
SOON = timedelta(milliseconds=300)
"""The time in which progress is collected that is reported before the next heartbeat is due."""

MIN_INTERVAL = timedelta(milliseconds=200)
"""The minimum between two heartbeats: every database role can send notifications."""
FENCE = LEASE - timedelta(seconds=3)
"""The time from the start of the last answered heartbeat until all work is stopped."""

DESCRIBE = timedelta(minutes=1)
"""The interval at which the Engine is described again, as its disk and version change."""

API_CHECK_AFTER = timedelta(seconds=3)
"""After an outage of this length the API is asked whether this server was removed."""

API_CHECK_EVERY = timedelta(seconds=30)
REGISTER_PATIENCE = timedelta(seconds=60)
REGISTER_RETRY_SECONDS = 0.3

JOIN_AGAIN_REMEDY = "To join again, create a token with wharf server create NAME and start with it."

log = structlog.get_logger()


IsRemoved = Callable[[], Awaitable[bool]]
"""Ask the API whether this server was removed."""


class PendingRecoveries(Protocol):
    """The jobs with unfinished work on this server; their recovery waits for their end."""

    def job_ids(self) -> Sequence[str]:
        """Return the jobs whose end is of interest."""

    def mark_ended(self, job_ids: Collection[str]) -> None:
        """Record the jobs that will have no further attempt."""


class Certificates(Protocol):
    """The certificates of registries that this worker has stored for its Engine."""

    async def find(self) -> Sequence[StoredCertificate]:
        """Return the files."""

    async def remove(self, unwanted: Iterable[StoredCertificate]) -> None:
        """Remove files that no registry needs any more."""


@dataclass
class Outage:
    """The start of a database outage, in seconds of the loop's clock."""

    began: float | None = None
    asked_at: float | None = None

    def record_failure(self, now: float) -> bool:
        """Record a failed call; return true for the first one of an outage."""
        is_first = self.began is None
        self.began = now if self.began is None else self.began
        return is_first

    def should_ask(self, now: float) -> bool:
        """Return whether to ask the API now: some time after the start, then at intervals."""
        if self.began is None or now - self.began < API_CHECK_AFTER.total_seconds():
            return False
        if self.asked_at is not None and now - self.asked_at < API_CHECK_EVERY.total_seconds():
            return False
        self.asked_at = now
        return True

    def end(self) -> None:
        self.began = self.asked_at = None


@dataclass
class Presence:
    """The registration and the heartbeats of this worker at the control plane."""

    enrolment: Enrolment
    functions: Functions
    attempts: dict[tuple[str, int], Attempt]
    stop_all: Callable[[StopReason], None]
    on_superseded: Callable[[], None]
    describe: Describe | None = None
    recoveries: PendingRecoveries | None = None
    is_removed: IsRemoved | None = None
    on_removed: Callable[[], None] | None = None
    certificates: Certificates | None = None
    every: timedelta = HEARTBEAT_INTERVAL
    fence: timedelta = FENCE
    patience: timedelta = REGISTER_PATIENCE
    describe_every: timedelta = DESCRIBE
    _draining: bool = False
    _registered: bool = False
    _notified: asyncio.Event = field(default_factory=asyncio.Event)
    _fencing: asyncio.TimerHandle | None = None
    _soon: asyncio.TimerHandle | None = None
    _engine: dict[str, Any] | None = None
    _stored: Sequence[StoredCertificate] = ()
    _removals: CleanUps = field(default_factory=CleanUps)
    _clock: Clock = field(default_factory=Clock)
    _outage: Outage = field(default_factory=Outage)

    async def register(self, predecessor: str | None, engine: dict[str, Any]) -> None:
        """Register as the current worker of this server.

        Waits for control to create the database role, and for a predecessor that may be alive.

        Raises:
            SetupError: the database does not answer within ``patience``, or the server was removed.
        """
        document = {
            "predecessor": predecessor,
            "wire_version": WIRE_VERSION,
            "worker_version": version("wharfinger"),
            "kinds": list(SUPPORTED),
            "engine": engine,
        }
        until = asyncio.get_running_loop().time() + self.patience.total_seconds()
        while True:
            try:
                answer = await self.functions.register(document)
            except (*DatabaseAway, psycopg.Error) as error:
                if await self._was_removed():
                    raise SetupError("this server was removed", remedy=JOIN_AGAIN_REMEDY) from error
                if asyncio.get_running_loop().time() > until:
                    raise SetupError(
                        f"PostgreSQL refuses the login of this server: {type(error).__name__}",
                        remedy="Check that wharf control runs, and that the server is not removed.",
                    ) from error
                await asyncio.sleep(REGISTER_RETRY_SECONDS)
                continue
            match answer.status:
                case "current":
                    self._registered = True
                    return
                case "unknown":
                    raise SetupError("this server was removed", remedy=JOIN_AGAIN_REMEDY)
                case "wait":
                    log.info("waits_for_predecessor", seconds=answer.seconds)
                    await asyncio.sleep(min(answer.seconds, 1))

    def drain(self) -> None:
        """Ask control to send no new jobs from now on."""
        self._draining = True
        self._notified.set()

    def report_soon(self) -> None:
        """Send the next heartbeat within `SOON`: the progress of an attempt is of interest now."""
        if self._soon is None:
            loop = asyncio.get_running_loop()
            self._soon = loop.call_later(SOON.total_seconds(), self._report)

    def _report(self) -> None:
        self._soon = None
        self._notified.set()

    async def leave(self) -> None:
        """Report that this worker leaves, so that a successor need not wait for its lease."""
        if self._registered:
            with contextlib.suppress(*DatabaseAway, psycopg.Error):
                await self.functions.heartbeat([], draining=True, leaving=True)

    @contextlib.asynccontextmanager
    async def sending_heartbeats(self) -> AsyncIterator[None]:
        """Send heartbeats and listen for notifications while the block runs."""
        steps = (
            self._send_heartbeats(),
            self._listen_for_notifications(),
            self._refresh_description(),
            self._find_certificates(),
        )
        tasks = [asyncio.create_task(step) for step in steps]
        try:
            yield
        finally:
            await end(*tasks)
            self._cancel_fence()
            if self._soon is not None:
                self._soon.cancel()
            await self._removals.finish()

    async def _refresh_description(self) -> None:
        """Describe the Engine at intervals for the next heartbeat; more often while it is away."""
        if self.describe is None:
            return
        is_there = True
        while True:
            every = self.describe_every if is_there else self.describe_every / 6
            await asyncio.sleep(every.total_seconds())
            engine = await self.describe()
            is_there = bool(engine)
            self._engine = engine

    async def _find_certificates(self) -> None:
        """Find the stored certificates for the next heartbeat, at the start and at intervals."""
        while self.certificates is not None:
            self._stored = await self.certificates.find()
            await asyncio.sleep(self.describe_every.total_seconds())

    async def _listen_for_notifications(self) -> None:
        async with listening(
            self.functions.conninfo,
            ("wharf_heartbeat",),
            self._on_notification,
            renew_seconds=RENEW_SECONDS,
        ):
            await asyncio.Event().wait()

    def _on_notification(self, channel: str, server_id: str) -> None:
        """Accept a notification for this server, or the listener's reconnect; it may be forged."""
        if not channel or server_id == self.enrolment.server_id:
            self._notified.set()

    async def _send_heartbeats(self) -> None:
        loop = asyncio.get_running_loop()
        self._restart_fence(loop.time())
        while True:
            started = loop.time()
            engine, stored, asked_at = self._engine, self._stored, time.time()
            try:
                reported = self._claimed()
                jobs = [_make_heartbeat(attempt) for attempt in reported]
                answer = await self.functions.heartbeat(
                    jobs,
                    pending=self.recoveries.job_ids() if self.recoveries else (),
                    draining=self._draining,
                    engine=engine,
                    clock_ahead=self._clock.ahead,
                    certificates=stored,
                )
            except (*DatabaseAway, psycopg.Error) as error:
                if self._outage.record_failure(loop.time()):
                    log.warning("heartbeat_failed", error=type(error).__name__)
                if await self._was_removed():
                    self._leave_removed()
                    return
                await asyncio.sleep(REGISTER_RETRY_SECONDS)
                continue
            if answer.status == "superseded":
                # A removed server has no current worker.
                if self.is_removed is not None and await self.is_removed():
                    self._leave_removed()
                    return
                log.warning("superseded")
                self.stop_all(StopReason.LEASE_LOST)
                self.on_superseded()
                return
            self._outage.end()
            self._restart_fence(started)
            self._clock.compare(asked_at, time.time(), answer.now)
            if self._engine is engine:
                self._engine = None
            if self._stored is stored:
                self._stored = ()
            _apply_answer(answer, reported)
            self._clean_up(answer)
            await self._pause()

    def _clean_up(self, answer: HeartbeatAnswer) -> None:
        if self.recoveries:
            self.recoveries.mark_ended(answer.ended)
        if self.certificates and answer.unwanted:
            self._removals.start(self.certificates.remove(answer.unwanted))

    def _leave_removed(self) -> None:
        self.stop_all(StopReason.LEASE_LOST)
        (self.on_removed or self.on_superseded)()

    async def _was_removed(self) -> bool:
        """Ask the API if it is time to: a dropped role is reported as a wrong password."""
        now = asyncio.get_running_loop().time()
        self._outage.record_failure(now)
        if self.is_removed is None or not self._outage.should_ask(now):
            return False
        return await self.is_removed()

    def _restart_fence(self, renewed: float) -> None:
        """Stop all work ``fence`` after that moment of the loop's clock unless restarted before.

        The fence has a separate timer, as a heartbeat may wait for other calls or hang.
        """
        self._cancel_fence()
        loop = asyncio.get_running_loop()
        self._fencing = loop.call_at(renewed + self.fence.total_seconds(), self._stop_by_fence)

    def _cancel_fence(self) -> None:
        if self._fencing is not None:
            self._fencing.cancel()

    def _stop_by_fence(self) -> None:
        log.warning("fenced", attempts=len(self.attempts))
        self.stop_all(StopReason.LEASE_LOST)
        # Attempts that were claimed since have later leases, and are stopped by the next fence.
        self._restart_fence(asyncio.get_running_loop().time())

    def _claimed(self) -> list[Attempt]:
        return [attempt for attempt in self.attempts.values() if attempt.claimed]

    async def _pause(self) -> None:
        await asyncio.sleep(min(MIN_INTERVAL, self.every).total_seconds())
        until = asyncio.get_running_loop().time() + self.every.total_seconds()
        while (
            not self._notified.is_set()
            and (remaining := until - asyncio.get_running_loop().time()) > 0
        ):
            await wait_for_event(self._notified, min(remaining, PROGRESS.total_seconds()))
            if any(attempt.has_new_progress for attempt in self._claimed()):
                break
        self._notified.clear()


def _make_heartbeat(attempt: Attempt) -> AttemptHeartbeat:
    fresh = attempt.progress if attempt.has_new_progress else None
    attempt.reported_progress = attempt.progress
    return AttemptHeartbeat(
        job_id=attempt.job_id,
        attempt=attempt.number,
        progress=fresh,
        login=attempt.login_number,
    )


def _apply_answer(answer: HeartbeatAnswer, reported: list[Attempt]) -> None:
    """Renew logins; stop attempts that are lost, to be cancelled, or to be handed back."""
    held = {(job.job_id, job.attempt): job for job in answer.jobs}
    for attempt in reported:
        job = held.get((attempt.job_id, attempt.number))
        if job is None:
            attempt.stop(StopReason.LEASE_LOST)
        elif job.cancel:
            attempt.stop(StopReason.CANCELLED)
        elif job.hand_back:
            attempt.stop(StopReason.DRAINED)
        elif job.login is not None:
            attempt.accept_login(job.login)
