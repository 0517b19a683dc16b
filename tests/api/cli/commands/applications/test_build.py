"""``wharf build`` as a pipeline runs it, against a real API process's socket."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from tests.api.asking import ADMIN_KEY, create_application, create_registry
from tests.api.events.reading import serving
from tests.api.fleet import TestServer
from worker.control.maintenance.builds import reconcile_builds

DIGEST = f"sha256:{'a' * 64}"


@pytest.fixture
async def url(app: Starlette) -> AsyncIterator[str]:
    async with serving(app) as (_, url):
        yield url


@pytest.fixture
async def application(client: httpx2.AsyncClient, server: TestServer) -> dict[str, Any]:
    registry = await create_registry(client)
    made = await create_application(
        client, name="My App", appName="my-app", buildRegistryId=registry["registryId"]
    )
    source = {"applicationId": made["applicationId"], "customGitUrl": "https://git.example/a.git"}
    saved = await client.post("/api/application.saveGitProvider", json=source)
    assert saved.status_code == 200, saved.text
    return made


async def run(url: str, *words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "api.cli.main", "build", *words),
        env={**os.environ, "WHARF_URL": url, "WHARF_API_KEY": ADMIN_KEY},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def reconcile(server: TestServer) -> None:
    for _ in range(2):
        await server.sweep()
    async with server.control.connection() as connection:
        await reconcile_builds(connection)


async def test_a_pipeline_waits_and_gets_the_image_by_its_digest(
    url: str, application: dict[str, Any], server: TestServer
) -> None:
    process = await run(url, "my-app", "--tag", "1.4.2", "--wait")
    built = await server.next_job()
    await server.event(built, "log", {"text": "Step 1/2 : FROM scratch\n\x1b]0;evil\x07"})
    await server.finish(built, "succeeded", result={"reference": "x"})
    await server.succeed_next({"reference": "x", "digest": DIGEST})
    await reconcile(server)

    out, err = await process.communicate()

    assert process.returncode == 0
    assert out.decode() == f"ghcr.io/myorg/my-app:1.4.2@{DIGEST}\n"
    message = err.decode().splitlines()
    assert "Step 1/2 : FROM scratch" in message
    assert [line for line in message if line.startswith("push:")][-1] == "push: succeeded"
    assert "\x1b" not in err.decode()


@pytest.mark.parametrize(("how", "code"), [("failed", 1), ("cancelled", 3), ("superseded", 4)])
async def test_the_exit_code_says_how_the_build_ended(
    *,
    url: str,
    client: httpx2.AsyncClient,
    application: dict[str, Any],
    server: TestServer,
    how: str,
    code: int,
) -> None:
    process = await run(url, application["applicationId"], "--wait")
    assert process.stderr is not None
    assert b"build: queued" in await process.stderr.readline()
    chosen = {"applicationId": application["applicationId"]}
    [build] = (await client.get("/api/build.all", params=chosen)).json()
    match how:
        case "failed":
            await server.fail_next({"code": "build_failed", "message": "no", "retryable": False})
        case "cancelled":
            await client.post("/api/build.cancel", json={"buildId": build["buildId"]})
        case _:
            await client.post("/api/application.build", json=chosen)
    await reconcile(server)

    out, err = await process.communicate()

    assert process.returncode == code, err
    assert out.decode().startswith(f"build 1 {how}")


async def test_without_waiting_it_says_which_build_it_is_and_a_key_makes_it_one(
    url: str, application: dict[str, Any], client: httpx2.AsyncClient
) -> None:
    ends = []
    for _ in range(2):
        process = await run(url, "My App", "--key", "pipeline-17")
        ends.append((*await process.communicate(), process.returncode))

    chosen = {"applicationId": application["applicationId"]}
    [build] = (await client.get("/api/build.all", params=chosen)).json()
    assert ends == [(f"{build['buildId']}\n".encode(), b"", 0)] * 2


async def test_a_missing_application_is_reported_in_one_sentence(url: str) -> None:
    process = await run(url, "nobody")

    out, err = await process.communicate()

    assert (process.returncode, out) == (1, b"")
    assert err.decode() == (
        "wharf build: there is no application nobody. Create one: wharf app create.\n"
    )
