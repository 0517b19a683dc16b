"""Control processes that deliver: beside all else that they do, and over the death of one."""

import asyncio
from pathlib import Path

from shared.database import open_pool
from tests.waiting import wait_until
from tests.worker.control.endpoints import (
    add_webhook,
    deliver,
    end_job,
    make_deliveries,
    make_due,
    open_endpoint,
    rows,
)
from tests.worker.control.plane import Plane
from worker.local.processes import free_port


async def test_a_running_control_delivers_also_what_waited_for_a_receiver(plane: Plane) -> None:
    world = plane.world
    server = await world.add_server()
    port = free_port()
    await add_webhook(world, f"http://127.0.0.1:{port}/")
    waited = await end_job(world, server.server_id)

    async with plane.open_control():

        async def has_failed() -> bool:
            return [row["code"] for row in await rows(world)] == ["conn_refused"]

        await wait_until(has_failed)
        async with open_endpoint(port=port) as endpoint:
            await make_due(world)
            await endpoint.wait_for(1)
            fresh = await end_job(world, server.server_id)
            messages = await endpoint.wait_for(2, seconds=2)

    assert [message.content["data"]["jobId"] for message in messages] == [waited, fresh]


async def test_endpoints_that_hang_keep_no_job_waiting(plane: Plane) -> None:
    world = plane.world
    server = await world.add_server()
    hangs = asyncio.Event()
    async with open_endpoint() as endpoint:

        async def hang() -> None:
            await hangs.wait()

        endpoint.begins = hang
        async with plane.open_control():
            for number in range(20):
                await add_webhook(world, f"{endpoint.url}&number={number}")
            for _ in range(3):
                await end_job(world, server.server_id)
            await endpoint.wait_for(32)
            job_id = await world.submit(server)
            await plane.wait_for_message(server, job_id, seconds=2)
            assert len(endpoint.messages) == 32
            hangs.set()
            await endpoint.wait_for(60)


async def test_a_delivery_of_a_control_process_that_died_is_sent_again_under_the_same_id(
    plane: Plane, tmp_path: Path
) -> None:
    world = plane.world
    server = await world.add_server()
    control = plane.start_process(tmp_path / "control.log")
    try:
        async with open_endpoint() as endpoint:

            async def kill() -> None:
                control.kill()

            endpoint.begins = kill
            await add_webhook(world, endpoint.url)
            await end_job(world, server.server_id)
            await endpoint.wait_for(1)
            endpoint.begins = None
            async with open_pool(world.database.url("wharf_control")) as pool:
                other = make_deliveries(world, pool)
                await deliver(other)
                before = len(endpoint.messages)
                await make_due(world)  # its lease is over
                await deliver(other)
    finally:
        control.kill()

    assert before == 1
    assert len({message.id for message in endpoint.messages}) == 1
    assert len(endpoint.messages) == 2
    [row] = await rows(world)
    assert (row["attempts"], row["status"]) == (2, 200)
