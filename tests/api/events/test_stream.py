"""`job.events` on a real socket, a real database, and the functions that a worker calls."""

import asyncio
import re
import socket
from contextlib import AsyncExitStack
from datetime import timedelta

import httpx2
import pytest
from starlette.applications import Starlette

from api.events.feed import Feeds
from api.events.wire import COMMENT
from api.jobs.event_access import Opening
from api.jobs.event_stream import Source, read
from tests.api.asking import ADMIN_KEY, until
from tests.api.events.reading import PATH, add_logs, heartbeat, open_reader, serving
from tests.api.fleet import TestServer
from tests.databases import Database

READERS = 50


async def end_one(server: TestServer) -> str:
    """Run the job that waits to its end: five events."""
    job = await server.next_job()
    await server.event(job, "log", {"a_line": "Pulling"})
    await server.finish(job, "succeeded", result={"reference": "x"})
    return job.job_id


@pytest.mark.parametrize("path", [PATH, "/api/trpc/job.events"])
async def test_a_job_that_has_ended_is_streamed_from_its_beginning(
    client: httpx2.AsyncClient, url: str, job_id: str, server: TestServer, path: str
) -> None:
    await end_one(server)

    async with open_reader(url, job_id, path=path) as reader:
        await reader.to_the_end()

    shown = (await client.get("/api/job.one", params={"jobId": job_id})).json()["events"]
    assert [each.data for each in reader.seen if each.id] == shown
    assert reader.ids == [1, 2, 3, 4, 5]
    assert reader.seen[4].data["data"] == {"aLine": "Pulling"}
    assert reader.response.headers["content-type"].startswith("text/event-stream")
    assert reader.response.headers["cache-control"] == "no-store"


async def test_a_reader_that_comes_back_misses_nothing_and_sees_nothing_twice(
    url: str, job_id: str, server: TestServer
) -> None:
    await end_one(server)

    async with open_reader(url, job_id, last=3) as reader:
        await reader.to_the_end()

    assert reader.ids == [4, 5]


async def test_the_header_is_newer_than_the_address(
    client: httpx2.AsyncClient, job_id: str, server: TestServer
) -> None:
    await end_one(server)
    requested = {"jobId": job_id, "lastEventId": "1"}

    by_address = await client.get(PATH, params=requested)
    by_header = await client.get(PATH, params=requested, headers={"last-event-id": "4"})
    by_input = await client.get(
        "/api/trpc/job.events", params={"input": f'{{"jobId":"{job_id}","lastEventId":4}}'}
    )

    assert by_address.text.count("id: ") == 4
    assert by_header.text.count("id: ") == by_input.text.count("id: ") == 1


async def test_a_reader_that_had_the_end_is_asked_not_to_reconnect(
    client: httpx2.AsyncClient, job_id: str, server: TestServer
) -> None:
    await end_one(server)

    for last in ("5", "77"):
        answer = await client.get(PATH, params={"jobId": job_id}, headers={"last-event-id": last})
        assert (answer.status_code, answer.content) == (204, b"")


async def test_events_are_sent_while_they_happen(url: str, job_id: str, server: TestServer) -> None:
    async with open_reader(url, job_id) as reader:
        await reader.until("snapshot", state="queued")
        job = await server.next_job()
        await reader.until("state", state="running")
        await server.event(job, "log", {"line": "one"})
        await reader.until("log", data={"line": "one"})
        await server.finish(job, "failed", error={"code": "x", "message": "x", "remedy": ""})
        ended = await reader.until("state", state="failed")
        await reader.to_the_end()

    assert reader.ids == [1, 2, 3, 4, 5]
    assert ended.data["data"]["error"]["code"] == "x"
    assert reader.seen[-1] is ended


async def test_snapshots_grow_over_two_attempts_and_have_no_id(
    url: str, job_id: str, server: TestServer
) -> None:
    async with open_reader(url, job_id) as reader:
        job = await server.next_job()
        await heartbeat(server, job_id, 1, 600, 100)
        await reader.until("snapshot", state="running", attempt=1)
        await server.finish(job, "returned")
        await server.next_job()
        for count in (10, 20, 900):
            await heartbeat(server, job_id, 2, count, count)
        while reader.snapshots[-1]["progress"]["currentBytes"] < 1800:
            await reader.until("snapshot", attempt=2)

    bytes_shown = [
        shown["progress"]["currentBytes"] for shown in reader.snapshots if shown["progress"]
    ]
    assert bytes_shown == sorted(bytes_shown)
    assert bytes_shown[0] == 700 and bytes_shown[-1] == 1800
    assert all(each.id is None for each in reader.seen if each.name == "snapshot")


@pytest.mark.parametrize("path", [PATH, "/api/trpc/job.events"])
async def test_a_foreign_job_is_not_found_and_junk_is_refused(
    client: httpx2.AsyncClient,
    stranger: httpx2.AsyncClient,
    job_id: str,
    path: str,
) -> None:
    foreign = await stranger.get(path, params={"jobId": job_id})
    unknown = await client.get(path, params={"jobId": "no-such-job"})
    nobody = await client.get(path, params={"jobId": job_id}, headers={"x-api-key": ""})
    nothing = await client.get(path)
    junk = [
        await client.get(path, params={"jobId": job_id}, headers={"last-event-id": last})
        for last in ("-1", "1.5", "x", "99999999999999999999")
    ]

    assert [foreign.status_code, unknown.status_code, nobody.status_code] == [404, 404, 401]
    assert foreign.json()["message"] == unknown.json()["message"] == "Job not found"
    assert [answer.status_code for answer in (nothing, *junk)] == [400] * 5


async def test_what_would_not_be_read_of_a_request_for_events_is_refused(
    client: httpx2.AsyncClient, job_id: str, server: TestServer
) -> None:
    await end_one(server)
    asked = {"input": f'{{"jobId":"{job_id}"}}'}
    beside = await client.get("/api/trpc/job.events", params={**asked, "lastEventId": "4"})
    body = await client.request(
        "GET", "/api/trpc/job.events", params=asked, json={"lastEventId": 4}
    )

    for answer in (beside, body):
        assert answer.status_code == 400
        assert answer.json()["data"]["cause"]["code"] == "no_effect"


async def test_the_end_is_sent_after_the_events_were_pruned(
    url: str, job_id: str, server: TestServer, database: Database
) -> None:
    await end_one(server)
    [[stored]] = database.execute("SELECT data FROM job_event WHERE seq = 5")
    database.execute("DELETE FROM job_event")

    async with open_reader(url, job_id) as reader:
        await reader.to_the_end()

    assert reader.ids == [5]
    assert (reader.seen[-1].data["state"], reader.seen[-1].data["data"]) == ("succeeded", stored)


async def test_a_job_that_is_pruned_while_it_is_watched_ends_the_stream(
    url: str, job_id: str, database: Database
) -> None:
    async with open_reader(url, job_id) as reader:
        await reader.until("snapshot", state="queued")
        database.execute("DELETE FROM job")
        await reader.to_the_end()

    assert reader.ids == [1]


async def test_many_readers_of_one_job_see_the_same_by_one_listener(
    app: Starlette, url: str, job_id: str, server: TestServer, database: Database
) -> None:
    feeds: Feeds = app.state.resources.feeds
    async with AsyncExitStack() as stack:
        readers = [
            await stack.enter_async_context(open_reader(url, job_id)) for _ in range(READERS)
        ]
        reading = [asyncio.create_task(reader.to_the_end()) for reader in readers]
        await until(lambda: feeds.reader_count == READERS)
        job = await server.next_job()
        for number in range(20):
            await server.event(job, "log", {"number": number})
        listeners = count_listeners(database)
        await server.finish(job, "succeeded", result={})
        await asyncio.gather(*reading)

    assert listeners == 1
    assert {tuple(reader.ids) for reader in readers} == {tuple(range(1, 25))}
    await until(lambda: feeds.reader_count == 0)


async def test_a_slow_reader_is_not_queued_for_and_misses_no_event(
    app: Starlette, url: str, job_id: str, server: TestServer, database: Database
) -> None:
    feeds: Feeds = app.state.resources.feeds
    job = await server.next_job()
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        line.sendall(
            f"GET {PATH}?jobId={job_id} HTTP/1.1\r\nhost: x\r\nx-api-key: {ADMIN_KEY}\r\n"
            "connection: close\r\n\r\n".encode()
        )
        await until(lambda: feeds.reader_count == 1)
        for _ in range(10):
            add_logs(database, job_id, 100, size_bytes=15_000)
        async with open_reader(url, job_id, last=900) as quick:
            await quick.until("log", seq=1003)
        [feed] = feeds._feeds.values()
        kept = sum(len(event.text) for event in feed.recent)
        await server.finish(job, "succeeded", result={})
        text = await asyncio.to_thread(read_all, line)

    numbers = [int(number) for number in re.findall(rb"^id: (\d+)\n", text, re.MULTILINE)]
    assert numbers == list(range(1, 1005))
    assert kept < 2_000_000 < len(text)


def count_listeners(database: Database) -> int:
    """Connections of the API to this database that said LISTEN last."""
    with database.server.administer() as connection:
        found = connection.execute(
            b"SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
            b" AND usename = 'wharf_api' AND (query LIKE 'LISTEN%%' OR query = 'SELECT 1')",
            [database.name],
        ).fetchone()
    assert found is not None
    return int(found[0])


def read_all(line: socket.socket) -> bytes:
    line.settimeout(20)
    parts = []
    while part := line.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


async def test_a_stream_survives_the_loss_of_its_listener_and_of_its_pool(
    url: str, job_id: str, server: TestServer, database: Database
) -> None:
    async with open_reader(url, job_id) as reader:
        job = await server.next_job()
        await reader.until("state", state="running")
        with database.server.administer() as connection:
            connection.execute(
                b"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                b" WHERE datname = %s AND usename = 'wharf_api'",
                [database.name],
            )
        await server.finish(job, "succeeded", result={})
        await reader.to_the_end()

    assert reader.ids == [1, 2, 3, 4]


async def test_forged_notifications_change_nothing(
    app: Starlette, url: str, job_id: str, server: TestServer, database: Database
) -> None:
    async with open_reader(url, job_id) as reader:
        await reader.until("snapshot", state="queued")
        for channel in ("wharf_job", "wharf_progress"):
            for payload in ("", job_id, server.server_id, "'; DROP TABLE job; --", "x" * 7000):
                database.execute("SELECT pg_notify(%s, %s)", channel, payload)
        await end_one(server)
        await reader.to_the_end()

    assert reader.ids == [1, 2, 3, 4, 5]


async def test_a_quiet_line_is_kept_alive_with_comments(app: Starlette, job_id: str) -> None:
    held = app.state.resources
    source = Source(held.feeds, held.readers, held.pool, comment_every=timedelta(milliseconds=20))
    opening = Opening(job_id=job_id, after=0, is_over=False, organization_id="org", key_id="key")

    stream = read(source, opening)
    async with asyncio.timeout(10):
        async for text in stream:
            if text == COMMENT:
                break
    await stream.aclose()  # type: ignore[attr-defined]


async def test_streams_end_in_order_when_the_process_stops(
    app: Starlette, job_id: str, server: TestServer
) -> None:
    loop = asyncio.get_running_loop()
    async with serving(app) as (process, url), open_reader(url, job_id) as reader:
        await reader.until("snapshot", state="queued")
        begun = loop.time()
        process.should_exit = True
        await reader.to_the_end()
        took = loop.time() - begun

    assert took < 3
    assert reader.ids == [1]


async def test_a_process_that_stops_or_is_full_takes_no_new_reader(
    app: Starlette, client: httpx2.AsyncClient, job_id: str
) -> None:
    app.state.resources.feeds.leave()

    answer = await client.get(PATH, params={"jobId": job_id})

    assert (answer.status_code, answer.json()["data"]["cause"]["code"]) == (503, "busy")
    assert answer.headers["retry-after"] == "1"


async def test_a_key_with_its_share_of_streams_is_refused_and_another_key_is_served(
    app: Starlette, url: str, client: httpx2.AsyncClient, job_id: str
) -> None:
    places = app.state.resources.readers.limit
    places.per_key = 2
    other = (await client.post("/api/apiKey.create", json={"name": "x"})).json()["key"]
    async with open_reader(url, job_id), open_reader(url, job_id):
        refused = await client.get(PATH, params={"jobId": job_id})
        async with open_reader(url, job_id, key=other) as served:
            await served.until("snapshot", state="queued")
    await until(lambda: places.taken == 0)

    cause = refused.json()["data"]["cause"]
    assert (refused.status_code, cause["code"]) == (429, "too_many_at_once")
    assert int(refused.headers["retry-after"]) > 0


async def test_an_organization_with_its_share_of_streams_is_refused_and_another_one_is_served(
    app: Starlette,
    client: httpx2.AsyncClient,
    stranger: httpx2.AsyncClient,
    job_id: str,
) -> None:
    places = app.state.resources.readers.limit
    places.per_owner = 1
    [organization_id] = await organizations(client)
    with places.hold(organization_id, "another key"):
        refused = await client.get(PATH, params={"jobId": job_id})
        elsewhere = await stranger.get(PATH, params={"jobId": job_id})

    assert refused.status_code == 429
    # It is let in, and sees nothing of others.
    assert elsewhere.status_code == 404


async def organizations(client: httpx2.AsyncClient) -> set[str]:
    keys = (await client.get("/api/apiKey.all")).json()
    return {key["organizationId"] for key in keys}


async def test_many_streams_that_are_opened_at_once_are_no_more_than_the_share(
    app: Starlette, url: str, job_id: str
) -> None:
    places = app.state.resources.readers.limit
    places.per_key = 3

    async def open_one() -> int:
        headers = {"x-api-key": ADMIN_KEY}
        async with (
            httpx2.AsyncClient(base_url=url, headers=headers, timeout=20) as client,
            client.stream("GET", PATH, params={"jobId": job_id}) as response,
        ):
            all_answered.append(response.status_code)
            await until(lambda: len(all_answered) == 12)
            return response.status_code

    all_answered: list[int] = []
    statuses = await asyncio.gather(*(open_one() for _ in range(12)))

    assert sorted(statuses) == [200] * 3 + [429] * 9


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM api_key WHERE name = 'leaving'",
        "UPDATE api_key SET expires_at = now() WHERE name = 'leaving'",
    ],
)
async def test_the_stream_of_a_key_that_is_good_no_longer_ends(
    url: str, client: httpx2.AsyncClient, job_id: str, database: Database, change: str
) -> None:
    key = (await client.post("/api/apiKey.create", json={"name": "leaving"})).json()["key"]
    async with open_reader(url, job_id, key=key) as reader, open_reader(url, job_id) as staying:
        await reader.until("snapshot", state="queued")
        await staying.until("snapshot", state="queued")
        database.execute(change)
        await reader.to_the_end()
        again = await client.get(PATH, params={"jobId": job_id}, headers={"x-api-key": key})
        database.execute("DELETE FROM job")
        await staying.to_the_end()

    assert again.status_code == 401
    # The other one went on until its job was gone.
    assert staying.ids == [1]
