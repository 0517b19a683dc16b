"""Messages of webhooks: sent, signed, tried again, given up, and in nobody's way."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

import pytest

from shared.database import Pool, open_pool
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
from tests.world import EnrolledServer, World
from worker.control.webhooks.deliveries import MAX_CONCURRENT, MAX_PER_WEBHOOK, PAUSES, Deliveries
from worker.oci.transport.settings import Deadlines


@pytest.fixture
async def pool(world: World) -> AsyncIterator[Pool]:
    async with open_pool(world.database.url("wharf_control")) as pool:
        yield pool


@pytest.fixture
async def deliveries(world: World, pool: Pool) -> AsyncIterator[Deliveries]:
    made = make_deliveries(world, pool)
    yield made
    await made.close()


@pytest.fixture
async def server(world: World) -> EnrolledServer:
    return await world.add_server()


async def test_the_end_of_a_job_is_sent_once_signed_as_the_standard_says(
    world: World, server: EnrolledServer, deliveries: Deliveries
) -> None:
    async with open_endpoint() as endpoint:
        await add_webhook(world, endpoint.url)
        job_id = await end_job(world, server.server_id)
        await deliver(deliveries)
        await deliver(deliveries)

    [message] = endpoint.messages
    assert message.path == "/hook?by=wharf"
    assert message.headers["content-type"] == "application/json"
    assert message.headers["webhook-signature"] == message.signature()
    assert abs(int(message.headers["webhook-timestamp"]) - time.time()) < 10
    assert list(message.content) == ["type", "timestamp", "data"]
    assert message.content["data"]["jobId"] == job_id
    [row] = await rows(world)
    assert (row["delivery_id"], row["status"], row["attempts"]) == (message.id, 200, 1)
    assert row["delivered_at"] is not None


async def test_a_refused_delivery_is_sent_again_unchanged_under_the_same_id(
    world: World, server: EnrolledServer, deliveries: Deliveries
) -> None:
    async with open_endpoint(500, 429, 204) as endpoint:
        await add_webhook(world, endpoint.url)
        await end_job(world, server.server_id)
        for _ in range(3):
            await deliver(deliveries)
            await deliver(deliveries)  # nothing is due before its pause is over
            await make_due(world)

    assert len(endpoint.messages) == 3
    assert len({(message.id, message.body) for message in endpoint.messages}) == 1
    assert all(m.headers["webhook-signature"] == m.signature() for m in endpoint.messages)
    [row] = await rows(world)
    assert (row["status"], row["attempts"], row["due_at"]) == (204, 3, None)


async def test_pauses_grow_and_after_a_day_it_is_given_up(
    world: World, server: EnrolledServer, deliveries: Deliveries
) -> None:
    pauses = []
    async with open_endpoint(503) as endpoint:
        await add_webhook(world, endpoint.url)
        await end_job(world, server.server_id)
        for _ in PAUSES:
            await deliver(deliveries)
            [row] = await world.rows("SELECT due_at - now() AS pause FROM webhook_delivery")
            pauses.append(row["pause"])
            await make_due(world)
        await deliver(deliveries)
        await deliver(deliveries)

    second = timedelta(seconds=1)
    for pause, wanted in zip(pauses, PAUSES, strict=True):
        assert wanted - second < pause < wanted * 1.1
    assert timedelta(hours=23) < sum(PAUSES, timedelta()) < timedelta(hours=25)
    [row] = await rows(world)
    assert (row["attempts"], row["status"], row["due_at"]) == (len(PAUSES) + 1, 503, None)
    assert row["failed_at"] is not None
    assert len(endpoint.messages) == len(PAUSES) + 1


async def test_a_defect_of_ours_is_an_attempt_that_failed(
    world: World, server: EnrolledServer, pool: Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    deliveries = make_deliveries(world, pool, pauses=PAUSES[:1])
    async with open_endpoint() as endpoint:
        await add_webhook(world, endpoint.url)
        await end_job(world, server.server_id)
        await world.owner.execute("UPDATE webhook_delivery SET payload = '{\"unheard\": 1}'")
        await deliver(deliveries)
        [first] = await rows(world)
        await make_due(world)
        await deliver(deliveries)

    [last] = await rows(world)
    assert (first["code"], first["attempts"], first["failed_at"]) == ("internal", 1, None)
    assert (last["code"], last["attempts"], last["due_at"]) == ("internal", 2, None)
    assert last["failed_at"] is not None
    logged = capsys.readouterr().out
    assert "KeyError" in logged and "unheard" not in logged


async def test_a_removed_endpoint_gets_nothing_any_more(
    world: World, server: EnrolledServer, deliveries: Deliveries
) -> None:
    async with open_endpoint(410) as endpoint:
        await add_webhook(world, endpoint.url)
        await end_job(world, server.server_id)
        await deliver(deliveries)
        await end_job(world, server.server_id)
        await deliver(deliveries)

    assert len(endpoint.messages) == 1
    [webhook] = await world.rows("SELECT disabled_at, disabled_code FROM webhook")
    assert webhook["disabled_at"] is not None
    assert webhook["disabled_code"] == "gone"
    [row] = await rows(world)
    assert (row["status"], row["failed_at"] is None) == (410, False)


async def test_a_slow_endpoint_keeps_others_from_nothing(
    world: World, server: EnrolledServer, deliveries: Deliveries
) -> None:
    hangs = asyncio.Event()
    async with open_endpoint() as slow, open_endpoint() as quick:

        async def hang() -> None:
            await hangs.wait()

        slow.begins = hang
        await add_webhook(world, slow.url)
        for _ in range(3 * MAX_PER_WEBHOOK):
            await end_job(world, server.server_id)
        await deliveries.send(deliveries.pool)
        await slow.wait_for(MAX_PER_WEBHOOK)
        await add_webhook(world, quick.url)
        await end_job(world, server.server_id)
        await deliveries.send(deliveries.pool)
        await quick.wait_for(1)
        assert len(slow.messages) == MAX_PER_WEBHOOK
        hangs.set()
        for _ in range(4):
            await deliver(deliveries)

    assert len({message.id for message in slow.messages}) == 3 * MAX_PER_WEBHOOK + 1


async def test_a_free_slot_goes_to_the_endpoint_with_the_fewest(
    world: World, server: EnrolledServer, deliveries: Deliveries
) -> None:
    leave = asyncio.Semaphore(0)
    await world.owner.execute("INSERT INTO organization VALUES ('other', 'other')")
    async with open_endpoint() as slow, open_endpoint() as quick:

        async def hang() -> None:
            await leave.acquire()

        slow.begins = hang
        for _ in range(10):
            await add_webhook(world, slow.url)
        for _ in range(MAX_PER_WEBHOOK + 1):
            await end_job(world, server.server_id)
        await deliveries.send(deliveries.pool)
        await slow.wait_for(MAX_CONCURRENT)
        await add_webhook(world, quick.url, organization_id="other")
        await world.owner.execute("SELECT webhook_add('other', 'job.ended', 'a', now(), '{}')")
        leave.release()
        await wait_until(lambda: len(deliveries._sending) < MAX_CONCURRENT)
        await deliveries.send(deliveries.pool)
        await quick.wait_for(1)
        assert len(slow.messages) == MAX_CONCURRENT
        for _ in range(MAX_CONCURRENT):
            leave.release()
        await wait_until(lambda: not deliveries._sending)


@dataclass
class SlowNames:
    """Resolve as a machine does: ``hooks.example`` is here; for others it blocks."""

    answers: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    requested: list[str] = field(default_factory=list)

    def look_up(self, hostname: str) -> tuple[str, ...]:
        if hostname != "hooks.example":
            self.requested.append(hostname)
            self.answers.acquire(timeout=30)
        return ("127.0.0.1",)


@pytest.fixture
async def names(world: World, pool: Pool) -> AsyncIterator[tuple[SlowNames, Deliveries]]:
    """Names of which some are slow, and who waits for them a tenth of a second."""
    names = SlowNames()
    deadlines = Deadlines(dns=timedelta(seconds=0.1))
    deliveries = make_deliveries(world, pool, deadlines, look_up=names.look_up)
    yield names, deliveries
    names.answers.release(2 * MAX_CONCURRENT)
    await deliveries.close()


async def add_slow(world: World, server: EnrolledServer, *, many: int) -> None:
    for number in range(many):
        await add_webhook(world, f"https://slow-{number}.example/")
    for _ in range(2 * MAX_PER_WEBHOOK):
        await end_job(world, server.server_id)


async def test_a_name_that_hangs_keeps_the_places_of_its_own_webhook_and_no_thread_of_others(
    world: World, server: EnrolledServer, names: tuple[SlowNames, Deliveries]
) -> None:
    slow, deliveries = names
    common = ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(common)
    await add_slow(world, server, many=1)
    for _ in range(3):
        await deliveries.send(deliveries.pool)
        await wait_until(partial(has_failed, world, MAX_PER_WEBHOOK))
        await make_due(world)
    async with open_endpoint() as endpoint:
        await add_webhook(world, endpoint.url.replace("127.0.0.1", "hooks.example"))
        await end_job(world, server.server_id)
        await deliveries.send(deliveries.pool)
        await endpoint.wait_for(1)
        async with asyncio.timeout(5):
            await asyncio.to_thread(time.monotonic)

    assert len(slow.requested) == MAX_PER_WEBHOOK


async def test_a_place_that_a_slow_name_leaves_is_given_to_who_has_least(
    world: World, server: EnrolledServer, names: tuple[SlowNames, Deliveries]
) -> None:
    slow, deliveries = names
    await world.owner.execute("INSERT INTO organization VALUES ('other', 'other')")
    await add_slow(world, server, many=MAX_CONCURRENT // MAX_PER_WEBHOOK + 1)
    await deliveries.send(deliveries.pool)
    await wait_until(partial(has_failed, world, MAX_CONCURRENT))
    await make_due(world)
    async with open_endpoint() as endpoint:
        url = endpoint.url.replace("127.0.0.1", "hooks.example")
        await add_webhook(world, url, organization_id="other")
        await world.owner.execute("SELECT webhook_add('other', 'job.ended', 'a', now(), '{}')")
        slow.answers.release()
        await wait_until(lambda: len(deliveries._sending) < MAX_CONCURRENT)
        await deliveries.send(deliveries.pool)
        await endpoint.wait_for(1)

    assert len(slow.requested) == MAX_CONCURRENT


async def has_failed(world: World, many: int) -> bool:
    return len([row for row in await rows(world) if row["code"] == "dns_failure"]) >= many


async def test_a_delivery_that_could_not_be_recorded_is_sent_again_under_the_same_id(
    world: World, server: EnrolledServer, deliveries: Deliveries
) -> None:
    async with open_endpoint() as endpoint:
        await add_webhook(world, endpoint.url)
        await end_job(world, server.server_id)
        async with open_pool(world.database.url("wharf_control")) as pool:
            endpoint.begins = pool.close
            await deliver(make_deliveries(world, pool))
        endpoint.begins = None
        [unnoted] = await rows(world)
        await make_due(world)  # its lease is over
        await deliver(deliveries)

    assert (unnoted["attempts"], unnoted["status"]) == (1, None)
    assert len({message.id for message in endpoint.messages}) == 1
    assert len(endpoint.messages) == 2
    [row] = await rows(world)
    assert (row["attempts"], row["status"]) == (2, 200)


async def test_replicas_send_each_message_once(
    world: World, server: EnrolledServer, pool: Pool
) -> None:
    replicas = [make_deliveries(world, pool) for _ in range(3)]
    async with open_endpoint() as endpoint:
        await add_webhook(world, endpoint.url)
        for _ in range(12):
            await end_job(world, server.server_id)
        while len(endpoint.messages) < 12:
            await asyncio.gather(*(deliver(replica) for replica in replicas))

    assert len({message.id for message in endpoint.messages}) == len(endpoint.messages) == 12
