"""``wharf deploy`` as a pipeline runs it, against a real API process's socket."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from tests.api.asking import ADMIN_KEY
from tests.api.deploying import (
    DIGEST,
    OTHER,
    build,
    create_deployable,
    deploy,
    make_point,
    reconcile,
    replace_next,
    verify_next,
)
from tests.api.events.reading import serving
from tests.api.fleet import TestServer
from tests.databases import Database

PULLED = {"reference": "x", "digest": DIGEST}


@pytest.fixture
async def url(app: Starlette) -> AsyncIterator[str]:
    async with serving(app) as (_, url):
        yield url


@pytest.fixture
async def application(client: httpx2.AsyncClient, server: TestServer) -> dict[str, Any]:
    return await create_deployable(client, [server], appName="my-app")


async def run(url: str, *words: str, command: str = "deploy") -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "api.cli.main", command, *words),
        env={**os.environ, "WHARF_URL": url, "WHARF_API_KEY": ADMIN_KEY},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def deployments(
    client: httpx2.AsyncClient, application: dict[str, Any]
) -> list[dict[str, Any]]:
    chosen = {"applicationId": application["applicationId"]}
    shown: list[dict[str, Any]] = (await client.get("/api/deployment.all", params=chosen)).json()
    return shown


async def newest(client: httpx2.AsyncClient, application: dict[str, Any]) -> str:
    """The id of its newest build."""
    chosen = {"applicationId": application["applicationId"]}
    return str((await client.get("/api/build.all", params=chosen)).json()[0]["buildId"])


async def test_a_pipeline_waits_and_gets_the_image_by_its_digest(
    url: str, client: httpx2.AsyncClient, application: dict[str, Any], server: TestServer
) -> None:
    build_id = await newest(client, application)
    process = await run(url, "my-app", "--build", build_id, "--title", "1.4.2", "--wait")
    assert process.stderr is not None
    assert await process.stderr.readline() == b"alpha: queued\n"
    await server.succeed_next(PULLED)
    assert await process.stderr.readline() == b"alpha: running\n"
    await replace_next(server, gapSeconds=0.4)
    await reconcile(server)

    out, err = await process.communicate()

    assert process.returncode == 0, err
    assert out.decode() == f"ghcr.io/myorg/my-app@{DIGEST}\n"
    assert err == b"alpha: succeeded (gap 0.4 s)\n"


@pytest.mark.parametrize(("how", "code"), [("failed", 1), ("cancelled", 3), ("expired", 5)])
async def test_the_exit_code_says_how_the_deployment_ended(
    *,
    url: str,
    client: httpx2.AsyncClient,
    application: dict[str, Any],
    server: TestServer,
    database: Database,
    how: str,
    code: int,
) -> None:
    build_id = await newest(client, application)
    process = await run(url, application["applicationId"], "--build", build_id, "--wait")
    assert process.stderr is not None
    assert b"alpha: queued" in await process.stderr.readline()
    [deployment] = await deployments(client, application)
    match how:
        case "failed":
            evil = "it said:\n\x1b]0;evil\x07"
            await server.fail_next({"code": "port_taken", "message": evil, "retryable": False})
        case "cancelled":
            chosen = {"deploymentId": deployment["deploymentId"]}
            await client.post("/api/deployment.cancel", json=chosen)
        case _:
            database.execute("UPDATE job SET deadline_at = now() WHERE state = 'queued'")
    await reconcile(server)

    out, err = await process.communicate()

    assert process.returncode == code, err
    assert out.decode().startswith(f"deployment {deployment['deploymentId']} {how}: ")
    [line] = err.decode().splitlines()
    assert line.startswith(f"alpha: {how}: ")
    assert "\x1b" not in f"{line}{out.decode()}"


async def test_without_waiting_it_says_which_deployment_it_is_and_a_key_makes_it_one(
    url: str, application: dict[str, Any], client: httpx2.AsyncClient
) -> None:
    ends = []
    for _ in range(2):
        process = await run(url, "My App", "--key", "pipeline-17")
        ends.append((*await process.communicate(), process.returncode))

    [deployment] = await deployments(client, application)
    assert ends == [(f"{deployment['deploymentId']}\n".encode(), b"", 0)] * 2


async def test_a_missing_build_is_reported_in_one_sentence(
    url: str, application: dict[str, Any]
) -> None:
    unknown = f"{'0' * 8}-{'0' * 27}"
    process = await run(url, "my-app", "--build", unknown)

    out, err = await process.communicate()

    assert (process.returncode, out, err) == (1, b"", b"wharf deploy: Build not found.\n")


async def test_a_deployment_that_builds_first_shows_the_build(
    url: str, application: dict[str, Any], server: TestServer
) -> None:
    process = await run(url, "my-app", "--tag", "v7", "--wait")
    for _ in ("build", "push", "pull"):
        await server.succeed_next(PULLED)
    await replace_next(server)
    await reconcile(server)

    out, err = await process.communicate()

    assert process.returncode == 0, err
    assert out.decode() == f"ghcr.io/myorg/my-app@{DIGEST}\n"
    lines = err.decode().splitlines()
    assert "build: succeeded" in lines
    assert "push: succeeded" in lines
    assert lines[-1] == "alpha: succeeded"


async def test_an_operator_rolls_back_to_what_ran_before(
    url: str, client: httpx2.AsyncClient, server: TestServer
) -> None:
    application = await create_deployable(client, [server], appName="kept", rollbackActive=True)
    point = await make_point(client, server, application)
    nothing = await (await run(url, "kept", command="rollback")).communicate()
    await build(client, server, application["applicationId"], OTHER)
    await deploy(client, application["applicationId"])
    await server.succeed_next({"reference": "x", "digest": OTHER})
    await replace_next(server)
    await reconcile(server)
    await verify_next(server)

    process = await run(url, "kept", "--wait", command="rollback")
    await server.succeed_next(PULLED)
    await replace_next(server)
    await reconcile(server)
    out, err = await process.communicate()

    assert process.returncode == 0, err
    assert out.decode() == f"{point['reference']}\n"
    assert (
        nothing[1].decode().startswith("wharf rollback: kept has no rollback point to roll back to")
    )


async def test_a_missing_rollback_point_is_reported_in_one_sentence(
    url: str, application: dict[str, Any]
) -> None:
    process = await run(url, "my-app", "--to", "nothing", command="rollback")

    out, err = await process.communicate()

    message = (
        b"wharf rollback: my-app has no rollback point nothing. See: wharf rollbacks list my-app.\n"
    )
    assert (process.returncode, out, err) == (1, b"", message)
