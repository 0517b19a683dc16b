"""A whole worker without Celery: other threads call its loop, which has its own thread."""

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
from tests.world import EnrolledServer, World
from worker.jobs.attempt import Attempt, AttemptResult
from worker.login import Grants
from worker.server.identity import StateDirectory
from worker.server.runtime import OpenedWork, Worker, start_worker

DONE = ImageResult(reference="registry.example/team/app:1")


@dataclass
class Handlers:
    """The handlers of the worker; each attempt waits until it is released."""

    started: list[tuple[str, int]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    ended: set[str] = field(default_factory=set)
    closed: bool = False

    async def open(self, stack: AsyncExitStack) -> OpenedWork:
        stack.callback(self._close)
        return OpenedWork(self.work, self.describe, self)

    def job_ids(self) -> list[str]:
        return ["job-of-nobody"]

    def mark_ended(self, job_ids: Collection[str]) -> None:
        self.ended.update(job_ids)

    async def describe(self) -> dict[str, Any]:
        return {"version": "29"}

    async def work(self, _: Command, __: Grants, attempt: Attempt) -> BaseModel:
        self.started.append((attempt.job_id, attempt.number))
        await wait_until(self.released.is_set)
        return DONE

    def _close(self) -> None:
        self.closed = True


@dataclass
class WorkerScenario:
    """A server's state directory, and the workers that were started with it."""

    world: World
    enrolled: EnrolledServer
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

    def run(
        self, worker: Worker, job_id: str, number: int = 1
    ) -> asyncio.Future[AttemptResult | None]:
        """Run the attempt and wait for it in a thread, as Celery's pool does."""
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self.threads, worker.run, job_id, number)

    async def close(self, worker: Worker) -> None:
        self.workers.remove(worker)
        await asyncio.to_thread(worker.close)


@pytest.fixture
async def scenario(world: World, tmp_path: Path) -> AsyncIterator[WorkerScenario]:
    enrolled = await world.add_server(None)
    state = StateDirectory.open(tmp_path)
    state.save_enrolment(enrolled.enrolment)
    (tmp_path / "server.key").write_text(enrolled.key.text())
    (tmp_path / "database.password").write_text(enrolled.password.get_secret_value())
    state.close()
    with ThreadPoolExecutor(16) as threads:
        made = WorkerScenario(world, enrolled, tmp_path, threads)
        yield made
        made.handlers.released.set()
        for worker in list(made.workers):
            await made.close(worker)


async def test_the_worker_learns_which_of_its_jobs_have_ended(scenario: WorkerScenario) -> None:
    await scenario.start()

    await wait_until(lambda: scenario.handlers.ended == {"job-of-nobody"})


async def test_a_job_runs_for_the_thread_that_waits_for_it(scenario: WorkerScenario) -> None:
    worker, handlers = await scenario.start(), scenario.handlers
    job_id = await scenario.world.dispatch(scenario.enrolled)
    handlers.released.set()

    end = await scenario.run(worker, job_id)

    assert end is not None
    assert end.outcome is Outcome.SUCCEEDED
    assert await scenario.world.state(job_id) == "succeeded"


async def test_a_closed_worker_is_unavailable_at_once_and_its_job_waits(
    scenario: WorkerScenario,
) -> None:
    worker, handlers = await scenario.start(), scenario.handlers
    job_id = await scenario.world.dispatch(scenario.enrolled)
    running = scenario.run(worker, job_id)
    await wait_until(lambda: bool(handlers.started))
    unclaimed = await scenario.world.dispatch(scenario.enrolled)

    await scenario.close(worker)
    await running
    await scenario.world.sweep()

    [row] = await scenario.world.rows("SELECT incarnation FROM server")
    assert row["incarnation"] is None
    for waiting in (job_id, unclaimed):
        job = await scenario.world.job(waiting)
        assert (job["state"], job["failures"]) == ("queued", 0)


async def test_a_draining_worker_gets_no_new_jobs(scenario: WorkerScenario) -> None:
    worker = await scenario.start()
    worker.drain(timedelta(seconds=30))

    async def is_reported() -> bool:
        return bool(await scenario.world.rows("SELECT 1 FROM server WHERE draining"))

    await wait_until(is_reported)
    await scenario.world.submit(scenario.enrolled)

    assert await scenario.world.release() == []


async def test_a_repeated_message_is_dropped(scenario: WorkerScenario) -> None:
    worker, handlers = await scenario.start(), scenario.handlers
    job_id = await scenario.world.dispatch(scenario.enrolled)
    running = scenario.run(worker, job_id)
    await wait_until(lambda: bool(handlers.started))

    assert await scenario.run(worker, job_id) is None
    handlers.released.set()

    assert await running is not None
    assert handlers.started == [(job_id, 1)]


async def test_many_jobs_run_at_once(scenario: WorkerScenario) -> None:
    worker, handlers = await scenario.start(), scenario.handlers
    jobs = [await scenario.world.dispatch(scenario.enrolled) for _ in range(8)]
    running = [scenario.run(worker, job) for job in jobs]

    await wait_until(lambda: len(handlers.started) == 8)
    handlers.released.set()

    assert all(await asyncio.gather(*running))


async def test_a_draining_worker_finishes_or_returns_its_jobs(
    scenario: WorkerScenario,
) -> None:
    worker, handlers = await scenario.start(), scenario.handlers
    job_id, late = (
        await scenario.world.dispatch(scenario.enrolled),
        await scenario.world.dispatch(scenario.enrolled),
    )
    running = scenario.run(worker, job_id)
    await wait_until(lambda: bool(handlers.started))

    worker.drain(timedelta(seconds=0.1))
    end = await running

    assert end is not None
    assert end.outcome is Outcome.RETURNED
    job = await scenario.world.job(job_id)
    assert (job["state"], job["failures"]) == ("queued", 0)
    assert await scenario.run(worker, late) is None
    assert await scenario.world.state(late) == "dispatched"


async def test_the_next_worker_takes_over_the_jobs_of_a_killed_one_at_once(
    scenario: WorkerScenario,
) -> None:
    await scenario.enrolled.register("killed")
    job_id = await scenario.world.run(scenario.enrolled, "killed")
    (scenario.path / "incarnation").write_text("killed")

    worker = await scenario.start()

    job = await scenario.world.job(job_id)
    assert (job["state"], job["failures"], job["error"]["code"]) == ("queued", 1, "worker_lost")
    await scenario.world.release()
    scenario.handlers.released.set()
    assert await scenario.run(worker, job_id, 2) is not None


async def test_closing_returns_the_running_jobs(scenario: WorkerScenario) -> None:
    worker = await scenario.start()
    job_id = await scenario.world.dispatch(scenario.enrolled)
    running = scenario.run(worker, job_id)
    await wait_until(lambda: bool(scenario.handlers.started))

    await scenario.close(worker)

    end = await running
    assert end is not None
    assert end.outcome is Outcome.RETURNED
    assert await scenario.world.state(job_id) == "queued"


async def test_closing_closes_the_handlers_resources(scenario: WorkerScenario) -> None:
    worker, handlers = await scenario.start(), scenario.handlers

    await scenario.close(worker)

    assert handlers.closed
    StateDirectory.open(scenario.path).close()


async def test_a_superseded_worker_leaves(scenario: WorkerScenario) -> None:
    await scenario.start()
    [row] = await scenario.world.rows("SELECT incarnation FROM server")

    await scenario.enrolled.register("another", predecessor=row["incarnation"])
    await scenario.world.control.execute("SELECT pg_notify('wharf_heartbeat', '')")

    await wait_until(scenario.left.is_set)


async def test_a_server_that_is_not_enrolled_does_not_start(tmp_path: Path) -> None:
    state = StateDirectory.open(tmp_path)

    with pytest.raises(SetupError, match="has not joined yet"):
        start_worker(state, Handlers().open, lambda: None)

    state.close()


async def test_a_failed_start_closes_its_resources(scenario: WorkerScenario) -> None:
    await scenario.world.api.execute("UPDATE server SET removed_at = now()")

    with pytest.raises(SetupError, match="removed"):
        await scenario.start()

    assert scenario.handlers.closed
    assert "loop" not in {thread.name for thread in threading.enumerate()}
