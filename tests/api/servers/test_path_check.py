"""``server.check``: how far a job comes on its way to a server's Engine and back."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from typing import Any

import httpx2
import pytest

from api.main import create_app
from shared.settings import ApiSettings
from tests.api.asking import ADMIN_KEY, open_client
from tests.api.fleet import TestServer
from tests.databases import Database
from tests.waiting import wait_until

PARTS = ["database", "control", "broker", "worker", "engine"]
RESULT = {"engineVersion": "28.0.0", "milliseconds": 3.5}


@pytest.fixture
async def hasty(settings: ApiSettings) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of an API that waits only a moment for a job."""
    app = create_app(settings, patience=timedelta(milliseconds=300))
    async with app.router.lifespan_context(app), open_client(app, ADMIN_KEY) as client:
        yield client


def asking(client: httpx2.AsyncClient, server_id: str) -> asyncio.Task[httpx2.Response]:
    return asyncio.create_task(client.post("/api/server.check", json={"serverId": server_id}))


def goods(answer: httpx2.Response) -> list[bool | None]:
    assert answer.status_code == 200, answer.text
    parts = answer.json()["parts"]
    assert [part["name"] for part in parts] == PARTS
    return [part["isGood"] for part in parts]


def bad(answer: httpx2.Response) -> dict[str, Any]:
    [part] = [part for part in answer.json()["parts"] if part["isGood"] is False]
    assert part["remedy"]
    found: dict[str, Any] = part
    return found


async def test_a_check_that_reaches_the_engine_says_how_long_each_part_took(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    task = asking(client, server.server_id)
    job = await server.succeed_next(RESULT)
    answer = await task

    assert job.kind == "server.check"
    assert goods(answer) == [True] * 5
    assert answer.json()["isGood"] is True
    assert answer.json()["jobId"] == job.job_id
    taken = [part["milliseconds"] for part in answer.json()["parts"]]
    assert taken[-1] == 3.5
    assert all(milliseconds >= 0 for milliseconds in taken[1:])


async def test_an_engine_that_is_away_is_named_with_its_remedy(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    task = asking(client, server.server_id)
    error = {"code": "engine_unreachable", "message": "no Engine answers", "remedy": "Start it."}
    await server.fail_next(error)
    answer = await task

    assert goods(answer) == [True, True, True, True, False]
    assert bad(answer)["found"] == "no Engine answers"
    assert bad(answer)["remedy"] == "Start it."


async def test_a_job_that_control_does_not_release_stops_there_with_the_reason(
    hasty: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    database.execute("UPDATE server SET quick_limit = 0")

    answer = await asking(hasty, server.server_id)

    assert goods(answer) == [True, False, None, None, None]
    assert "is at its limit for this class" in bad(answer)["found"]
    # Nobody waits for it any more.
    assert database.execute("SELECT state FROM job") == [("cancelled",)]


async def test_a_message_that_does_not_reach_the_worker_stops_at_the_broker(
    hasty: httpx2.AsyncClient, server: TestServer
) -> None:
    task = asking(hasty, server.server_id)
    await wait_until(partial(_releases, server))

    answer = await task

    assert goods(answer) == [True, True, False, None, None]
    assert "WHARF_BROKER_URL" in bad(answer)["remedy"]


async def test_a_worker_that_does_not_finish_is_named(
    hasty: httpx2.AsyncClient, server: TestServer
) -> None:
    task = asking(hasty, server.server_id)
    await server.next_job()

    answer = await task

    assert goods(answer) == [True, True, True, False, None]


async def test_a_server_that_is_away_is_not_asked(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    database.execute("UPDATE server SET seen_at = now() - interval '1 minute'")

    answer = await asking(client, server.server_id)

    assert answer.status_code == 412
    assert answer.json()["data"]["cause"]["code"] == "server_offline"
    assert database.execute("SELECT FROM job") == []


async def _releases(server: TestServer) -> bool:
    return bool(await server.release())
