"""The transitions of a job as pure functions: an oracle for what the database does in SQL.

Each function returns the job after the change, or ``None`` where nothing is to be changed.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from shared.jobs.states import LEASE, Outcome, State

BACKOFF_FIRST = timedelta(seconds=2)
BACKOFF_LONGEST = timedelta(minutes=5)

TRANSITIONS: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.DISPATCHED, State.CANCELLED, State.EXPIRED}),
    State.DISPATCHED: frozenset(
        {State.QUEUED, State.RUNNING, State.FAILED, State.CANCELLED, State.EXPIRED}
    ),
    State.RUNNING: frozenset({State.QUEUED, State.SUCCEEDED, State.FAILED, State.CANCELLED}),
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
    State.EXPIRED: frozenset(),
}
"""The same pairs stand in ``transitions.sql``, where a trigger refuses all others."""


@dataclass(frozen=True)
class JobRow:
    """The part of a job that its transitions read and write."""

    state: State = State.QUEUED
    attempt: int = 0
    failures: int = 0
    max_failures: int = 3
    cancel_requested: bool = False
    run_at: datetime | None = None
    deadline_at: datetime | None = None
    incarnation: str | None = None
    lease_until: datetime | None = None


def release(job: JobRow, now: datetime) -> JobRow | None:
    """Hand a due job to its server under the next attempt number."""
    due = job.run_at is None or job.run_at <= now
    if job.state is not State.QUEUED or job.cancel_requested or not due or _is_late(job, now):
        return None
    return replace(job, state=State.DISPATCHED, attempt=job.attempt + 1)


def undispatch(job: JobRow, now: datetime) -> JobRow | None:
    """Take an unclaimed job back because its server went away, or takes nothing new any more."""
    if job.state is not State.DISPATCHED:
        return None
    return replace(job, state=State.QUEUED, run_at=now)


def refuse(job: JobRow) -> JobRow | None:
    """End a dispatched job for which no login can be made."""
    return _end(job, State.FAILED) if job.state is State.DISPATCHED else None


def claim(job: JobRow, attempt: int, incarnation: str, now: datetime) -> JobRow | None:
    """Give the attempt to the worker that asks first."""
    if job.state is not State.DISPATCHED or job.attempt != attempt or job.cancel_requested:
        return None
    return replace(job, state=State.RUNNING, incarnation=incarnation, lease_until=now + LEASE)


def renew(job: JobRow, attempt: int, incarnation: str, now: datetime) -> JobRow | None:
    """Prolong the lease of a running attempt."""
    return replace(job, lease_until=now + LEASE) if is_held(job, attempt, incarnation) else None


def finish(
    job: JobRow,
    attempt: int,
    incarnation: str,
    outcome: Outcome,
    now: datetime,
    *,
    retryable: bool = False,
    wait: timedelta | None = None,
    jitter: float = 0.0,
) -> JobRow | None:
    """End a running attempt by its worker's word.

    Success stands even when a cancel was requested for: too late is ``succeeded``. ``wait`` is the
    registry's ``Retry-After``; ``jitter`` is in [0, 1).
    """
    if not is_held(job, attempt, incarnation):
        return None
    match outcome:
        case Outcome.SUCCEEDED:
            return _end(job, State.SUCCEEDED)
        case Outcome.FAILED:
            return _fail(job, now, retryable=retryable, delay=delay(job.failures, jitter, wait))
        case _:
            return _give_back(job, now)


def lose(
    job: JobRow, now: datetime, *, at_once: bool = False, jitter: float = 0.0
) -> JobRow | None:
    """End a running attempt whose lease ran out, or (``at_once``) whose worker was succeeded."""
    if job.state is not State.RUNNING or job.lease_until is None:
        return None
    if job.lease_until > now and not at_once:
        return None
    pause = timedelta() if at_once else delay(job.failures, jitter)
    return _fail(job, now, retryable=True, delay=pause)


def cancel(job: JobRow) -> JobRow | None:
    """Record the request; a job that no worker has claimed ends at once."""
    if job.state.is_final or job.cancel_requested:
        return None
    requested = replace(job, cancel_requested=True)
    return requested if job.state is State.RUNNING else _end(requested, State.CANCELLED)


def expire(job: JobRow, now: datetime) -> JobRow | None:
    """End a job that waited beyond its deadline; a running one is bounded by its timeout."""
    if job.state in {State.QUEUED, State.DISPATCHED} and _is_late(job, now):
        return _end(job, State.EXPIRED)
    return None


def delay(failures: int, jitter: float, wait: timedelta | None = None) -> timedelta:
    """Return the pause after one more failure: 2, 4, 8 … s, up to 5 min, plus up to a half."""
    backoff: timedelta = min(BACKOFF_FIRST * 2 ** min(failures, 12), BACKOFF_LONGEST)
    return max(backoff * (1 + jitter / 2), wait or timedelta())


def is_held(job: JobRow, attempt: int, incarnation: str) -> bool:
    """Return whether the attempt is still this worker's."""
    return job.state is State.RUNNING and job.attempt == attempt and job.incarnation == incarnation


def _fail(job: JobRow, now: datetime, *, retryable: bool, delay: timedelta) -> JobRow:
    failed = replace(job, failures=job.failures + 1)
    if job.cancel_requested:
        return _end(failed, State.CANCELLED)
    if not retryable or failed.failures >= job.max_failures:
        return _end(failed, State.FAILED)
    return _queue(failed, now + delay)


def _give_back(job: JobRow, now: datetime) -> JobRow:
    return _end(job, State.CANCELLED) if job.cancel_requested else _queue(job, now)


def _queue(job: JobRow, run_at: datetime) -> JobRow:
    return replace(job, state=State.QUEUED, run_at=run_at, incarnation=None, lease_until=None)


def _end(job: JobRow, state: State) -> JobRow:
    return replace(job, state=state, incarnation=None, lease_until=None)


def _is_late(job: JobRow, now: datetime) -> bool:
    return job.deadline_at is not None and job.deadline_at <= now
