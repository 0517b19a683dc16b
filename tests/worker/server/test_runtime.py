"""A whole worker without Celery: its own loop in its own thread, called from others."""

import asyncio
import threading
from collections.abc import AsyncIterator, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from shared.errors import SetupError
from shared.jobs.commands import Command
from shared.jobs.results import ImageResult
from shared.jobs.states import Outcome
from tests.waiting import wait_until
from tests.world import Guest, World
from worker.jobs.attempt import Attempt, End
from worker.login import Grants
from worker.server.identity import StateDirectory
from worker.server.runtime import Opened, Worker, start_worker

DONE = ImageResult(reference="registry.example/team/app:1")


@dataclass
class Handlers:
    """What the worker works with; each attempt waits until it is let go."""

    begun: list[tuple[str, int]] = field(default_factory=list)
    let_go: threading.Event = field(default_factory=threading.Event)
    ended: set[str] = field(default_factory=set)
    closed: bool = False

    async def open(self, stack: AsyncExitStack) -> Opened:
        stack.callback(self._close)
        return Opened(self.work, self.describe, self)

    def job_ids(self) -> list[str]:
        return ["job-of-nobody"]

    def have_ended(self, job_ids: Collection[str]) -> None:
        self.ended.update(job_ids)

    async def describe(self) -> dict[str, Any]:
        return {"version": "29"}

    async def work(self, _: Command, __: Grants, attempt: Attempt) -> BaseModel:
        self.begun.append((attempt.job_id, attempt.number))
        await wait_until(self.let_go.is_set)
        return DONE

    def _close(self) -> None:
        self.closed = True


@dataclass
class Place:
    """A server's state directory, and the workers that were started on it."""

    world: World
    guest: Guest
    path: Path
    threads: ThreadPoolExecutor
    left: threading.Event = field(default_factory=threading.Event)
    workers: list[Worker] = field(default_factory=list)
    handlers: Handlers = field(default_factory=Handlers)

    async def start(self) -> Worker:
        state = StateDirectory.open(self.path)
        try:
            worker = await asyncio.to_thread(start_worker, state, self.handlers.open, self.left.set)
        except BaseException:
            state.close()
            raise
        self.workers.append(worker)
        return worker

    def run(self, worker: Worker, job_id: str, number: int = 1) -> asyncio.Future[End | None]:
        """Have a thread wait for the attempt, as Celery's pool does."""
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self.threads, worker.run, job_id, number)

    async def close(self, worker: Worker) -> None:
        self.workers.remove(worker)
        await asyncio.to_thread(worker.close)


@pytest.fixture
async def place(world: World, tmp_path: Path) -> AsyncIterator[Place]:
    guest = await world.add_server(None)
    state = StateDirectory.open(tmp_path)
    state.keep_enrolled(guest.enrolled)
    (tmp_path / "server.key").write_text(guest.key.text())
    (tmp_path / "database.password").write_text(guest.password.get_secret_value())
    state.close()
    with ThreadPoolExecutor(16) as threads:
        made = Place(world, guest, tmp_path, threads)
        yield made
        made.handlers.let_go.set()
        for worker in list(made.workers):
            await made.close(worker)


async def test_the_worker_is_told_which_of_its_jobs_have_ended(place: Place) -> None:
    await place.start()

    await wait_until(lambda: place.handlers.ended == {"job-of-nobody"})


async def test_a_job_is_done_for_whoever_waits_in_a_thread(place: Place) -> None:
    worker, handlers = await place.start(), place.handlers
    job_id = await place.world.dispatch(place.guest)
    handlers.let_go.set()

    end = await place.run(worker, job_id)

    assert end is not None
    assert end.outcome is Outcome.SUCCEEDED
    assert await place.world.state(job_id) == "succeeded"


async def test_a_worker_that_was_closed_is_away_at_once_and_its_job_waits(place: Place) -> None:
    worker, handlers = await place.start(), place.handlers
    job_id = await place.world.dispatch(place.guest)
    running = place.run(worker, job_id)
    await wait_until(lambda: bool(handlers.begun))
    unclaimed = await place.world.dispatch(place.guest)

    await place.close(worker)
    await running
    await place.world.sweep()

    [row] = await place.world.rows("SELECT incarnation FROM server")
    assert row["incarnation"] is None
    for waiting in (job_id, unclaimed):
        job = await place.world.job(waiting)
        assert (job["state"], job["failures"]) == ("queued", 0)


async def test_a_draining_worker_is_sent_nothing_new(place: Place) -> None:
    worker = await place.start()
    worker.drain(timedelta(seconds=30))

    async def is_told() -> bool:
        return bool(await place.world.rows("SELECT 1 FROM server WHERE draining"))

    await wait_until(is_told)
    await place.world.submit(place.guest)

    assert await place.world.release() == []


async def test_a_doubled_message_is_dropped(place: Place) -> None:
    worker, handlers = await place.start(), place.handlers
    job_id = await place.world.dispatch(place.guest)
    running = place.run(worker, job_id)
    await wait_until(lambda: bool(handlers.begun))

    assert await place.run(worker, job_id) is None
    handlers.let_go.set()

    assert await running is not None
    assert handlers.begun == [(job_id, 1)]


async def test_many_jobs_run_at_once(place: Place) -> None:
    worker, handlers = await place.start(), place.handlers
    jobs = [await place.world.dispatch(place.guest) for _ in range(8)]
    running = [place.run(worker, job) for job in jobs]

    await wait_until(lambda: len(handlers.begun) == 8)
    handlers.let_go.set()

    assert all(await asyncio.gather(*running))


async def test_a_draining_worker_finishes_what_it_can_and_hands_the_rest_back(
    place: Place,
) -> None:
    worker, handlers = await place.start(), place.handlers
    job_id, late = await place.world.dispatch(place.guest), await place.world.dispatch(place.guest)
    running = place.run(worker, job_id)
    await wait_until(lambda: bool(handlers.begun))

    worker.drain(timedelta(seconds=0.1))
    end = await running

    assert end is not None
    assert end.outcome is Outcome.RETURNED
    job = await place.world.job(job_id)
    assert (job["state"], job["failures"]) == ("queued", 0)
    assert await place.run(worker, late) is None
    assert await place.world.state(late) == "dispatched"


async def test_the_next_worker_takes_over_at_once_what_a_killed_one_held(place: Place) -> None:
    await place.guest.hello("killed")
    job_id = await place.world.run(place.guest, "killed")
    (place.path / "incarnation").write_text("killed")

    worker = await place.start()

    job = await place.world.job(job_id)
    assert (job["state"], job["failures"], job["error"]["code"]) == ("queued", 1, "worker_lost")
    await place.world.release()
    place.handlers.let_go.set()
    assert await place.run(worker, job_id, 2) is not None


async def test_closing_hands_back_what_still_runs(place: Place) -> None:
    worker = await place.start()
    job_id = await place.world.dispatch(place.guest)
    running = place.run(worker, job_id)
    await wait_until(lambda: bool(place.handlers.begun))

    await place.close(worker)

    end = await running
    assert end is not None
    assert end.outcome is Outcome.RETURNED
    assert await place.world.state(job_id) == "queued"


async def test_closing_closes_what_the_handlers_opened(place: Place) -> None:
    worker, handlers = await place.start(), place.handlers

    await place.close(worker)

    assert handlers.closed
    StateDirectory.open(place.path).close()


async def test_a_worker_that_was_succeeded_leaves(place: Place) -> None:
    await place.start()
    [row] = await place.world.rows("SELECT incarnation FROM server")

    await place.guest.hello("another", predecessor=row["incarnation"])
    await place.world.control.execute("SELECT pg_notify('wharf_beat', '')")

    await wait_until(place.left.is_set)


async def test_a_server_that_is_not_enrolled_does_not_start(tmp_path: Path) -> None:
    state = StateDirectory.open(tmp_path)

    with pytest.raises(SetupError, match="not enrolled"):
        start_worker(state, Handlers().open, lambda: None)

    state.close()


async def test_a_start_that_fails_closes_what_was_opened(place: Place) -> None:
    await place.world.api.execute("UPDATE server SET removed_at = now()")

    with pytest.raises(SetupError, match="removed"):
        await place.start()

    assert place.handlers.closed
    assert "loop" not in {thread.name for thread in threading.enumerate()}
