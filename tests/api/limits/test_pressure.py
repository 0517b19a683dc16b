"""An API process that stops, and one with more requests than it can serve."""

import asyncio
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import event
from starlette.applications import Starlette

from shared.settings import ApiSettings
from tests.api.asking import ADMIN_KEY, until
from tests.api.fleet import TestServer
from tests.api.test_main import AD_HOC, environment, is_alive
from tests.databases import Database
from worker.local.processes import Child, free_port

CLIENTS = 8


@pytest.fixture
def process(settings: ApiSettings, tmp_path: Path) -> Iterator[tuple[Child, str]]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    argv = [sys.executable, "-m", "api", "--port", str(port)]
    child = Child.start("api", argv, log=tmp_path / "api.log", env=environment(settings))
    try:
        child.wait_until(lambda: is_alive(url), deadline=timedelta(seconds=30))
        yield child, url
    finally:
        child.stop()


async def test_no_accepted_request_is_lost_when_the_process_stops(
    process: tuple[Child, str], server: TestServer, database: Database
) -> None:
    child, url = process
    accepted: list[str] = []

    async def keep_asking(number: int) -> None:
        async with httpx2.AsyncClient(base_url=url, headers={"x-api-key": ADMIN_KEY}) as client:
            for count in range(10_000):
                try:
                    answer = await client.post(
                        "/api/image.pull", json={"image": f"app-{number}-{count}"}
                    )
                except httpx2.TransportError:
                    return
                assert answer.status_code == 200, answer.text
                accepted.append(answer.json()["jobId"])

    asking = [asyncio.create_task(keep_asking(number)) for number in range(CLIENTS)]
    await until(lambda: len(accepted) > 50)
    os.kill(child.pid, signal.SIGTERM)
    await asyncio.gather(*asking)

    assert await asyncio.to_thread(child.process.wait, 10) == 0
    stored = {job_id for (job_id,) in database.execute("SELECT job_id FROM job")}
    assert stored == set(accepted)
    assert "Traceback" not in child.log.read_text()


async def test_a_caller_gets_the_id_of_its_job_when_the_process_stops_and_the_job_goes_on(
    process: tuple[Child, str], server: TestServer, database: Database
) -> None:
    child, url = process
    async with httpx2.AsyncClient(base_url=url, headers={"x-api-key": ADMIN_KEY}) as client:
        waiting = asyncio.create_task(
            client.post("/api/registry.testRegistry", json=AD_HOC, timeout=20)
        )
        await until(lambda: database.execute("SELECT count(*) FROM job") == [(1,)])
        begun = time.monotonic()
        os.kill(child.pid, signal.SIGTERM)
        answer = await waiting
        took = time.monotonic() - begun

    assert answer.status_code == 504
    assert database.execute("SELECT job_id, state, cancel_requested_at FROM job") == [
        (answer.json()["data"]["cause"]["jobId"], "queued", None)
    ]
    assert took < 5
    assert await asyncio.to_thread(child.process.wait, 10) == 0


async def test_a_used_up_pool_is_busy_and_no_hang(
    app: Starlette, client: httpx2.AsyncClient
) -> None:
    pool = app.state.resources.pool
    pool.timeout = 0.2
    async with AsyncExitStack() as stack:
        for _ in range(pool.max_size):
            await stack.enter_async_context(pool.connection())
        begun = time.monotonic()
        answer = await client.get("/api/registry.all")
        took = time.monotonic() - begun
    after = await client.get("/api/registry.all")

    assert (answer.status_code, answer.json()["data"]["cause"]["code"]) == (503, "busy")
    assert answer.headers["retry-after"] == "1"
    assert took < 2
    assert after.status_code == 200


async def test_a_full_queue_is_busy_at_once(app: Starlette, client: httpx2.AsyncClient) -> None:
    pool = app.state.resources.pool
    pool.max_waiting = 2
    async with AsyncExitStack() as stack:
        for _ in range(pool.max_size):
            await stack.enter_async_context(pool.connection())
        asking = [asyncio.create_task(client.get("/api/registry.all")) for _ in range(5)]
        done, _ = await asyncio.wait(asking, timeout=2)
        refused = [task.result().status_code for task in done]
    answers = await asyncio.gather(*asking)

    assert refused == [503] * 3
    assert sorted(answer.status_code for answer in answers) == [200, 200, 503, 503, 503]


async def test_used_up_sessions_are_busy_too(app: Starlette, client: httpx2.AsyncClient) -> None:
    sessions = app.state.resources.sessions
    engine = sessions.kw["bind"]
    engine.pool._timeout = 0.2
    async with AsyncExitStack() as stack:
        for _ in range(engine.pool.size()):
            session = await stack.enter_async_context(sessions.begin())
            await session.connection()
        answer = await client.get("/api/registry.all")

    assert (answer.status_code, answer.json()["data"]["cause"]["code"]) == (503, "busy")


async def test_a_key_with_its_share_of_waits_is_refused_before_there_is_a_job(
    client: httpx2.AsyncClient, app: Starlette, server: TestServer, database: Database
) -> None:
    places = app.state.resources.waits
    places.per_key = 0

    refused = await client.post("/api/registry.testRegistry", json=AD_HOC)
    matrix = await client.post("/api/registry.testOnServers", json={})
    jobs = database.execute("SELECT count(*) FROM job")
    accepted = await client.post(
        "/api/registry.testRegistry", json=AD_HOC, headers={"prefer": "respond-async"}
    )

    assert refused.json()["data"]["cause"]["code"] == "too_many_at_once"
    assert [refused.status_code, matrix.status_code, accepted.status_code] == [429, 429, 202]
    assert jobs == [(0,)]


async def test_a_database_that_is_gone_is_not_called_busy(
    client: httpx2.AsyncClient, app: Starlette
) -> None:
    await app.state.resources.pool.close()

    answer = await client.get("/api/registry.all")

    assert answer.json()["data"]["cause"]["code"] == "database_unavailable"


async def test_a_transaction_that_was_ended_while_its_process_was_frozen_can_be_sent_again(
    client: httpx2.AsyncClient, app: Starlette
) -> None:
    engine = app.state.resources.sessions.kw["bind"].sync_engine

    def be_frozen(connection: Any, cursor: Any, *_: object) -> None:
        cursor.execute("SET LOCAL idle_in_transaction_session_timeout = '10ms'")
        socket = connection.connection.driver_connection.fileno()
        assert select.select([socket], [], [], 10)[0], "not hung up on"

    event.listen(engine, "before_cursor_execute", be_frozen, once=True)
    ended = await client.get("/api/registry.all")
    again = await client.get("/api/registry.all")

    cause = ended.json()["data"]["cause"]
    assert (ended.status_code, cause["code"]) == (503, "database_unavailable")
    assert ended.headers["retry-after"]
    assert again.status_code == 200
