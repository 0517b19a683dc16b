"""``wharf job``: jobs by page, one of them, its log, its end."""

import asyncio
import json

import httpx2

from tests.api.cli.running import run
from tests.api.deploying import DIGEST
from tests.api.fleet import TestServer


async def pull(client: httpx2.AsyncClient, image: str) -> str:
    answer = await client.post("/api/image.pull", json={"image": image})
    return str(answer.json()["jobId"])


async def test_jobs_are_shown_by_page(
    client: httpx2.AsyncClient, url: str, server: TestServer
) -> None:
    made = [await pull(client, f"ghcr.io/a/b:{number}") for number in range(3)]

    first = await run(url, "job", "list", "--limit", "2", "--quiet")
    cursor = first.err.split()[-1]
    second = await run(url, "job", "list", "--limit", "2", "--cursor", cursor, "--json")
    failed = await run(url, "job", "list", "--state", "failed", "--quiet")

    assert first.out.split() == [made[2], made[1]]
    assert first.err == f"there are more: --cursor {cursor}\n"
    assert [job["jobId"] for job in json.loads(second.out)["jobs"]] == [made[0]]
    assert (failed.code, failed.out) == (0, "")


async def test_a_job_is_watched_to_its_end_and_its_log_is_written(
    client: httpx2.AsyncClient, url: str, server: TestServer
) -> None:
    job_id = await pull(client, "ghcr.io/a/b:1")
    job = await server.next_job()
    await server.event(job, "log", {"text": "one\ntwo"})
    await server.finish(job, "succeeded", result={"reference": "ghcr.io/a/b:1", "digest": DIGEST})

    watched = await run(url, "job", "watch", job_id)
    logs = await run(url, "job", "logs", job_id[:-1])
    shown = await run(url, "job", "show", job_id)
    cancelled = await run(url, "job", "cancel", job_id)

    assert (watched.code, watched.out) == (0, f"ghcr.io/a/b:1@{DIGEST}\n")
    assert "two\n" in watched.err and "pull: succeeded\n" in watched.err
    assert logs.out == "one\ntwo\n"
    assert "kind: image.pull\n" in shown.out and "state: succeeded\n" in shown.out
    assert (cancelled.code, "already ended" in cancelled.err) == (1, True)


async def test_a_job_that_failed_is_repeated_and_waited_for(
    client: httpx2.AsyncClient, url: str, server: TestServer
) -> None:
    job_id = await pull(client, "ghcr.io/a/b:1")
    await server.fail_next({"code": "pull_denied", "message": "denied", "retryable": False})

    again, _ = await asyncio.gather(
        run(url, "job", "retry", job_id, "--wait"),
        server.succeed_next({"reference": "ghcr.io/a/b:1", "digest": DIGEST}),
    )
    refused = await run(url, "job", "retry", "nothing")

    assert (again.code, again.out) == (0, f"ghcr.io/a/b:1@{DIGEST}\n")
    assert refused.code == 1


async def test_a_waiting_job_shows_why_it_waits(
    client: httpx2.AsyncClient, url: str, server: TestServer
) -> None:
    await client.post("/api/server.pause", json={"serverId": server.server_id})
    job_id = await pull(client, "ghcr.io/a/b:1")

    shown = await run(url, "job", "show", job_id)
    cancelled = await run(url, "job", "cancel", job_id)

    [waits] = [line for line in shown.out.splitlines() if line.startswith("waits: ")]
    assert "paused" in waits
    assert cancelled.out == "cancelled\n"
