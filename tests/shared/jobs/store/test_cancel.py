import asyncio

import pytest

from shared.ids import make_id
from shared.jobs.states import State
from shared.jobs.store.cancel import cancel
from tests.world import World

WHY = "cancelled by a person"


async def request_cancel(world: World, job_id: str) -> State | None:
    return await cancel(world.api, job_id, world.organization_id, WHY)


async def test_a_waiting_job_ends_at_once_with_the_reason(world: World) -> None:
    server = await world.add_server()
    queued, dispatched = await world.submit(server), await world.dispatch(server)

    assert [await request_cancel(world, queued), await request_cancel(world, dispatched)] == [
        State.CANCELLED
    ] * 2

    job = await world.job(queued)
    assert (job["error"]["code"], job["error"]["message"]) == ("cancelled", WHY)
    [attempt] = await world.rows("SELECT outcome FROM job_attempt WHERE job_id = %s", dispatched)
    assert attempt["outcome"] == "cancelled"


async def test_a_running_job_learns_of_its_cancel_by_the_next_heartbeat(world: World) -> None:
    server = await world.add_server()
    job_id = await world.run(server)

    assert await request_cancel(world, job_id) is State.RUNNING

    jobs = [{"job_id": job_id, "attempt": 1}]
    answer = await server.call("heartbeat", "first", jobs=jobs)
    told = {"cancel": True, "hand_back": False}
    assert answer["jobs"] == [{"job_id": job_id, "attempt": 1, **told}]


async def test_the_worker_of_a_running_job_is_notified(world: World) -> None:
    server = await world.add_server()
    job_id = await world.run(server)
    connection = await server.connect()
    await connection.execute("LISTEN wharf_heartbeat")

    await request_cancel(world, job_id)

    async for notification in connection.notifies(timeout=5, stop_after=1):
        assert notification.payload == server.server_id
        return
    pytest.fail("nobody was notified")


async def test_an_ended_job_is_not_cancelled(world: World) -> None:
    server = await world.add_server()
    job_id = await world.run(server)
    await server.call("finish", "first", job_id=job_id, attempt=1, outcome="succeeded", result={})

    assert await request_cancel(world, job_id) is None
    assert await world.state(job_id) == "succeeded"


async def test_another_organization_cannot_cancel_it(world: World) -> None:
    job_id = await world.submit(await world.add_server())

    assert await cancel(world.api, job_id, make_id(), WHY) is None
    assert await world.state(job_id) == "queued"


async def test_a_cancel_is_recorded_once(world: World) -> None:
    job_id = await world.run(await world.add_server())
    await request_cancel(world, job_id)
    first = (await world.job(job_id))["cancel_requested_at"]

    assert await request_cancel(world, job_id) is State.RUNNING
    assert (await world.job(job_id))["cancel_requested_at"] == first


async def test_a_claim_and_a_cancel_at_once_end_in_one_of_two_ways(world: World) -> None:
    server = await world.add_server()

    for _ in range(20):
        job_id = await world.dispatch(server)
        answer, state = await asyncio.gather(
            server.call("claim", "first", job_id=job_id, attempt=1), request_cancel(world, job_id)
        )
        assert (answer["status"], state) in {
            ("claimed", State.RUNNING),
            ("fenced", State.CANCELLED),
        }
        job = await world.job(job_id)
        assert job["cancel_requested_at"] is not None
        assert job["state"] == state
        await server.call("finish", "first", job_id=job_id, attempt=1, outcome="cancelled")
