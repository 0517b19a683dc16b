"""The worker's calls over one connection, on links that break, hang or drop packets."""

import asyncio
import time
from collections.abc import AsyncIterator

import psycopg
import pytest

from shared.jobs.states import Outcome
from tests.proxies import Proxy, open_proxy
from tests.world import EnrolledServer, World
from worker.jobs.functions import AttemptHeartbeat, DatabaseAway, Functions


@pytest.fixture
async def enrolled(world: World) -> EnrolledServer:
    return await world.add_server()


@pytest.fixture
async def proxy(world: World) -> AsyncIterator[Proxy]:
    async with open_proxy(("127.0.0.1", world.database.server.port)) as opened:
        yield opened


@pytest.fixture
def functions(world: World, enrolled: EnrolledServer, proxy: Proxy) -> Functions:
    """Open calls through the proxy with a timeout of half a second."""
    url = f"postgresql://{proxy.host}/{world.database.name}"
    return enrolled.functions("first", url=url, call_seconds=0.5)


async def test_a_cut_connection_is_opened_again_at_the_next_call(
    world: World, functions: Functions
) -> None:
    await functions.heartbeat([])
    with world.database.server.administer() as superuser:
        superuser.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename LIKE %s",
            ("wharf\\_server\\_%",),
        )

    with pytest.raises(DatabaseAway):
        await functions.heartbeat([])

    assert (await functions.heartbeat([])).status == "current"


async def test_a_call_on_a_silent_link_times_out(functions: Functions, proxy: Proxy) -> None:
    await functions.heartbeat([])
    proxy.stall_after_bytes = 0

    begun = time.monotonic()
    for _ in range(2):  # on the open connection, and on one that is to be opened
        with pytest.raises(DatabaseAway):
            await functions.heartbeat([])

    assert time.monotonic() - begun < 2
    proxy.stall_after_bytes = None
    assert (await functions.heartbeat([])).status == "current"


async def test_a_cancelled_call_closes_its_connection(functions: Functions, proxy: Proxy) -> None:
    await functions.heartbeat([])
    proxy.stall_after_bytes = 0
    calling = asyncio.create_task(functions.heartbeat([]))
    await asyncio.sleep(0)

    begun = time.monotonic()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling

    assert time.monotonic() - begun < 0.4
    proxy.stall_after_bytes = None
    assert (await functions.claim("nothing", 1)).status == "fenced"


async def test_concurrent_calls_share_one_connection(functions: Functions, proxy: Proxy) -> None:
    answers = await asyncio.gather(*(functions.heartbeat([]) for _ in range(20)))

    assert {answer.status for answer in answers} == {"current"}
    assert proxy.connections == 1


async def test_closing_does_not_wait_for_a_silent_link(functions: Functions, proxy: Proxy) -> None:
    await functions.heartbeat([])
    proxy.stall_after_bytes = 0

    async with asyncio.timeout(0.4):
        await functions.close()


async def test_text_that_the_database_cannot_hold_fails_no_heartbeat(
    world: World, enrolled: EnrolledServer, functions: Functions
) -> None:
    job_id = await world.run(enrolled)
    odd = {"layer\0": ["a\0b", "\ud800"], "speed": float("nan"), "count": 1, "done": None}

    answer = await functions.heartbeat([AttemptHeartbeat(job_id=job_id, attempt=1, progress=odd)])

    assert [held.job_id for held in answer.jobs] == [job_id]
    progress = (await world.job(job_id))["progress"]
    assert progress == {"layer?": ["a?b", "?"], "speed": None, "count": 1, "done": None}


async def test_text_that_the_database_cannot_hold_fails_no_result(
    world: World, enrolled: EnrolledServer, functions: Functions
) -> None:
    job_id = await world.run(enrolled)
    error = {"code": "engine_refused", "message": "bad\0byte \udc80", "retryable": False}

    answer = await functions.finish(job_id, 1, Outcome.FAILED, error=error)

    assert answer.status == "recorded"
    assert (await world.job(job_id))["error"]["message"] == "bad?byte ?"


async def test_an_event_is_written(
    world: World, enrolled: EnrolledServer, functions: Functions
) -> None:
    job_id = await world.run(enrolled)

    await functions.event(job_id, 1, 1, "log", {"line": "pulling"})

    [event] = await world.rows("SELECT data FROM job_event WHERE kind = 'log'")
    assert event["data"] == {"line": "pulling"}


async def test_a_repeated_event_is_stored_once(
    world: World, enrolled: EnrolledServer, functions: Functions
) -> None:
    job_id = await world.run(enrolled)

    for number, line in ((1, "one"), (1, "one"), (2, "two"), (4, "four"), (2, "two")):
        await functions.event(job_id, 1, number, "log", {"line": line})

    events = await world.rows("SELECT seq, data FROM job_event WHERE kind = 'log' ORDER BY seq")
    assert [event["data"]["line"] for event in events] == ["one", "two", "four"]
    assert [event["seq"] for event in events] == [events[0]["seq"] + step for step in range(3)]


async def test_events_without_numbers_are_all_stored(
    world: World, enrolled: EnrolledServer, functions: Functions
) -> None:
    job_id = await world.run(enrolled)
    uncounted = {"job_id": job_id, "attempt": 1, "kind": "log", "data": {}}

    for _ in range(2):
        assert (await enrolled.call("event", "first", **uncounted))["status"] == "recorded"

    assert len(await world.rows("SELECT 1 FROM job_event WHERE kind = 'log'")) == 2


async def test_the_password_is_in_no_error(world: World, enrolled: EnrolledServer) -> None:
    functions = enrolled.functions("first", url="postgresql://127.0.0.1:1/wharf")

    with pytest.raises(psycopg.OperationalError) as caught:
        await functions.heartbeat([])

    assert enrolled.password.get_secret_value() not in str(caught.value)
