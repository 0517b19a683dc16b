"""``wharf image``: transfers are submitted, followed and shown, against a real API."""

import asyncio
from typing import Any

import httpx2
import pytest

from tests.api.asking import create_registry
from tests.api.cli.running import run
from tests.api.cli.working import working
from tests.api.deploying import DIGEST
from tests.api.events.reading import heartbeat
from tests.api.fleet import TestServer
from tests.databases import Database
from tests.waiting import wait_until

REFUSED = {"code": "manifest_unknown", "message": "it is not there\u202e", "retryable": False}


async def test_a_push_ends_with_the_image_by_its_digest(
    client: httpx2.AsyncClient, url: str, server: TestServer
) -> None:
    await create_registry(client, registryName="ours")
    words = ("image", "push", "a:1", "--to", "ours", "--server", "alp", "--name", "b", "--tag", "2")

    async with working(server) as done:
        pushed = await run(url, *words, "--wait")

    [job] = done
    assert (pushed.code, pushed.out) == (0, f"ghcr.io/myorg/my-app:1@{DIGEST}\n")
    assert pushed.err.splitlines()[-1] == "push: succeeded"
    assert job.server_id == server.server_id


@pytest.mark.parametrize(("outcome", "code"), [("failed", 1), ("cancelled", 3), ("expired", 5)])
@pytest.mark.parametrize("verb", ["pull", "push", "copy"])
async def test_the_exit_code_says_how_the_job_ended(
    *,
    client: httpx2.AsyncClient,
    url: str,
    server: TestServer,
    database: Database,
    verb: str,
    outcome: str,
    code: int,
) -> None:
    await create_registry(client, registryName="ours")
    to = () if verb == "pull" else ("--to", "ours")
    find = "SELECT job_id FROM job"

    waiting = asyncio.create_task(run(url, "image", verb, "quay.io/a/b:1", *to, "--wait"))
    await wait_until(lambda: bool(database.execute(find)))
    match outcome:
        case "failed":
            await server.fail_next(REFUSED)
        case "cancelled":
            [(job_id,)] = database.execute(find)
            await client.post("/api/job.cancel", json={"jobId": job_id})
        case _:
            database.execute("UPDATE job SET deadline_at = now() WHERE state = 'queued'")
            await server.sweep()
    ended = await waiting

    assert ended.code == code
    assert f" {outcome}" in ended.out
    assert "\u202e" not in ended.out + ended.err


async def test_a_pull_shows_its_progress_in_lines(
    client: httpx2.AsyncClient, url: str, server: TestServer
) -> None:
    running = asyncio.create_task(run(url, "image", "pull", "ghcr.io/a/b:1", "--wait"))
    job = await server.next_job()
    await heartbeat(server, job.job_id, job.attempt, 400, 100)
    await server.finish(job, "succeeded", result={"reference": "ghcr.io/a/b:1", "digest": DIGEST})

    ended = await running

    assert (ended.code, ended.out) == (0, f"ghcr.io/a/b:1@{DIGEST}\n")
    assert "pull: running" in ended.err


async def test_an_image_gets_another_name(
    client: httpx2.AsyncClient, url: str, server: TestServer
) -> None:
    words = ("image", "tag", "a:1", "a:2", "--server", "alpha", "--key", "once")

    async with working(server) as done:
        tagged = await run(url, *words)
        again = await run(url, *words)

    [job] = done
    assert (tagged.code, tagged.out) == (again.code, again.out)
    assert tagged.out == "ghcr.io/myorg/my-app:1\n"
    assert job.kind == "image.tag"


async def test_without_waiting_the_job_is_named_and_a_key_makes_it_one(
    url: str, server: TestServer, database: Database
) -> None:
    words = ("image", "pull", "ghcr.io/a/b:1", "--key", "once")

    ran = [await run(url, *words) for _ in range(2)]

    [(job_id,)] = database.execute("SELECT job_id FROM job")
    assert [(each.code, each.out) for each in ran] == [(0, f"{job_id}\n")] * 2


async def test_the_names_in_a_registry_are_listed(
    client: httpx2.AsyncClient, url: str, server: TestServer, database: Database
) -> None:
    await create_registry(client, registryName="ours")
    words = ("image", "ls", "ours", "myorg/my-app")

    async with working(server):
        repositories = await run(url, "image", "ls", "ours", "--server", "alp")
        tags = await run(url, *words, "--limit", "2")
        more = await run(url, *words, "--limit", "3", "--quiet")
        later = await run(url, *words, "--limit", "2", "--after", "x=1")

    rows: Any = database.execute("SELECT command FROM job ORDER BY job_id")
    commands = [row for (row,) in rows]
    assert (repositories.code, repositories.out) == (0, "myorg/my-app\n")
    assert tags.out == "1\n2\n" and "there are more: --after 'n=2&last=2'" in tags.err
    assert more.out == "1\n2\n1\n2\n"
    assert later.out == "1\n2\n"
    assert [(one["limit"], one["after"]) for one in commands] == [
        (100, ""),
        (2, ""),
        (3, ""),
        (1, "n=2&last=2"),
        (2, "x=1"),
    ]


async def test_a_registry_that_lists_nothing_is_named(
    client: httpx2.AsyncClient, url: str, server: TestServer
) -> None:
    await create_registry(client, registryName="ours")

    asking = asyncio.create_task(run(url, "image", "ls", "ours"))
    await server.succeed_next({"names": [], "refusal": "cannot list the repositories of ghcr.io"})
    ran = await asking

    assert (ran.code, ran.out) == (0, "")
    assert "ghcr.io does not list its repositories" in ran.err


async def test_an_image_is_inspected(
    client: httpx2.AsyncClient, url: str, server: TestServer
) -> None:
    await create_registry(client, registryName="ours")
    words = ("image", "inspect", "ghcr.io/myorg/my-app:1")

    async with working(server) as done:
        shown = await run(url, *words, "--from", "ours", "--server", "alp")
        quiet = await run(url, *words, "--quiet")

    assert shown.out.splitlines() == [
        "image: ghcr.io/myorg/my-app:1",
        f"digest: {DIGEST}",
        "media type: application/vnd.oci.image.index.v1+json",
        "size: 5 B",
        "created: -",
        f"platform linux/amd64: {DIGEST}, 5 B",
        f"signature: {DIGEST}, sha256-a.sig",
    ]
    assert (quiet.code, quiet.out) == (0, f"{DIGEST}\n")
    assert [job.kind for job in done] == ["image.inspect", "image.inspect"]


async def test_an_image_is_signed_and_verified(
    client: httpx2.AsyncClient, url: str, server: TestServer
) -> None:
    await create_registry(client, registryName="ours")
    await client.post("/api/signingKey.create", json={"name": "release"})
    await client.post("/api/application.create", json={"name": "Web", "appName": "web"})
    image, named = f"ghcr.io/myorg/my-app@{DIGEST}", ("--with", "release", "--server", "alp")
    words = ("image", "sign", image, "--to", "ours", *named, "--form", "tag", "--key", "once")

    async with working(server) as done:
        signed = [await run(url, *words) for _ in range(2)]
        proved = await run(url, "image", "verify", image, "--from", "ours", *named)
    violations = [{"code": "signature_missing", "message": "not signed"}]
    asking = asyncio.create_task(run(url, "image", "verify", image, "--app", "web"))
    result = {"reference": image, "digest": DIGEST, "proofs": [], "gaps": ["a gap"]}
    await server.succeed_next(result | {"violations": violations})
    refused = await asking

    sign, verify = done
    assert [(ran.code, ran.out) for ran in signed] == [(0, f"{image}\n")] * 2
    assert (sign.kind, sign.command["forms"], verify.kind) == (
        "signature.sign",
        ["tag"],
        "signature.verify",
    )
    assert proved.out.splitlines() == ["proved: signature by sha256:5", f"{image}: verified"]
    assert refused.code == 1
    assert refused.out.splitlines() == [
        "signature_missing: not signed",
        "not read: a gap",
        f"{image}: refused",
    ]
