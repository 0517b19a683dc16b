"""After a restore an administrator sees which jobs and keys are of the copy, and lets jobs run."""

import asyncio
import os
import sys

import httpx2
from starlette.applications import Starlette

from tests.api.asking import ADMIN_KEY
from tests.api.events.reading import serving
from tests.api.fleet import TestServer
from tests.databases import Database

NOTHING: dict[str, object] = {"heldAt": None, "waitingJobIds": [], "apiKeys": [], "deployHooks": []}


async def pull(client: httpx2.AsyncClient) -> str:
    answer = await client.post("/api/image.pull", json={"image": "nginx:1"})
    return str(answer.json()["jobId"])


async def look(client: httpx2.AsyncClient) -> dict[str, object]:
    shown: dict[str, object] = (await client.get("/api/restore.one")).json()
    return shown


async def waiting(client: httpx2.AsyncClient, job_id: str) -> object:
    job = (await client.get("/api/job.one", params={"jobId": job_id})).json()
    return job["waiting"] and job["waiting"]["code"]


def restore(database: Database) -> None:
    database.execute("UPDATE organization SET held_at = clock_timestamp()")


async def test_a_database_that_was_not_restored_has_nothing_to_show(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    await pull(client)

    assert await look(client) == NOTHING


async def test_jobs_of_the_copy_wait_and_are_listed_and_later_ones_are_not(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    held = await pull(client)
    restore(database)
    later = (await client.post("/api/apiKey.create", json={"name": "later"})).json()

    shown = await look(client)

    keys = shown["apiKeys"]
    assert isinstance(keys, list) and later["apiKeyId"] not in {key["apiKeyId"] for key in keys}
    assert [key["name"] for key in keys] == ["first admin key"]
    assert shown["waitingJobIds"] == [held] and shown["heldAt"]
    assert await waiting(client, held) == "restored"


async def test_jobs_of_the_copy_go_on_once_they_may(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    held = await pull(client)
    restore(database)

    answer = await client.post("/api/restore.resume", json={})
    again = await client.post("/api/restore.resume", json={})

    assert (answer.json(), again.json()) == ({"resumed": 1}, {"resumed": 0})
    assert await look(client) == NOTHING
    assert await waiting(client, held) != "restored"
    [(action,)] = database.execute(
        "SELECT DISTINCT action FROM audit_event WHERE action = 'restore.resume'"
    )
    assert action == "restore.resume"


async def test_a_member_neither_sees_nor_resumes_what_was_restored(
    member: httpx2.AsyncClient, database: Database
) -> None:
    restore(database)

    answers = [
        await member.get("/api/restore.one"),
        await member.post("/api/restore.resume", json={}),
    ]

    assert [answer.status_code for answer in answers] == [403, 403]


async def wharf_resume(url: str, *words: str) -> tuple[int | None, list[str]]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "api.cli.main", "resume", *words),
        env={**os.environ, "WHARF_URL": url, "WHARF_API_KEY": ADMIN_KEY},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    return process.returncode, out.decode().splitlines()


async def test_wharf_resume_lists_first_and_lets_jobs_run_when_asked(
    app: Starlette, client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    held = await pull(client)
    database.execute("UPDATE api_key SET name = E'first [bold]key\\x1b[2J'")
    restore(database)

    async with serving(app) as (_, url):
        listed = await wharf_resume(url, "--list")
        still = await waiting(client, held)
        resumed = await wharf_resume(url)

    assert listed[0] == resumed[0] == 0
    assert f"job {held} waits" in listed[1] and still == "restored"
    assert any("key first [bold]key?[2J (admin, " in line for line in listed[1])
    assert resumed[1][-1] == "1 jobs no longer wait."
    assert await waiting(client, held) != "restored"
