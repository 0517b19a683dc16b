"""The overview shows what needs attention, and the jobs of the last day."""

import httpx2

from tests.api.asking import create_registry
from tests.api.console.browsing import Browser
from tests.api.fleet import TestServer
from tests.databases import Database

FAILED = {"code": "image_not_found", "message": "no such image", "retryable": False}


async def test_an_empty_installation_says_how_to_begin(owner: Browser) -> None:
    page = (await owner.get("")).text

    assert "Start here: join a server" in page
    assert "Nothing failed." in page


async def test_ended_jobs_are_counted_by_hour_and_code(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    for number, outcome in enumerate((FAILED, FAILED, None)):
        await client.post("/api/image.pull", json={"image": f"nginx:{number}"})
        job = await server.next_job()
        if outcome:
            await server.finish(job, "failed", error=outcome)
        else:
            await server.finish(job, "succeeded", result={})
    await client.post("/api/image.pull", json={"image": "nginx:waits"})

    shown = (await client.get("/api/job.statistics")).json()
    page = (await owner.get("")).text

    assert shown["codes"] == [{"code": "image_not_found", "jobs": 2}]
    assert (shown["hours"][-1]["failed"], shown["hours"][-1]["succeeded"]) == (2, 1)
    assert len(shown["hours"]) == 24
    assert shown["now"] == {"queued": 1, "running": 0}
    assert "1 succeeded, 2 failed" in page
    assert '<rect class="failed"' in page
    assert ">image_not_found</a>" in page


async def test_servers_that_are_away_and_logins_that_are_due_are_listed(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    due = await create_registry(client)
    database.execute("UPDATE registry SET password_changed_at = now() - interval '80 days'")
    database.execute("UPDATE server SET seen_at = now() - interval '1 hour'")

    page = (await owner.get("")).text

    assert "Needs attention" in page
    assert f'/console/registries/{due["registryId"]}">' in page
    assert "the password is due for a change" in page
    assert "last seen" in page
