"""Ended jobs are counted once, by kind, outcome and code, and stay counted."""

import asyncio
import re
from pathlib import Path
from typing import Any

from shared.faults import FaultCode
from shared.jobs.store.cancel import cancel
from tests.world import PULL, EnrolledServer, World
from worker.control.maintenance import job_statistics
from worker.control.maintenance.job_statistics import count_ended_jobs, known_codes

ROOT = Path(job_statistics.__file__).parents[3]


async def finish(world: World, server: EnrolledServer, **report: Any) -> None:
    """Run a pull to its end, with the rights of a worker."""
    job_id = await world.run(server, command=PULL)
    answer = await server.call("finish", "first", job_id=job_id, attempt=1, **report)
    assert answer["status"] == "recorded"


async def succeed(world: World, server: EnrolledServer, moved_bytes: int = 0) -> None:
    progress = {"current_bytes": moved_bytes}
    await finish(world, server, outcome="succeeded", result={}, progress=progress)


async def fail(world: World, server: EnrolledServer, code: str) -> None:
    error = {"code": code, "message": "x", "retryable": False}
    await finish(world, server, outcome="failed", error=error)


async def counts(world: World) -> dict[tuple[str, str], int]:
    rows = await world.rows("SELECT state, code, jobs FROM job_count")
    return {(row["state"], row["code"]): row["jobs"] for row in rows}


async def test_jobs_are_counted_once_by_outcome_and_code(world: World) -> None:
    server = await world.add_server()
    for _ in range(2):
        await succeed(world, server, 500)
    await fail(world, server, "pull_denied")
    await cancel(world.control, await world.submit(server), world.organization_id, "not wanted")

    for _ in range(2):
        await count_ended_jobs(world.control)

    assert await counts(world) == {
        ("succeeded", ""): 2,
        ("failed", "pull_denied"): 1,
        ("cancelled", "cancelled"): 1,
    }
    assert await world.rows("SELECT sum(moved_bytes)::int FROM job_count") == [{"sum": 1000}]
    assert await world.rows("SELECT job_id FROM job_ended") == []


async def test_a_code_that_is_not_ours_counts_as_other(world: World) -> None:
    server = await world.add_server()
    for code in ('x"} evil 1', "y" * 300, "unheard_of"):
        await fail(world, server, code)

    await count_ended_jobs(world.control)

    assert await counts(world) == {("failed", "other"): 3}


async def test_waiting_and_run_times_are_those_of_jobs_that_ran(world: World) -> None:
    server = await world.add_server()
    job_id = await world.run(server)
    await world.owner.execute(
        "UPDATE job SET started_at = now() - interval '2 seconds',"
        " run_at = now() - interval '22 seconds'"
    )
    await server.call("finish", "first", job_id=job_id, attempt=1, outcome="succeeded", result={})
    await cancel(world.control, await world.submit(server), world.organization_id, "not wanted")

    await count_ended_jobs(world.control)

    rows = await world.rows("SELECT phase, up_to, jobs FROM job_duration ORDER BY phase")
    assert [tuple(row.values()) for row in rows] == [("running", 2.5, 1), ("waiting", 30.0, 1)]


async def test_a_job_that_is_retried_has_not_ended(world: World) -> None:
    server = await world.add_server()
    error = {"code": "conn_reset", "message": "x", "retryable": True}
    await finish(world, server, outcome="failed", error=error)

    await count_ended_jobs(world.control)

    assert await counts(world) == {}


async def test_replicas_count_each_job_once(world: World) -> None:
    server = await world.add_server()
    for _ in range(5):
        await succeed(world, server)
    others = [await world.connect("wharf_control") for _ in range(3)]

    await asyncio.gather(*(count_ended_jobs(each, batch=2) for each in others))

    assert await counts(world) == {("succeeded", ""): 5}


async def test_a_full_batch_is_followed_at_once(world: World) -> None:
    await succeed(world, await world.add_server())

    assert await count_ended_jobs(world.control, batch=1) == 0
    assert await count_ended_jobs(world.control, batch=1) is None


def test_every_code_that_the_store_of_jobs_gives_is_known() -> None:
    sources = [*ROOT.glob("shared/jobs/**/*.sql"), *ROOT.glob("shared/jobs/store/*.py")]
    texts = [source.read_text() for source in sources]
    given = {code for text in texts for code in re.findall(r"'code', '([a-z_]+)'", text)}

    assert given
    assert given <= known_codes()
    assert {str(code) for code in FaultCode} <= known_codes()
