"""Batches as JSON lines, as ``httpBatchStreamLink`` of ``@trpc/client`` 11 reads them."""

import asyncio
import json
from typing import Any

import httpx2
from starlette.applications import Starlette

from api.http.trpc.protocol import MAX_BATCH_CALLS
from tests.api.asking import HUB, open_client, until
from tests.api.fleet import TestServer
from tests.api.http.test_trpc import query
from tests.databases import Database

T = "/api/trpc/"
LINES = {"trpc-accept": "application/jsonl"}
UNDEFINED = {"json": None, "meta": {"values": ["undefined"], "v": 1}}


def read_lines(text: str) -> dict[int, Any]:
    """Return each call's envelope as the client decodes it, after a head that announces all."""
    assert text.endswith("\n")
    head, *chunks = [json.loads(line)["json"] for line in text.splitlines()]
    assert head == {str(index): [[0], [None, 0, index]] for index in range(len(chunks))}
    found = {index: value for index, status, [[value]] in chunks if status == 0}
    assert len(found) == len(chunks)
    return found


async def test_every_call_of_a_batch_has_a_line(client: httpx2.AsyncClient) -> None:
    inputs = query({"0": UNDEFINED, "1": {"json": {"registryId": "a"}}})
    path = f"{T}registry.all,registry.one?batch=1&input={inputs}"

    answer = await client.get(path, headers=LINES)
    [_, plain] = (await client.get(path)).json()

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["vary"] == "trpc-accept"
    assert read_lines(answer.text) == {
        0: {"result": {"data": []}},
        1: {"error": plain["error"]["json"]},
    }


async def test_a_mutation_of_a_streaming_client_happens_once_and_is_answered(
    client: httpx2.AsyncClient,
) -> None:
    body = {"0": {"json": HUB}}

    answer = await client.post(f"{T}registry.create?batch=1", json=body, headers=LINES)

    created = read_lines(answer.text)[0]["result"]["data"]
    assert (await client.get("/api/registry.all")).json() == [created]


async def test_a_quick_call_is_answered_before_a_slow_one(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    login = {"registryUrl": "ghcr.io", "username": "u", "password": "p"}
    names = "registry.testRegistry,registry.create?batch=1"
    body = {"0": {"json": {**login, "registryType": "cloud"}}, "1": {"json": HUB}}

    asked = asyncio.create_task(client.post(f"{T}{names}", json=body, headers=LINES))
    job = await server.next_job()
    await until(lambda: bool(database.execute("SELECT registry_id FROM registry")))
    await client.post("/api/job.cancel", json={"jobId": job.job_id})
    await server.sweep()
    await server.finish(job, "cancelled")
    answer = await asked

    order = [json.loads(line)["json"][0] for line in answer.text.splitlines()[1:]]
    assert order == [1, 0]


async def test_an_error_of_the_whole_request_is_that_of_each_call_and_nothing_happens(
    client: httpx2.AsyncClient,
) -> None:
    mixed = await client.post(
        f"{T}registry.create,registry.all?batch=1", json={"0": {"json": HUB}}, headers=LINES
    )

    envelopes = read_lines(mixed.text)
    assert mixed.status_code == 400
    assert {index: each["error"]["code"] for index, each in envelopes.items()} == {
        0: -32600,
        1: -32600,
    }
    assert (await client.get("/api/registry.all")).json() == []


async def test_an_unknown_key_is_refused_line_by_line(app: Starlette, database: Database) -> None:
    async with open_client(app, "nobody's key") as nobody:
        answer = await nobody.post(
            f"{T}registry.create?batch=1", json={"0": {"json": HUB}}, headers=LINES
        )

    assert read_lines(answer.text)[0]["error"]["data"]["httpStatus"] == 401
    assert database.execute("SELECT registry_id FROM registry") == []


async def test_a_single_call_is_not_answered_by_lines(client: httpx2.AsyncClient) -> None:
    answer = await client.get(f"{T}registry.all?input={query(UNDEFINED)}", headers=LINES)

    assert answer.text == '{"result":{"data":{"json":[]}}}'


async def test_a_large_batch_is_answered_and_a_larger_one_refused(
    client: httpx2.AsyncClient,
) -> None:
    async def ask(count: int) -> httpx2.Response:
        return await client.get(f"{T}{','.join(['registry.all'] * count)}?batch=1&input=%7B%7D")

    good, refused = await ask(MAX_BATCH_CALLS), await ask(MAX_BATCH_CALLS + 1)

    assert (good.status_code, len(good.json())) == (200, MAX_BATCH_CALLS)
    assert refused.status_code == 400
    assert str(MAX_BATCH_CALLS) in refused.text
