"""The statements do what the pure functions say: one random walk through both, compared."""

import contextlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import psycopg
import pytest

from shared.database import Connection
from shared.faults import Fault
from shared.jobs.commands import RegistryTest
from shared.jobs.states import LEASE, Outcome, State
from shared.jobs.store.cancel import cancel
from shared.jobs.store.release import Released, refuse, release
from shared.jobs.store.sweep import CALL_BACK, EXPIRE, LOSE
from tests.shared.jobs import transitions
from tests.shared.jobs.transitions import TRANSITIONS, JobRow
from tests.world import TAG, EnrolledServer, World, call

FAULT = Fault(code="registry_error", message="it failed", retryable=True)
TEST = RegistryTest(host="registry.example", username="alice", repository="team/app")
INCARNATIONS = ("first", "second")
ROW = (
    "SELECT state, attempt, failures, max_failures, cancel_requested_at IS NOT NULL AS"
    " cancel_requested, run_at, deadline_at, incarnation, lease_until FROM job WHERE job_id = %s"
)
LEGAL = {(before, after) for before, targets in TRANSITIONS.items() for after in targets}
SEED = 20270101
JOBS, MOST_JOBS = 60, 400
"""So many at least, and more until every legal transition was seen."""


@dataclass
class Walk:
    """One job in the database beside one in memory, through the same changes at the same moments.

    Jitter is Postgres's own: the model takes over ``run_at`` once it is seen to be in bounds.
    """

    world: World
    server: EnrolledServer
    chance: random.Random
    current: str = "first"
    job_id: str = ""
    jobs: int = 0
    life: JobRow = field(default_factory=JobRow)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    steps: list[str] = field(default_factory=list)
    seen: set[tuple[State, State]] = field(default_factory=set)

    async def one_job(self) -> None:
        """A job from its submission to its end, or for thirty steps."""
        deadline = self.chance.choice([None, timedelta(seconds=90)])
        command = self.chance.choice([TAG, TAG, TEST])
        self.job_id = await self.world.submit(self.server, command, deadline=deadline)
        self.life, self.steps = await self.read(), []
        self.jobs += 1
        for _ in range(30):
            if self.life.state.is_final and self.chance.random() < 0.7:
                break
            step = self.chance.choice(self.likely() if self.chance.random() < 0.6 else self.all())
            self.steps.append(f"{step.__name__} as {self.life}")
            await step()
        await self.world.owner.execute("DELETE FROM job WHERE job_id = %s", (self.job_id,))

    def likely(self) -> list[Callable[[], Awaitable[None]]]:
        """Advance a job, so that the walk sees whole transitions."""
        match self.life.state:
            case State.QUEUED:
                return [self.fall_due, self.release]
            case State.DISPATCHED:
                return [self.claim]
            case _:
                return [self.finish, self.finish, self.heartbeat, self.lose]

    def all(self) -> list[Callable[[], Awaitable[None]]]:
        return [
            *(self.time_passes, self.release, self.refuse, self.claim, self.heartbeat, self.finish),
            *(self.lose, self.say_hello, self.cancel, self.expire, self.call_back),
        ]

    async def time_passes(self) -> None:
        await self.shift(timedelta(seconds=self.chance.choice([1, 3, 14, 40, 100])))

    async def fall_due(self) -> None:
        left = (self.life.run_at or self.now) - await self.read_clock()
        await self.shift(max(left, timedelta()) + timedelta(milliseconds=50))

    async def shift(self, time: timedelta) -> None:
        await self.world.pass_time(self.job_id, time)
        self.life = await self.read()

    async def release(self) -> None:
        control = self.world.control
        await self.at_once(control, lambda: release(control))
        await self.requires(transitions.release(self.life, self.now))

    async def refuse(self) -> None:
        control = self.world.control
        attempt = self.life.attempt - self.chance.choice([0, 1])
        job = Released(self.job_id, "", "", "image.tag", attempt, {}, None, "", {}, {})
        await self.at_once(control, lambda: refuse(control, job, FAULT))
        await self.requires(transitions.refuse(self.life) if attempt == self.life.attempt else None)

    async def claim(self) -> None:
        attempt, incarnation = self.pick()
        status = await self.speak("claim", incarnation, job_id=self.job_id, attempt=attempt)
        after = transitions.claim(self.life, attempt, incarnation, self.now)
        if incarnation != self.current:
            assert status == "superseded"
            after = None
        else:
            repeats = transitions.is_held(self.life, attempt, incarnation)
            assert status == ("claimed" if after or repeats else "fenced")
        await self.requires(after)

    async def heartbeat(self) -> None:
        attempt, incarnation = self.pick()
        jobs = [{"job_id": self.job_id, "attempt": attempt, "progress": None}]
        status = await self.speak("heartbeat", incarnation, jobs=jobs)
        assert status == ("current" if incarnation == self.current else "superseded")
        await self.requires(transitions.renew(self.life, attempt, incarnation, self.now))

    async def finish(self) -> None:
        attempt, incarnation = self.pick()
        outcome = self.chance.choice(["failed", "failed", "succeeded", "cancelled", "returned"])
        retryable = self.chance.random() < 0.8
        wait = self.chance.choice([None, 0, 1, 60])
        error = {"code": "x", "message": "x", "retryable": retryable, "retry_after_seconds": wait}
        document = {"job_id": self.job_id, "attempt": attempt, "outcome": outcome, "error": error}
        status = await self.speak("finish", incarnation, **document)
        earliest, latest = (
            transitions.finish(
                self.life,
                attempt,
                incarnation,
                Outcome(outcome),
                self.now,
                retryable=retryable,
                wait=None if wait is None else timedelta(seconds=wait),
                jitter=jitter,
            )
            for jitter in (0.0, 1.0)
        )
        assert (status == "recorded") == (earliest is not None)
        await self.requires(earliest, latest)

    async def lose(self) -> None:
        await self.shift(self.chance.choice([timedelta(), LEASE]))
        control = self.world.control
        await self.at_once(control, lambda: control.execute(LOSE.whole))
        earliest, latest = (
            transitions.lose(self.life, self.now, jitter=jitter) for jitter in (0.0, 1.0)
        )
        await self.requires(earliest, latest)

    async def say_hello(self) -> None:
        _, incarnation = self.pick()
        assert (
            await self.speak("register", incarnation, predecessor=self.current, **HELLO)
            == "current"
        )
        self.current = incarnation
        is_held = self.life.incarnation in {None, incarnation}
        await self.requires(
            None if is_held else transitions.lose(self.life, self.now, at_once=True)
        )

    async def cancel(self) -> None:
        api, organization = self.world.api, self.world.organization_id
        await self.at_once(api, lambda: cancel(api, self.job_id, organization, "not wanted"))
        await self.requires(transitions.cancel(self.life))

    async def expire(self) -> None:
        await self.shift(self.chance.choice([timedelta(), timedelta(seconds=90)]))
        control = self.world.control
        await self.at_once(control, lambda: control.execute(EXPIRE.whole))
        await self.requires(transitions.expire(self.life, self.now))

    async def call_back(self) -> None:
        control, is_away = self.world.control, self.chance.choice([False, True])
        await self.world.make_offline(self.server, timedelta(minutes=is_away))
        await self.at_once(control, lambda: control.execute(CALL_BACK.whole))
        await self.world.make_offline(self.server, -timedelta(minutes=is_away))
        await self.requires(transitions.undispatch(self.life, self.now) if is_away else None)

    def pick(self) -> tuple[int, str]:
        """Mostly this attempt and the current worker, else the one before or the other one."""
        back = self.chance.random() < 0.15
        other = INCARNATIONS[self.current == INCARNATIONS[0]]
        incarnation = other if self.chance.random() < 0.15 else self.current
        return max(self.life.attempt - back, 0), incarnation

    async def speak(self, function: str, incarnation: str, **document: Any) -> str:
        connection = await self.server.connection()
        answer = await self.at_once(
            connection, lambda: call(connection, function, incarnation, **document)
        )
        return str(answer["status"])

    async def at_once(self, connection: Connection, work: Callable[[], Awaitable[Any]]) -> Any:
        """Do ``work`` in a transaction whose moment becomes the model's ``now``."""
        async with connection.transaction():
            row = await (await connection.execute("SELECT now() AS now")).fetchone()
            assert row is not None
            self.now = row["now"]
            return await work()

    async def requires(self, earliest: JobRow | None, latest: JobRow | None = None) -> None:
        """Both jobs are equal; one was made without jitter, the other with all of it."""
        found, expected = await self.read(), earliest or self.life
        if expected.state.is_final:
            # Where a job has ended, `run_at` means nothing any more.
            expected = replace(expected, run_at=found.run_at)
        elif latest is not None and latest.run_at != expected.run_at:
            assert expected.run_at and latest.run_at and found.run_at
            assert expected.run_at <= found.run_at <= latest.run_at, self.steps
            expected = replace(expected, run_at=found.run_at)
        assert found == expected, self.steps
        self.seen.add((self.life.state, found.state))
        self.life = found

    async def read(self) -> JobRow:
        [row] = await self.world.rows(ROW, self.job_id)
        return JobRow(**{**row, "state": State(row["state"])})

    async def read_clock(self) -> datetime:
        [row] = await self.world.rows("SELECT clock_timestamp() AS now")
        now: datetime = row["now"]
        return now


HELLO = {"kinds": ["image.tag@1", "registry.test@1"]}


async def test_the_statements_do_what_the_pure_functions_say(world: World) -> None:
    walk = Walk(world, await world.add_server("first"), random.Random(SEED))  # noqa: S311 - a walk

    for _ in range(MOST_JOBS):
        await walk.one_job()
        if walk.seen >= LEGAL and walk.jobs >= JOBS:
            break

    assert walk.seen >= LEGAL, f"not visited: {LEGAL - walk.seen}"


PATHS = {
    State.QUEUED: (),
    State.DISPATCHED: (State.DISPATCHED,),
    State.RUNNING: (State.DISPATCHED, State.RUNNING),
    State.SUCCEEDED: (State.DISPATCHED, State.RUNNING, State.SUCCEEDED),
    State.FAILED: (State.DISPATCHED, State.FAILED),
    State.CANCELLED: (State.CANCELLED,),
    State.EXPIRED: (State.EXPIRED,),
}
COLUMNS = {
    State.DISPATCHED: ", attempt = attempt + 1",
    State.RUNNING: ", lease_until = 'infinity', incarnation = 'first'",
    State.SUCCEEDED: ", result = '{}'",
    State.FAILED: ", error = '{}'",
    State.EXPIRED: ", error = '{}'",
}


async def test_the_database_accepts_the_transitions_of_the_table_and_no_others(
    world: World,
) -> None:
    server = await world.add_server(None)
    accepted = set()

    for before, after in product(State, State):
        job_id = await world.submit(server)
        for step in PATHS[before]:
            await put(world, job_id, step)
        with contextlib.suppress(psycopg.errors.CheckViolation):
            await put(world, job_id, after)
            accepted.add((before, after))

    assert accepted - {(state, state) for state in State} == LEGAL


async def put(world: World, job_id: str, state: State) -> None:
    """Change the state without asking anybody, with the columns that the schema wants beside it."""
    await world.owner.execute(
        f"UPDATE job SET state = %s{COLUMNS.get(state, '')} WHERE job_id = %s".encode(),
        (state, job_id),
    )


async def test_a_job_begins_as_queued_and_its_numbers_only_grow(world: World) -> None:
    server = await world.add_server()
    job_id = await world.run(server)

    for change in ("attempt = 0", "attempt = 1, failures = -1"):
        with pytest.raises(psycopg.errors.CheckViolation):
            await world.owner.execute(f"UPDATE job SET {change} WHERE job_id = %s", (job_id,))
    with pytest.raises(psycopg.errors.CheckViolation):
        await world.owner.execute(
            "INSERT INTO job (job_id, organization_id, server_id, kind, version, job_class,"
            " command, max_failures, timeout_seconds, state, error, finished_at)"
            " SELECT 'forged', organization_id, server_id, kind, version, job_class, command,"
            " max_failures, timeout_seconds, 'failed', '{}', now() FROM job"
        )


async def test_the_database_waits_as_long_as_the_pure_function_says(world: World) -> None:
    inputs = list(product(range(20), (0.0, 0.25, 0.999), (None, 0.0, 5.5, 100.0, 3600.0)))

    rows = await world.rows(
        "SELECT job_backoff(failures, jitter, make_interval(secs => wait)) AS delay"
        " FROM unnest(%s::integer[], %s::float8[], %s::float8[])"
        " WITH ORDINALITY AS input (failures, jitter, wait, place) ORDER BY place",
        *map(list, zip(*inputs, strict=True)),
    )

    for (failures, jitter, wait), row in zip(inputs, rows, strict=True):
        expected = transitions.delay(
            failures, jitter, None if wait is None else timedelta(seconds=wait)
        )
        assert abs(row["delay"] - expected) < timedelta(milliseconds=1), (failures, jitter, wait)
