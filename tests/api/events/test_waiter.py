import asyncio
from datetime import timedelta

import httpx2
import pytest
from starlette.applications import Starlette

from api.events.waiter import Waiter
from shared.database import open_pool
from shared.errors import OverdueError
from shared.jobs.states import State
from tests.api.fleet import TestServer
from tests.databases import Database

SOON = timedelta(seconds=5)


async def test_a_notification_wakes_only_watchers_of_that_job() -> None:
    waiter = Waiter()
    with waiter.watch("a") as first, waiter.watch("b") as second:
        waiter.on_notification("wharf_job", "a")
        assert (first.is_set(), second.is_set()) == (True, False)
        waiter.on_notification("wharf_job", "a job of nobody here")
        assert not second.is_set()
        waiter.on_notification("", "")
        assert second.is_set()

    waiter.on_notification("", "")


@pytest.fixture
async def job(client: httpx2.AsyncClient, server: TestServer) -> str:
    job_id: str = (await client.post("/api/image.pull", json={"image": "nginx"})).json()["jobId"]
    return job_id


async def test_a_forged_notification_ends_no_wait(
    app: Starlette, job: str, database: Database
) -> None:
    resources = app.state.resources
    [[organization]] = database.execute("SELECT organization_id FROM job")

    waiting = resources.waiter.wait(
        resources.pool, job, str(organization), timedelta(milliseconds=300)
    )
    database.execute(f"NOTIFY wharf_job, '{job}'")

    with pytest.raises(OverdueError) as caught:
        await waiting
    assert caught.value.job_id == job


async def test_a_job_that_had_ended_before_is_seen_at_once(
    app: Starlette, job: str, server: TestServer, database: Database
) -> None:
    await server.succeed_next({"reference": "x"})
    resources = app.state.resources
    [[organization]] = database.execute("SELECT organization_id FROM job")

    ended = await resources.waiter.wait(resources.pool, job, str(organization), SOON)

    assert ended.state is State.SUCCEEDED


async def test_a_wait_ends_without_any_notification(
    job: str, server: TestServer, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.events.waiter.READ_EVERY", timedelta(milliseconds=50))
    [[organization]] = database.execute("SELECT organization_id FROM job")
    async with open_pool(database.url("wharf_api"), size=1) as pool:
        deaf = asyncio.create_task(Waiter().wait(pool, job, str(organization), SOON))
        await server.succeed_next({"reference": "x"})
        ended = await deaf

    assert ended.state is State.SUCCEEDED


async def test_a_wait_survives_the_loss_of_its_listener(
    app: Starlette, job: str, server: TestServer, database: Database
) -> None:
    resources = app.state.resources
    [[organization]] = database.execute("SELECT organization_id FROM job")
    waiting = asyncio.create_task(
        resources.waiter.wait(resources.pool, job, str(organization), SOON)
    )

    database.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND query LIKE 'LISTEN%'"
    )
    await server.succeed_next({"reference": "x"})

    assert (await waiting).state is State.SUCCEEDED
