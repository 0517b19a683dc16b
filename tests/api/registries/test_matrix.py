"""Every registry from every server: one call, a job a pair, the newest and the older outcomes."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from tests.api.asking import create_registry
from tests.api.fleet import TestServer, bad_error, good_report, open_server
from tests.databases import Database


@pytest.fixture
async def beta(client: httpx2.AsyncClient, database: Database) -> AsyncIterator[TestServer]:
    async with open_server(client, database, "beta") as server:
        yield server


async def try_all(client: httpx2.AsyncClient, **requested: Any) -> list[dict[str, Any]]:
    answer = await client.post("/api/registry.testOnServers", json=requested)
    assert answer.status_code == 200, answer.text
    cells: list[dict[str, Any]] = answer.json()["cells"]
    return cells


async def matrix(client: httpx2.AsyncClient, **requested: Any) -> list[dict[str, Any]]:
    answer = await client.get("/api/registry.matrix", params=requested)
    assert answer.status_code == 200, answer.text
    cells: list[dict[str, Any]] = answer.json()["cells"]
    return cells


async def work(servers: list[TestServer], bad: TestServer | None = None, jobs: int = 1) -> None:
    """Have the workers do so many tests each; those of ``bad`` find a fault."""
    by_id = {server.server_id: server for server in servers}
    done = 0
    async with asyncio.timeout(10):
        while done < jobs * len(servers):
            for job in await servers[0].release():
                server = by_id[job.server_id]
                await server.claim(job)
                if server is bad:
                    await server.finish(job, "failed", error=bad_error())
                else:
                    await server.finish(job, "succeeded", result=good_report())
                done += 1
            await asyncio.sleep(0.01)


async def test_all_registries_are_tested_from_all_servers_at_once(
    client: httpx2.AsyncClient, server: TestServer, beta: TestServer
) -> None:
    names = [(await create_registry(client, registryName=f"r{n}"))["registryName"] for n in (1, 2)]

    cells, _ = await asyncio.gather(try_all(client), work([server, beta], bad=beta, jobs=2))

    assert not any(cell["plainHttp"] for cell in cells)
    assert [(cell["registryName"], cell["serverName"], cell["state"]) for cell in cells] == [
        (name, place, state)
        for name in names
        for place, state in (("alpha", "succeeded"), ("beta", "failed"))
    ]
    bad = cells[1]
    assert (bad["code"], bad["stage"]) == ("auth_bad_credentials", "auth")
    assert bad["remedy"]
    assert bad["milliseconds"] > 0
    assert bad["checkedAt"]
    assert cells[0]["code"] is cells[0]["remedy"] is None
    assert await matrix(client) == cells


async def test_the_answer_comes_at_once_where_that_is_preferred(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    await create_registry(client)
    headers = {"prefer": "respond-async"}

    answer = await client.post("/api/registry.testOnServers", json={}, headers=headers)
    [cell] = answer.json()["cells"]
    job = await server.next_job()

    assert (cell["state"], cell["checkedAt"]) == ("queued", None)
    assert cell["jobId"] == job.job_id
    assert await matrix(client) == []


async def test_a_matrix_remembers_earlier_tests_longer_than_their_jobs(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    await create_registry(client)
    for bad in (server, None):
        await asyncio.gather(try_all(client), work([server], bad=bad))
    database.execute("DELETE FROM job")

    [short] = await matrix(client)
    [long] = await matrix(client, history=5)

    assert (short["state"], short["history"]) == ("succeeded", [])
    assert [check["state"] for check in (long, *long["history"])] == ["succeeded", "failed"]
    assert long["history"][0]["code"] == "auth_bad_credentials"


async def test_a_registry_that_works_from_one_server_only_is_told_in_words(
    client: httpx2.AsyncClient, server: TestServer, beta: TestServer
) -> None:
    await create_registry(client, registryName="ours")
    await asyncio.gather(try_all(client), work([server, beta], bad=beta))

    answer = await client.get("/api/registry.matrix")

    [cell] = [cell for cell in answer.json()["cells"] if cell["state"] == "succeeded"]
    good, bad = cell["serverName"], "beta"
    code = bad_error()["code"]
    assert answer.json()["differences"] == [
        f"ours works from {good}, not from {bad}: {bad} fails with {code}."
    ]


async def test_a_single_test_counts_in_the_matrix_and_one_of_a_password_by_the_way_does_not(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    created = await create_registry(client)
    stored = {"registryId": created["registryId"]}
    ad_hoc = {"registryUrl": "ghcr.io", "username": "u", "password": "p"}

    for name, body in (("testRegistryById", stored), ("testRegistry", ad_hoc)):
        await asyncio.gather(client.post(f"/api/registry.{name}", json=body), work([server]))

    [cell] = await matrix(client)
    assert (cell["registryId"], cell["state"]) == (created["registryId"], "succeeded")


async def test_pairs_may_be_named(
    client: httpx2.AsyncClient, server: TestServer, beta: TestServer
) -> None:
    chosen = await create_registry(client, registryName="chosen")
    await create_registry(client, registryName="other")
    named = {"registryIds": [chosen["registryId"]] * 2, "serverIds": [beta.server_id]}

    [cell], _ = await asyncio.gather(try_all(client, **named), work([beta]))

    assert (cell["registryName"], cell["serverName"]) == ("chosen", "beta")
    assert await matrix(client, serverId=server.server_id) == []
    assert await matrix(client, registryId=chosen["registryId"]) == [cell]


async def test_a_server_that_is_away_is_left_out_unless_it_is_named(
    client: httpx2.AsyncClient, server: TestServer, beta: TestServer, database: Database
) -> None:
    await create_registry(client)
    gone = "UPDATE server SET seen_at = now() - interval '1 minute' WHERE server_id = %s"
    database.execute(gone, beta.server_id)

    cells, _ = await asyncio.gather(try_all(client), work([server]))
    named = await client.post("/api/registry.testOnServers", json={"serverIds": [beta.server_id]})

    assert [cell["serverName"] for cell in cells] == ["alpha"]
    assert named.json()["data"]["cause"]["code"] == "server_offline"


async def test_a_removed_registry_or_server_is_in_no_matrix(
    client: httpx2.AsyncClient, server: TestServer, beta: TestServer, database: Database
) -> None:
    first, second = [await create_registry(client) for _ in range(2)]
    await asyncio.gather(try_all(client), work([server, beta], jobs=2))

    await client.post("/api/registry.remove", json={"registryId": first["registryId"]})
    await client.post("/api/server.remove", json={"serverId": beta.server_id})

    [cell] = await matrix(client)
    assert (cell["registryId"], cell["serverName"]) == (second["registryId"], "alpha")
    assert len(database.execute("SELECT job_id FROM registry_check")) == 2


async def test_a_registry_that_is_removed_during_its_test_does_not_keep_it_from_ending(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    created = await create_registry(client)
    asking = asyncio.create_task(try_all(client))
    job = await server.next_job()
    await client.post("/api/registry.remove", json={"registryId": created["registryId"]})

    await server.finish(job, "succeeded", result=good_report())

    assert await asking == []
    assert database.execute("SELECT state FROM job") == [("succeeded",)]


async def test_without_servers_or_registries_there_is_nothing_to_test(
    client: httpx2.AsyncClient,
) -> None:
    await create_registry(client)

    assert await try_all(client) == await matrix(client) == []


@pytest.mark.parametrize(
    "requested", [{"registryIds": []}, {"serverIds": [""]}, {"servers": ["a"]}]
)
async def test_an_unknown_registry_or_server_is_400(
    client: httpx2.AsyncClient, requested: dict[str, Any]
) -> None:
    assert (await client.post("/api/registry.testOnServers", json=requested)).status_code == 400
