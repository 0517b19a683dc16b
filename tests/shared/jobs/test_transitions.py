"""A job's life under lost, doubled and late messages, dead workers and zombies."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from shared.jobs.states import FINAL, LEASE, Outcome, State
from tests.shared.jobs.transitions import (
    BACKOFF_FIRST,
    BACKOFF_LONGEST,
    TRANSITIONS,
    JobRow,
    cancel,
    claim,
    delay,
    expire,
    finish,
    is_held,
    lose,
    refuse,
    release,
    renew,
    undispatch,
)

NOW = datetime(2027, 1, 1, tzinfo=UTC)
WORKERS = ("first", "second", "third")
WORDS = (Outcome.SUCCEEDED, Outcome.FAILED, Outcome.CANCELLED, Outcome.RETURNED)
SECOND = timedelta(seconds=1)


def dispatched(**changes: object) -> JobRow:
    job = release(replace(JobRow(), **changes), NOW)  # type: ignore[arg-type]
    assert job is not None
    return job


def running(incarnation: str = "first", **changes: object) -> JobRow:
    job = claim(dispatched(**changes), 1, incarnation, NOW)
    assert job is not None
    return job


class JobMachine(RuleBasedStateMachine):
    """One job; messages that are doubled, lost or late; workers that never hear they are dead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.job = JobRow()
        self.messages: list[int] = []
        self.believers: set[tuple[int, str]] = set()
        """The workers that claimed an attempt once and still report on it, zombies included."""

        self.claims: dict[int, str] = {}
        self.ends: list[State] = []

    @initialize(
        max_failures=st.integers(1, 4),
        deadline=st.none() | st.integers(1, 60).map(lambda s: NOW + s * SECOND),
    )
    def submit(self, max_failures: int, deadline: datetime | None) -> None:
        self.job = JobRow(max_failures=max_failures, deadline_at=deadline)

    def become(self, after: JobRow | None) -> None:
        """Take a change over, and check what holds for every change."""
        if after is None:
            return
        before, self.job = self.job, after
        assert not before.state.is_final
        assert after.state is before.state or after.state in TRANSITIONS[before.state]
        assert after.attempt - before.attempt == (
            before.state is State.QUEUED and after.state is State.DISPATCHED
        )
        assert after.failures - before.failures in {0, 1}
        assert not (after.cancel_requested and after.state is State.QUEUED)
        if after.state.is_final:
            self.ends.append(after.state)

    @rule(seconds=st.sampled_from([1, 3, 10, 16, 400]))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds * SECOND

    @rule()
    def control_releases(self) -> None:
        after = release(self.job, self.now)
        if after is not None:
            self.messages.append(after.attempt)
        self.become(after)

    @rule()
    def the_sweep_rings_again(self) -> None:
        if self.job.state is State.DISPATCHED:
            self.messages.append(self.job.attempt)

    @precondition(lambda self: self.messages)
    @rule(data=st.data(), fate=st.sampled_from(["lost", "doubled", "delivered", "delivered"]))
    def a_message_travels(self, data: st.DataObject, fate: str) -> None:
        number = data.draw(st.sampled_from(self.messages))
        if fate == "doubled":
            self.messages.append(number)
            return
        self.messages.remove(number)
        if fate == "delivered":
            self.a_worker_claims(number, data.draw(st.sampled_from(WORKERS)))

    def a_worker_claims(self, number: int, worker: str) -> None:
        after = claim(self.job, number, worker, self.now)
        if after is not None:
            assert number not in self.claims, "two workers were given one attempt"
            self.claims[number] = worker
            self.believers.add((number, worker))
        self.become(after)

    @precondition(lambda self: self.believers)
    @rule(data=st.data())
    def a_worker_sends_a_heartbeat(self, data: st.DataObject) -> None:
        number, worker = data.draw(st.sampled_from(sorted(self.believers)))
        after = renew(self.job, number, worker, self.now)
        if after is None:
            self.believers.discard((number, worker))
        else:
            assert self.claims[number] == worker and number == self.job.attempt
        self.become(after)

    @precondition(lambda self: self.believers)
    @rule(
        data=st.data(),
        word=st.sampled_from(WORDS),
        retryable=st.booleans(),
        wait=st.none() | st.integers(0, 30).map(lambda s: s * SECOND),
        stays=st.booleans(),
    )
    def a_worker_finishes(
        self,
        data: st.DataObject,
        word: Outcome,
        retryable: bool,  # noqa: FBT001 - Hypothesis passes by name
        wait: timedelta | None,
        stays: bool,  # noqa: FBT001 - Hypothesis passes by name
    ) -> None:
        number, worker = data.draw(st.sampled_from(sorted(self.believers)))
        after = finish(self.job, number, worker, word, self.now, retryable=retryable, wait=wait)
        if not stays:
            self.believers.discard((number, worker))
        assert (after is not None) == is_held(self.job, number, worker)
        self.become(after)

    @rule(at_once=st.booleans())
    def the_attempt_is_lost(self, at_once: bool) -> None:  # noqa: FBT001 - as above
        self.become(lose(self.job, self.now, at_once=at_once))

    @rule()
    def somebody_cancels(self) -> None:
        self.become(cancel(self.job))

    @rule()
    def the_server_goes_away(self) -> None:
        self.become(undispatch(self.job, self.now))

    @rule()
    def no_login_can_be_made(self) -> None:
        self.become(refuse(self.job))

    @rule()
    def the_sweep_expires(self) -> None:
        self.become(expire(self.job, self.now))

    @invariant()
    def it_ends_once(self) -> None:
        assert len(self.ends) == self.job.state.is_final

    @invariant()
    def failures_are_bounded(self) -> None:
        assert 0 <= self.job.failures <= min(self.job.max_failures, self.job.attempt)

    @invariant()
    def it_has_a_lease_exactly_while_it_runs(self) -> None:
        is_running = self.job.state is State.RUNNING
        assert is_running == (self.job.lease_until is not None)
        assert is_running == (self.job.incarnation is not None)

    @invariant()
    def one_worker_at_most_may_speak(self) -> None:
        holders = {
            (number, worker)
            for number in range(self.job.attempt + 1)
            for worker in WORKERS
            if is_held(self.job, number, worker)
        }
        assert len(holders) == (self.job.state is State.RUNNING)

    def teardown(self) -> None:
        for word in (Outcome.SUCCEEDED, Outcome.FAILED):
            self.requires_an_end(self.job, word)

    def requires_an_end(self, job: JobRow, word: Outcome) -> None:
        """Whatever happened so far: with a working worker every job ends in bounded steps."""
        now = self.now
        for _ in range(4 * job.max_failures + 4):
            if job.state.is_final:
                return
            job, now = one_step(job, now, word)
        pytest.fail(f"it does not end: {job}")


TestJobMachine = JobMachine.TestCase
TestJobMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def one_step(job: JobRow, now: datetime, word: Outcome) -> tuple[JobRow, datetime]:
    """Apply a sweep, control and a worker to a job; the worker always reports ``word``."""
    match job.state:
        case State.QUEUED:
            now = max(now, job.run_at or now)
            after = expire(job, now) or release(job, now)
        case State.DISPATCHED:
            after = claim(job, job.attempt, "working", now)
        case _ if job.incarnation == "working":
            after = finish(job, job.attempt, "working", word, now, retryable=True)
        case _:
            now += LEASE + SECOND
            after = lose(job, now)
    assert after is not None
    return after, now


@given(st.integers(0, 1000), st.floats(0, 1, exclude_max=True))
def test_the_wait_after_a_failure_grows_to_five_minutes_and_a_half_more(
    failures: int, jitter: float
) -> None:
    pause = delay(failures, jitter)

    assert BACKOFF_FIRST <= pause <= BACKOFF_LONGEST * 1.5
    assert delay(failures + 1, 0) >= delay(failures, 0)


@pytest.mark.parametrize(("failures", "seconds"), [(0, 2), (1, 4), (2, 8), (7, 256), (8, 300)])
def test_the_wait_doubles(failures: int, seconds: int) -> None:
    assert delay(failures, 0) == timedelta(seconds=seconds)


def test_a_longer_retry_after_is_honoured_and_a_shorter_one_is_not() -> None:
    assert delay(0, 0, timedelta(seconds=90)) == timedelta(seconds=90)
    assert delay(3, 0, timedelta(seconds=1)) == timedelta(seconds=16)


def test_a_failure_that_may_be_repeated_is_queued_with_its_wait() -> None:
    after = finish(
        running(), 1, "first", Outcome.FAILED, NOW, retryable=True, wait=timedelta(minutes=1)
    )

    assert after is not None
    assert (after.state, after.failures) == (State.QUEUED, 1)
    assert after.run_at == NOW + timedelta(minutes=1)


def test_a_job_is_not_released_before_it_is_due() -> None:
    waiting = JobRow(run_at=NOW + SECOND)

    assert release(waiting, NOW) is None
    assert release(waiting, NOW + SECOND) is not None


def test_a_failure_that_may_not_be_repeated_ends_the_job() -> None:
    after = finish(running(), 1, "first", Outcome.FAILED, NOW)

    assert after is not None
    assert (after.state, after.failures) == (State.FAILED, 1)


def test_the_last_failure_ends_the_job() -> None:
    after = finish(running(max_failures=1), 1, "first", Outcome.FAILED, NOW, retryable=True)

    assert after is not None
    assert after.state is State.FAILED


def test_success_after_a_cancel_request_is_success() -> None:
    cancelling = cancel(running())
    assert cancelling is not None

    after = finish(cancelling, 1, "first", Outcome.SUCCEEDED, NOW)

    assert after is not None
    assert after.state is State.SUCCEEDED


@pytest.mark.parametrize("word", [Outcome.FAILED, Outcome.CANCELLED, Outcome.RETURNED])
def test_any_other_end_after_a_cancel_request_is_cancelled(word: Outcome) -> None:
    cancelling = cancel(running())
    assert cancelling is not None

    after = finish(cancelling, 1, "first", word, NOW, retryable=True)

    assert after is not None
    assert after.state is State.CANCELLED


def test_a_cancelled_job_whose_worker_is_lost_is_cancelled() -> None:
    cancelling = cancel(running())
    assert cancelling is not None

    after = lose(cancelling, NOW + LEASE)

    assert after is not None
    assert after.state is State.CANCELLED


def test_cancelling_twice_changes_nothing_more() -> None:
    cancelling = cancel(running())
    assert cancelling is not None

    assert cancel(cancelling) is None


@pytest.mark.parametrize("word", [Outcome.RETURNED, Outcome.CANCELLED])
def test_a_job_that_is_handed_back_has_not_failed(word: Outcome) -> None:
    after = finish(running(), 1, "first", word, NOW)

    assert after is not None
    assert (after.state, after.failures, after.run_at) == (State.QUEUED, 0, NOW)


def test_a_server_that_goes_away_is_no_failure() -> None:
    after = undispatch(dispatched(), NOW)

    assert after is not None
    assert (after.state, after.failures, after.attempt) == (State.QUEUED, 0, 1)


def test_a_lost_worker_is_a_failure_once_its_lease_is_over() -> None:
    job = running()

    assert lose(job, NOW + LEASE - SECOND) is None
    after = lose(job, NOW + LEASE)

    assert after is not None
    assert (after.state, after.failures) == (State.QUEUED, 1)
    assert after.run_at == NOW + LEASE + BACKOFF_FIRST


def test_a_worker_that_was_succeeded_loses_its_job_at_once() -> None:
    after = lose(running(), NOW, at_once=True)

    assert after is not None
    assert (after.state, after.failures, after.run_at) == (State.QUEUED, 1, NOW)


def test_a_heartbeat_extends_the_lease() -> None:
    after = renew(running(), 1, "first", NOW + SECOND)

    assert after is not None
    assert after.lease_until == NOW + SECOND + LEASE


def test_a_deadline_bounds_waiting_and_not_running() -> None:
    late = NOW + timedelta(minutes=1)

    assert expire(JobRow(deadline_at=late), NOW) is None
    assert expire(running(deadline_at=late), late) is None
    assert release(JobRow(deadline_at=late), late) is None
    after = expire(dispatched(deadline_at=late), late)
    assert after is not None
    assert after.state is State.EXPIRED


@pytest.mark.parametrize("state", sorted(FINAL))
def test_an_ended_job_stays_as_it_is(state: State) -> None:
    ended = JobRow(state=state, attempt=1, deadline_at=NOW)

    assert TRANSITIONS[state] == frozenset()
    assert release(ended, NOW) is None
    assert undispatch(ended, NOW) is None
    assert refuse(ended) is None
    assert claim(ended, 1, "first", NOW) is None
    assert renew(ended, 1, "first", NOW) is None
    assert finish(ended, 1, "first", Outcome.FAILED, NOW) is None
    assert lose(ended, NOW, at_once=True) is None
    assert cancel(ended) is None
    assert expire(ended, NOW) is None
