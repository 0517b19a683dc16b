"""The matrix page: start all tests, see each cell, open its stages."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from tests.api.asking import create_registry, open_client
from tests.api.conftest import add_organization
from tests.api.console.browsing import Browser
from tests.api.console.hostile import HOSTILE, require_text
from tests.api.fleet import TestServer, bad_error, good_report, make_stage, open_server
from tests.databases import Database


@pytest.fixture
async def beta(client: httpx2.AsyncClient, database: Database) -> AsyncIterator[TestServer]:
    async with open_server(client, database, "beta") as server:
        yield server


def cell_path(registry: dict[str, Any], server: TestServer) -> str:
    return f"/matrix/{registry['registryId']}/{server.server_id}"


async def test_an_empty_matrix_says_what_it_needs(owner: Browser) -> None:
    page = (await owner.get("/matrix")).text

    assert "The matrix needs a registry and a server" in page
    assert "Test all from all" not in page


async def test_all_tests_begin_and_their_cells_fill(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer, beta: TestServer
) -> None:
    registry = await create_registry(client)
    assert "not tested" in (await owner.get("/matrix")).text

    begun = await owner.post("/matrix")

    assert begun.headers["location"] == "/console/matrix"
    page = (await owner.get("/matrix")).text
    assert "2 tests have begun" in page
    assert page.count('class="state queued"') == 2
    for job in await server.release():
        at = server if job.server_id == server.server_id else beta
        await at.claim(job)
        if at is server:
            await at.finish(job, "succeeded", result=good_report())
        else:
            await at.finish(job, "failed", error=bad_error())
    page = (await owner.get("/matrix")).text
    assert "works from alpha, not from beta" in page
    assert 'class="state ok"' in page
    failed = (await owner.get(cell_path(registry, beta))).text
    assert "ghcr.io refuses the username and password" in failed


async def test_the_matrix_is_filtered_by_names_and_by_outcome(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    first = await create_registry(client, registryName="First")
    await tested_registry(client, server, registryName="Second")
    await asyncio.gather(
        client.post("/api/registry.diagnose", json={"registryId": first["registryId"]}),
        server.fail_next(bad_error()),
    )

    named = (await owner.get("/matrix", q="second")).text
    failed = (await owner.get("/matrix", state="failed")).text
    none = (await owner.get("/matrix", server="nothing")).text

    assert (">First<" in named, ">Second<" in named) == (False, True)
    assert (">First<" in failed, ">Second<" in failed) == (True, False)
    assert "Nothing matches" in none


async def test_a_large_matrix_shows_some_servers_at_a_time(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    registry = await tested_registry(client, server)
    database.execute(
        "INSERT INTO server (server_id, organization_id, name, description)"
        " SELECT 'server-' || n, organization_id, 'server-' || n, ''"
        " FROM server, generate_series(1, 2000) n"
    )

    first = (await owner.get("/matrix")).text
    second = (await owner.get("/matrix", column="12")).text
    failed = (await owner.get("/matrix", state="failed")).text

    cell = f'href="/console{cell_path(registry, server)}"'
    assert (cell in first, cell in second, cell in failed) == (True, False, False)
    assert 'href="/console/matrix?column=12"' in first
    assert 'href="/console/matrix?column=24"' in second
    assert first.count('<th scope="col">') == second.count('<th scope="col">') == 13


async def test_a_cell_shows_its_test_while_it_runs(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    registry = await tested_registry(client, server)
    path = cell_path(registry, server)
    assert "data-stream" not in (await owner.get(path)).text

    begun = await owner.post(path)
    queued = (await owner.get(path)).text
    job = await server.next_job()
    await server.show_progress(job, {"stages": [make_stage("dns")]})
    running = (await owner.get(path)).text
    await server.finish(job, "failed", error=bad_error())
    ended = (await owner.get(path)).text

    assert (begun.status_code, begun.headers["location"]) == (303, f"/console{path}")
    follows = f'data-stream="/console/jobs/{job.job_id}/events"'
    assert 'class="state queued"' in queued and follows in queued
    assert "Stages of the test so far" in running and 'class="state running"' in running
    assert "ghcr.io refuses the username and password" in ended and "data-stream" not in ended


async def test_an_earlier_test_of_a_cell_is_opened(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    registry = await create_registry(client)
    chosen = {"registryId": registry["registryId"]}
    _, first = await asyncio.gather(
        client.post("/api/registry.diagnose", json=chosen), server.fail_next(bad_error())
    )
    await asyncio.gather(
        client.post("/api/registry.diagnose", json=chosen), server.succeed_next(good_report())
    )

    newest = (await owner.get(cell_path(registry, server))).text
    earlier = (await owner.get(cell_path(registry, server), job=first.job_id)).text
    unknown = await owner.get(cell_path(registry, server), job="another")

    assert "refuses the username" not in newest
    assert "refuses the username" in earlier
    assert unknown.status_code == 404


@pytest.mark.parametrize("stages", ["text", [{"stage": "ping"}], {"a": [1]}, None])
async def test_a_report_of_another_form_is_not_shown(
    owner: Browser,
    client: httpx2.AsyncClient,
    server: TestServer,
    database: Database,
    stages: object,
) -> None:
    registry = await tested_registry(client, server)
    database.execute("UPDATE job SET result = %s::jsonb", json.dumps({"stages": stages}))

    answer = await owner.get(cell_path(registry, server))

    assert answer.status_code == 200
    assert "cannot be read" in answer.text


async def tested_registry(
    client: httpx2.AsyncClient, server: TestServer, **changes: Any
) -> dict[str, Any]:
    registry = await create_registry(client, **changes)
    await asyncio.gather(
        client.post("/api/registry.diagnose", json={"registryId": registry["registryId"]}),
        server.succeed_next(good_report()),
    )
    return registry


async def test_text_of_workers_registries_and_users_is_shown_as_text(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    registry = await tested_registry(client, server, registryName=HOSTILE, username=HOSTILE)
    report = {**good_report(), "host": HOSTILE, "repository": HOSTILE}
    for stage in report["stages"]:
        stage.update(evidence=HOSTILE, remedy=HOSTILE)
    report |= {"verified": [HOSTILE], "not_verified": [HOSTILE]}
    report["excess"] = [{"code": "delete", "message": HOSTILE}]
    database.execute("UPDATE job SET result = %s::jsonb", json.dumps(report))
    database.execute("UPDATE server SET name = %s", HOSTILE)
    database.execute("UPDATE registry_check SET code = %s, stage = %s", HOSTILE, HOSTILE)
    path = f"/registries/{registry['registryId']}"

    pages = ["/registries", "/matrix", path, cell_path(registry, server)]
    pages += [f"{path}/{name}" for name in ("edit", "rotate", "remove")]

    for page in pages:
        answer = await owner.get(page)
        assert answer.status_code == 200, page
        require_text(answer.text)


async def test_a_viewer_starts_no_test(
    owner: Browser, viewer: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    registry = await create_registry(client)
    page = (await viewer.get("/matrix")).text
    cell = (await viewer.get(cell_path(registry, server))).text

    answer = await viewer.post("/matrix")
    refused = await viewer.post(cell_path(registry, server))

    assert "Test all" not in page
    assert "Test again" not in cell
    assert (answer.status_code, refused.status_code) == (403, 403)
    assert (await client.get("/api/job.all")).json()["jobs"] == []


async def test_a_cell_of_another_organization_is_not_found(
    app: Starlette, owner: Browser, server: TestServer, database: Database
) -> None:
    async with open_client(app, add_organization(database)) as stranger:
        registry = await create_registry(stranger)

    assert (await owner.get(cell_path(registry, server))).status_code == 404
