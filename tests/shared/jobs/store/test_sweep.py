import asyncio
from datetime import timedelta

import psycopg
import pytest

from shared.jobs.store.sweep import sweep
from tests.world import World

SECOND = timedelta(seconds=1)
FAILED = {"code": "x", "message": "x", "remedy": "", "retryable": False}


async def test_an_unclaimed_job_is_published_again_after_three_seconds(world: World) -> None:
    server = await world.add_server()
    job_id = await world.dispatch(server)

    assert await world.sweep() == []
    await world.pass_time(job_id, 4 * SECOND)
    [message] = await world.sweep()

    assert (message.job_id, message.server_id, message.kind, message.attempt) == (
        job_id,
        server.server_id,
        "image.tag",
        1,
    )
    assert await world.sweep() == []


async def test_a_running_job_is_not_rung_for(world: World) -> None:
    job_id = await world.run(await world.add_server())
    await world.pass_time(job_id, 4 * SECOND)

    assert await world.sweep() == []


async def test_a_new_worker_is_rung_at_once_for_what_the_old_one_had_not_claimed(
    world: World,
) -> None:
    server = await world.add_server()
    job_id = await world.dispatch(server)

    await server.register("second", predecessor="first")

    assert [message.job_id for message in await world.sweep()] == [job_id]


async def test_an_unclaimed_job_of_a_server_that_is_away_is_called_back(world: World) -> None:
    server = await world.add_server()
    job_id = await world.dispatch(server)
    await world.make_offline(server)

    assert await world.sweep() == []

    job = await world.job(job_id)
    assert (job["state"], job["attempt"], job["failures"]) == ("queued", 1, 0)
    [attempt] = await world.rows("SELECT outcome FROM job_attempt")
    assert attempt["outcome"] == "returned"


async def test_a_late_claim_of_what_was_called_back_is_fenced(world: World) -> None:
    server = await world.add_server()
    job_id = await world.dispatch(server)
    await world.make_offline(server)
    await world.sweep()

    answer = await server.call("claim", "first", job_id=job_id, attempt=1)

    assert answer["status"] == "fenced"


async def test_a_lease_that_ran_out_is_a_failure_and_the_job_waits_seconds(world: World) -> None:
    job_id = await world.run(await world.add_server())
    await world.pass_time(job_id, 16 * SECOND)

    await world.sweep()

    job = await world.job(job_id)
    assert (job["state"], job["failures"], job["error"]["code"]) == ("queued", 1, "worker_lost")
    [row] = await world.rows("SELECT run_at - now() AS left FROM job")
    assert SECOND < row["left"] <= 3 * SECOND
    [attempt] = await world.rows("SELECT outcome, error FROM job_attempt")
    assert (attempt["outcome"], attempt["error"]["code"]) == ("lost", "worker_lost")


async def test_a_job_whose_worker_is_lost_again_and_again_fails(world: World) -> None:
    server = await world.add_server()
    job_id = await world.submit(server)

    for attempt in (1, 2, 3):
        await world.pass_time(job_id, 20 * SECOND)
        assert [job.job_id for job in await world.release()] == [job_id]
        await server.call("claim", "first", job_id=job_id, attempt=attempt)
        await world.pass_time(job_id, 20 * SECOND)
        await world.sweep()

    job = await world.job(job_id)
    assert (job["state"], job["failures"], job["attempt"]) == ("failed", 3, 3)


async def test_a_job_that_waits_beyond_its_deadline_expires(world: World) -> None:
    server = await world.add_server()
    queued = await world.submit(server, deadline=10 * SECOND)
    dispatched = await world.dispatch(server, deadline=10 * SECOND)
    running = await world.run(server, deadline=10 * SECOND)
    for job_id in (queued, dispatched, running):
        await world.pass_time(job_id, 11 * SECOND)

    await world.sweep()

    assert await world.state(queued) == await world.state(dispatched) == "expired"
    assert (await world.job(queued))["error"]["code"] == "deadline_passed"
    assert await world.state(running) == "running"


@pytest.mark.parametrize(
    ("on_state", "outcome", "after"),
    [
        ("succeeded", "failed", "cancelled"),
        ("failed", "succeeded", "cancelled"),
        ("succeeded", "succeeded", "queued"),
        ("failed", "failed", "queued"),
        ("ended", "failed", "queued"),
        ("ended", "succeeded", "queued"),
    ],
)
async def test_a_job_whose_need_can_no_longer_be_met_is_cancelled(
    world: World, on_state: str, outcome: str, after: str
) -> None:
    server = await world.add_server()
    needed = await world.run(server)
    waiting = await world.submit(server, needs=[needed])
    await world.owner.execute("UPDATE job_need SET on_state = %s", (on_state,))
    document = {"job_id": needed, "attempt": 1, "outcome": outcome, "error": FAILED}
    await server.call("finish", "first", **document)

    await world.sweep()

    job = await world.job(waiting)
    assert job["state"] == after
    assert (job["error"] or {}).get("code") == ("need_not_met" if after == "cancelled" else None)


async def test_a_job_that_was_not_started_shows_the_cause_of_the_job_before_it(
    world: World,
) -> None:
    server = await world.add_server()
    needed = await world.run(server)
    waiting = await world.submit(server, needs=[needed])
    document = {"job_id": needed, "attempt": 1, "outcome": "failed", "error": FAILED}
    await server.call("finish", "first", **document)

    await world.sweep()

    error = (await world.job(waiting))["error"]
    kind = (await world.job(needed))["kind"]
    assert error["message"] == (
        f"it was not started: the {kind} before it (job {needed}) failed: {FAILED['message']}"
    )
    assert error["remedy"] == "Read the events of that job."


async def test_a_need_that_is_added_later_counts_as_well(world: World) -> None:
    server = await world.add_server()
    needed, waiting = await world.run(server), await world.submit(server)
    await world.api.execute(
        "INSERT INTO job_need (job_id, needs_job_id) VALUES (%s, %s)", (waiting, needed)
    )

    assert await world.release() == []
    document = {"job_id": needed, "attempt": 1, "outcome": "failed", "error": FAILED}
    await server.call("finish", "first", **document)
    await world.sweep()

    assert await world.state(waiting) == "cancelled"


async def test_a_chain_of_needs_falls_link_by_link(world: World) -> None:
    server = await world.add_server()
    chain = [await world.submit(server)]
    for _ in range(3):
        chain.append(await world.submit(server, needs=[chain[-1]]))
    await world.owner.execute("UPDATE job SET deadline_at = now() WHERE job_id = %s", chain[:1])

    for _ in range(3):
        await world.sweep()

    states = [await world.state(job_id) for job_id in chain]
    assert states == ["expired", "cancelled", "cancelled", "cancelled"]


async def test_needs_may_not_form_a_circle(world: World) -> None:
    server = await world.add_server()
    first = await world.submit(server)
    second = await world.submit(server, needs=[first])
    third = await world.submit(server, needs=[second])

    for need in (third, second, first):
        with pytest.raises(psycopg.errors.CheckViolation):
            await world.api.execute(
                "INSERT INTO job_need (job_id, needs_job_id) VALUES (%s, %s)", (first, need)
            )


async def test_the_waiting_jobs_of_a_removed_server_are_cancelled(world: World) -> None:
    server = await world.add_server()
    queued, dispatched = await world.submit(server), await world.dispatch(server)
    await world.api.execute("UPDATE server SET removed_at = now()")

    await world.sweep()

    assert {await world.state(queued), await world.state(dispatched)} == {"cancelled"}
    assert (await world.job(queued))["error"]["code"] == "server_removed"


async def test_the_running_job_of_a_removed_server_ends_with_its_lease(world: World) -> None:
    server = await world.add_server()
    job_id = await world.run(server)
    await world.api.execute("UPDATE server SET removed_at = now()")

    assert (await server.call("heartbeat", "first"))["status"] == "superseded"
    await world.pass_time(job_id, 16 * SECOND)
    await world.sweep()

    assert await world.state(job_id) == "cancelled"


async def test_many_replicas_sweep_at_once_and_each_attempt_is_lost_once(world: World) -> None:
    server = await world.add_server(quick_limit=100)
    jobs = [await world.run(server) for _ in range(30)]
    waiting = [await world.submit(server, needs=[job_id]) for job_id in jobs]
    await world.owner.execute(
        "UPDATE job SET lease_until = now() - interval '1 s' WHERE attempt = 1"
    )
    await world.owner.execute("UPDATE job SET max_failures = 1")
    replicas = [await world.connect("wharf_control") for _ in range(4)]

    for _ in range(2):
        await asyncio.gather(*map(sweep, replicas))

    assert [(await world.job(job_id))["failures"] for job_id in jobs] == [1] * 30
    assert {await world.state(job_id) for job_id in waiting} == {"cancelled"}
