"""The bare dialect on tRPC's path: bare JSON in, bare JSON out."""

import json

import httpx2
import pytest
from starlette.applications import Starlette

from tests.api.asking import create_registry, open_client

T = "/api/trpc/"
JSON = {"content-type": "application/json"}


async def test_a_query_takes_its_input_in_each_of_three_ways(client: httpx2.AsyncClient) -> None:
    created = await create_registry(client)
    chosen = {"registryId": created["registryId"]}

    answers = [
        await client.get(f"{T}registry.one", params=chosen),
        await client.get(f"{T}registry.one", params={"input": json.dumps(chosen)}),
        await client.post(f"{T}registry.one", json=chosen),
    ]

    assert [answer.json() for answer in answers] == [created] * 3


@pytest.mark.parametrize("suffix", ["", "?input={}"])
async def test_a_query_without_input_takes_none_or_an_empty_one(
    client: httpx2.AsyncClient, suffix: str
) -> None:
    answer = await client.get(f"{T}registry.all{suffix}")

    assert answer.json() == []


async def test_a_post_without_a_body_needs_no_content_type(client: httpx2.AsyncClient) -> None:
    answer = await client.post(f"{T}registry.all")

    assert answer.json() == []


async def test_a_number_may_come_as_a_flat_parameter(client: httpx2.AsyncClient) -> None:
    good = await client.get(f"{T}job.all?limit=10")
    bad = await client.get(f"{T}job.all?limit=ten")
    twice = await client.get(f"{T}job.all?limit=1&limit=2")

    assert good.json() == {"jobs": [], "nextCursor": None}
    assert bad.json()["issues"][0]["path"] == ["limit"]
    assert (twice.status_code, twice.json()["message"]) == (
        400,
        "a query parameter is given twice",
    )


async def test_a_mutation_by_get_is_405_and_says_what_would_do(client: httpx2.AsyncClient) -> None:
    answer = await client.get(f"{T}registry.remove?registryId=x")

    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.json()["message"] == (
        'Unsupported GET-request to mutation procedure at path "registry.remove"'
    )


async def test_an_unknown_procedure_is_404(client: httpx2.AsyncClient) -> None:
    answer = await client.post(f"{T}registry.nosuch", json={})

    assert answer.status_code == 404
    assert answer.json()["message"] == 'No procedure found on path "registry.nosuch"'


async def test_an_error_is_plain(client: httpx2.AsyncClient) -> None:
    answer = await client.post(f"{T}registry.one", json={"registryId": "registry-123"})

    assert answer.json() == {
        "message": "Registry not found",
        "code": "NOT_FOUND",
        "data": {"code": "NOT_FOUND", "httpStatus": 404, "path": "registry.one", "zodError": None},
    }


async def test_without_a_key_even_a_bad_body_is_401(app: Starlette) -> None:
    async with open_client(app, None) as nobody:
        answer = await nobody.post(f"{T}registry.create", content=b"{", headers=JSON)

    assert answer.status_code == 401
    assert answer.json()["message"] == "the request has no API key: send it as x-api-key"


@pytest.mark.parametrize(
    "body",
    [b"{", b"\xff\xfe", b'{"registryName": NaN}', b"[" * 200_000, b"1" * 10_000, b"nope"],
    ids=["cut off", "not utf-8", "nan", "deep", "long number", "word"],
)
async def test_a_body_that_cannot_be_read_is_400(client: httpx2.AsyncClient, body: bytes) -> None:
    answer = await client.post(f"{T}registry.create", content=body, headers=JSON)

    assert answer.status_code == 400
    assert answer.json()["code"] == "BAD_REQUEST"


@pytest.mark.parametrize("path", [T, "/api/"])
async def test_a_body_of_more_than_one_mebibyte_is_413(
    client: httpx2.AsyncClient, path: str
) -> None:
    answer = await client.post(
        f"{path}registry.create", content=b" " * (1024 * 1024 + 1), headers=JSON
    )

    assert answer.status_code == 413


async def test_a_form_is_415(client: httpx2.AsyncClient) -> None:
    answer = await client.post(f"{T}registry.one", data={"registryId": "x"})

    assert answer.status_code == 415


async def test_a_body_that_would_not_be_read_is_refused(client: httpx2.AsyncClient) -> None:
    body = {"registryName": "a", "registryUrl": "ghcr.io", "username": "u", "password": "p"}
    beside = {"imagePrefix": "team"}
    chosen = {"serverId": "any"}
    answers = [
        await client.post("/api/trpc/registry.create", json=body, params=beside),
        await client.post("/api/registry.create", json=body, params=beside),
        await client.request("GET", "/api/job.all", json=chosen),
        await client.request("GET", "/api/trpc/job.all", json=chosen),
        await client.get("/api/trpc/job.all", params={"input": "{}", **chosen}),
        await client.get("/api/trpc/job.all?input={}&input={}"),
    ]

    assert [answer.status_code for answer in answers] == [400] * len(answers)
    assert {answer.json()["data"]["cause"]["code"] for answer in answers} == {"no_effect"}
    assert "imagePrefix" in answers[0].json()["message"]
    assert (await client.get("/api/registry.all")).json() == []


async def test_warnings_are_in_the_header_of_every_dialect(client: httpx2.AsyncClient) -> None:
    body = {"name": "web", "environmentId": "x"}
    plain = await client.post("/api/application.create", json=body)
    bare = await client.post("/api/trpc/application.create", json=body)
    single = await client.post("/api/trpc/application.create", json={"json": body})
    batch = await client.post(
        "/api/trpc/application.create,application.create?batch=1",
        json={"0": {"json": body}, "1": {"json": body}},
    )

    found = [json.loads(each.headers["x-wharf-warnings"]) for each in (plain, bare, single, batch)]
    assert [[each["field"] for each in warnings] for warnings in found] == [
        *(["environmentId"],) * 3,
        ["environmentId"] * 2,
    ]
    shown = single.json()["result"]["data"]["json"]
    assert shown["warnings"] == plain.json()["warnings"] == found[0]
