"""The strict dialect, compared with what ``@trpc/server`` 11.10 and superjson really answer."""

import json
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from starlette.applications import Starlette

from tests.api.asking import HUB, create_registry, open_client

T = "/api/trpc/"
JSON = "application/json"
TEXT = "text/plain;charset=UTF-8"
UNDEFINED = {"json": None, "meta": {"values": ["undefined"], "v": 1}}


def query(value: object) -> str:
    return quote(json.dumps(value))


def fails(  # noqa: PLR0917 - in the order of the envelope
    message: str, code: int, name: str, status: int, path: str, zod: str = "null"
) -> str:
    return (
        f'{{"error":{{"json":{{"message":{json.dumps(message)},"code":{code},'
        f'"data":{{"code":"{name}","httpStatus":{status},"path":"{path}","zodError":{zod}}}}}}}}}'
    )


async def test_one_call_is_answered_in_its_envelope(client: httpx2.AsyncClient) -> None:
    answer = await client.get(f"{T}registry.all?input={query(UNDEFINED)}")

    assert answer.text == '{"result":{"data":{"json":[]}}}'
    assert answer.headers["content-type"] == JSON
    assert answer.headers["vary"] == "trpc-accept"


async def test_a_batch_is_answered_by_an_array_even_for_one_call(
    client: httpx2.AsyncClient,
) -> None:
    answer = await client.get(f"{T}registry.all?batch=1&input={query({'0': UNDEFINED})}")

    assert answer.text == '[{"result":{"data":{"json":[]}}}]'
    assert answer.status_code == 200


async def test_a_batch_with_different_endings_is_207(client: httpx2.AsyncClient) -> None:
    inputs = query({"0": UNDEFINED, "1": {"json": {"registryId": "a"}}})

    answer = await client.get(f"{T}registry.all,registry.one?batch=1&input={inputs}")

    missing = fails("Registry not found", -32004, "NOT_FOUND", 404, "registry.one")
    assert answer.status_code == 207
    assert answer.text == '[{"result":{"data":{"json":[]}}},' + missing + "]"


async def test_a_batch_whose_calls_all_fail_alike_has_their_status(
    client: httpx2.AsyncClient,
) -> None:
    inputs = query({"0": {"json": {"registryId": "a"}}, "1": {"json": {"registryId": "b"}}})

    answer = await client.get(f"{T}registry.one%2Cregistry.one?batch=1&input={inputs}")

    assert answer.status_code == 404
    assert len(answer.json()) == 2


async def test_a_mutation_takes_its_input_from_the_body(client: httpx2.AsyncClient) -> None:
    answer = await client.post(f"{T}registry.create?batch=1", json={"0": {"json": HUB}})

    [call] = answer.json()
    assert call["result"]["data"]["json"]["registryName"] == "Docker Hub"


async def test_a_field_that_superjson_marks_as_undefined_counts_as_absent(
    client: httpx2.AsyncClient,
) -> None:
    body = {
        "json": {**HUB, "imagePrefix": None, "serverId": None},
        "meta": {"values": {"imagePrefix": ["undefined"], "serverId": ["undefined"]}, "v": 1},
    }

    answer = await client.post(f"{T}registry.create", json=body)

    assert answer.json()["result"]["data"]["json"]["imagePrefix"] is None


@pytest.mark.parametrize(
    ("meta", "named"),
    [
        ({"values": {"imagePrefx": ["undefined"]}, "v": 1}, "marks 'imagePrefx', which is not in"),
        ({"values": {"password.a": ["undefined"]}}, "marks 'password.a', which is not in"),
        ({"values": {"imagePrefix": ["set"]}}, "mark only undefined and Date"),
        ({"values": ["map", {}]}, "mark only undefined and Date"),
        ({"vaules": {"imagePrefix": ["undefined"]}}, "may have only the keys values"),
        (["undefined"], "may have only the keys values"),
    ],
)
async def test_a_mark_of_superjson_that_would_have_no_effect_is_refused(
    client: httpx2.AsyncClient, meta: object, named: str
) -> None:
    body = {"json": {**HUB, "imagePrefix": None}, "meta": meta}

    answer = await client.post(f"{T}registry.create", json=body)

    assert answer.status_code == 400
    assert named in answer.json()["error"]["json"]["message"]
    assert (await client.get("/api/registry.all")).json() == []


async def test_a_batch_parameter_that_is_no_flag_is_refused(client: httpx2.AsyncClient) -> None:
    answers = [
        await client.get(f"{T}registry.all?batch={value}&input={query(UNDEFINED)}")
        for value in ("0", "2", "true")
    ]

    assert [answer.status_code for answer in answers] == [200, 400, 400]
    assert "batch is 0 or 1" in answers[1].text


async def test_an_unknown_procedure_is_reported_as_trpc_does(client: httpx2.AsyncClient) -> None:
    answer = await client.get(f"{T}registry.nosuch?input={query(UNDEFINED)}")

    expected = 'No procedure found on path "registry.nosuch"'
    assert answer.status_code == 404
    assert answer.text == fails(expected, -32004, "NOT_FOUND", 404, "registry.nosuch")


async def test_a_path_with_a_slash_is_no_procedure(client: httpx2.AsyncClient) -> None:
    answer = await client.get(f"{T}registry/all?input={query(UNDEFINED)}")

    assert answer.status_code == 404
    assert "registry/all" in answer.text


async def test_a_query_asked_by_post_is_405(client: httpx2.AsyncClient) -> None:
    answer = await client.post(f"{T}registry.one", json={"json": {"registryId": "x"}})

    expected = 'Unsupported POST-request to query procedure at path "registry.one"'
    assert answer.status_code == 405
    assert answer.text == fails(expected, -32005, "METHOD_NOT_SUPPORTED", 405, "registry.one")


async def test_an_unknown_key_is_401_even_with_a_bad_body(app: Starlette) -> None:
    async with open_client(app, "nobody's key") as nobody:
        answer = await nobody.post(f"{T}registry.create?batch=1", json={"0": {"json": {}}})

    assert answer.status_code == 401
    [call] = answer.json()
    assert call["error"]["json"]["data"] == {
        "code": "UNAUTHORIZED",
        "httpStatus": 401,
        "path": "registry.create",
        "zodError": None,
    }


async def test_a_bad_input_is_reported_in_zods_words(client: httpx2.AsyncClient) -> None:
    answer = await client.post(f"{T}registry.remove", json={"json": {}})

    message = (
        '[\n  {\n    "expected": "string",\n    "code": "invalid_type",\n    "path": [\n'
        '      "registryId"\n    ],\n'
        '    "message": "Invalid input: expected string, received undefined"\n  }\n]'
    )
    zod = (
        '{"formErrors":[],"fieldErrors":{"registryId":'
        '["Invalid input: expected string, received undefined"]}}'
    )
    assert answer.status_code == 400
    assert answer.text == fails(message, -32600, "BAD_REQUEST", 400, "registry.remove", zod)


@pytest.mark.parametrize(
    ("value", "received"), [(None, "null"), ([], "array"), ("x", "string"), (1, "number")]
)
async def test_an_input_that_is_no_object_is_refused_as_a_whole(
    client: httpx2.AsyncClient, value: object, received: str
) -> None:
    answer = await client.post(f"{T}registry.remove", json={"json": value})

    message = f"Invalid input: expected object, received {received}"
    zod = answer.json()["error"]["json"]["data"]["zodError"]
    assert zod == {"formErrors": [message], "fieldErrors": {}}


async def test_a_missing_input_is_undefined(client: httpx2.AsyncClient) -> None:
    answer = await client.get(f"{T}registry.one?batch=1")

    [call] = answer.json()
    assert call["error"]["json"]["data"]["zodError"]["formErrors"] == [
        "Invalid input: expected object, received undefined"
    ]


ISSUES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {"registryName": 4},
        {
            "expected": "string",
            "code": "invalid_type",
            "path": ["registryName"],
            "message": "Invalid input: expected string, received number",
        },
    ),
    (
        {"registryName": ""},
        {
            "origin": "string",
            "code": "too_small",
            "minimum": 1,
            "inclusive": True,
            "path": ["registryName"],
            "message": "Too small: expected string to have >=1 characters",
        },
    ),
    (
        {"registryName": "a" * 201},
        {
            "origin": "string",
            "code": "too_big",
            "maximum": 200,
            "inclusive": True,
            "path": ["registryName"],
            "message": "Too big: expected string to have <=200 characters",
        },
    ),
    (
        {"registryType": "q"},
        {
            "code": "invalid_value",
            "values": ["cloud", "selfHosted"],
            "path": ["registryType"],
            "message": 'Invalid option: expected one of "cloud"|"selfHosted"',
        },
    ),
    (
        {"foo": 1, "bar": 2},
        {
            "code": "unrecognized_keys",
            "keys": ["foo", "bar"],
            "path": [],
            "message": 'Unrecognized keys: "foo", "bar"',
        },
    ),
    (
        {"password": ""},
        {
            "origin": "string",
            "code": "too_small",
            "minimum": 1,
            "inclusive": True,
            "path": ["password"],
            "message": "Too small: expected string to have >=1 characters",
        },
    ),
]


@pytest.mark.parametrize(("change", "issue"), ISSUES)
async def test_each_issue_has_zods_shape(
    client: httpx2.AsyncClient, change: dict[str, Any], issue: dict[str, Any]
) -> None:
    answer = await client.post(f"{T}registry.create", json={"json": {**HUB, **change}})

    message = answer.json()["error"]["json"]["message"]
    assert message == json.dumps([issue], indent=2)


async def test_bad_json_is_400_for_each_call_of_a_batch(client: httpx2.AsyncClient) -> None:
    answer = await client.post(
        f"{T}registry.remove,registry.remove?batch=1",
        content=b"{",
        headers={"content-type": JSON},
    )

    assert answer.status_code == 400
    assert [call["error"]["json"]["code"] for call in answer.json()] == [-32600, -32600]


@pytest.mark.parametrize("text", ["[1]", "1", '"x"'])
async def test_a_batch_input_has_to_be_an_object(client: httpx2.AsyncClient, text: str) -> None:
    answer = await client.post(
        f"{T}registry.remove?batch=1", content=text, headers={"content-type": JSON}
    )

    expected = '"input" needs to be an object when doing a batch call'
    envelope = fails(expected, -32600, "BAD_REQUEST", 400, "registry.remove")
    assert answer.text == f"[{envelope}]"


@pytest.mark.parametrize("index", ["2", "-1", "00", "x"])
async def test_an_input_that_belongs_to_no_call_of_a_batch_is_refused(
    client: httpx2.AsyncClient, index: str
) -> None:
    inputs = {"0": UNDEFINED, index: UNDEFINED}
    answers = [
        await client.get(f"{T}registry.all,registry.all?batch=1&input={query(inputs)}"),
        await client.post(f"{T}registry.create,registry.create?batch=1", json=inputs),
    ]

    assert [answer.status_code for answer in answers] == [400, 400]
    assert all(answer.text.count('"code":"no_effect"') == 2 for answer in answers)
    assert all(f"belong to no call of the batch: {index}" in answer.text for answer in answers)


async def test_queries_and_mutations_do_not_mix(client: httpx2.AsyncClient) -> None:
    answer = await client.post(f"{T}registry.remove,registry.all?batch=1", json={})

    assert answer.status_code == 400
    assert answer.headers["content-type"] == TEXT
    assert answer.text == (
        '{"error":{"json":{"message":"Cannot mix procedure types in call: mutation, query",'
        '"code":-32600,"data":{"code":"BAD_REQUEST","httpStatus":400,"zodError":null}}}}'
    )


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        (
            {"content-type": "application/x-www-form-urlencoded"},
            'Unsupported content-type "application/x-www-form-urlencoded',
        ),
        ({}, "Missing content-type header"),
    ],
)
async def test_a_body_that_is_not_json_is_415_as_plain_text(
    client: httpx2.AsyncClient, headers: dict[str, str], message: str
) -> None:
    answer = await client.post(f"{T}registry.remove?batch=1", content=b"xx", headers=headers)

    assert answer.status_code == 415
    assert answer.headers["content-type"] == TEXT
    assert answer.text == (
        f'{{"error":{{"json":{{"message":{json.dumps(message)},"code":-32015,'
        '"data":{"code":"UNSUPPORTED_MEDIA_TYPE","httpStatus":415,"zodError":null}}}}'
    )


async def test_a_batch_of_too_many_calls_is_refused_whole(client: httpx2.AsyncClient) -> None:
    answer = await client.get(f"{T}{','.join(['registry.all'] * 501)}?batch=1")

    assert answer.status_code == 400
    assert answer.headers["content-type"] == TEXT


async def test_input_beside_the_envelope_is_refused(client: httpx2.AsyncClient) -> None:
    one, batch = {"json": HUB}, {"0": {"json": HUB}}
    answers = [
        await client.post(f"{T}registry.create?imagePrefix=team", json=one),
        await client.post(f"{T}registry.create?batch=1&imagePrefix=team", json=batch),
        await client.post(f"{T}registry.create?input=%7B%7D", json=one),
        await client.post(f"{T}registry.create?batch=1&batch=1", json=batch),
        await client.get(f"{T}job.all?serverId=x&input={query(UNDEFINED)}"),
        await client.get(f"{T}job.all?batch=1&serverId=x&input={query({'0': UNDEFINED})}"),
        await client.get(f"{T}job.all?input={query(UNDEFINED)}&input={query(UNDEFINED)}"),
        await client.request("GET", f"{T}job.all?input={query(UNDEFINED)}", json=one),
        await client.request("GET", f"{T}job.all?batch=1", json=batch),
    ]

    assert [answer.status_code for answer in answers] == [400] * len(answers)
    assert all('"code":"no_effect"' in answer.text for answer in answers)
    assert "imagePrefix" in answers[0].text
    assert (await client.get("/api/registry.all")).json() == []


async def test_head_is_answered_empty(client: httpx2.AsyncClient) -> None:
    answer = await client.head(f"{T}registry.all")

    assert (answer.status_code, answer.content) == (204, b"")


async def test_a_domain_error_carries_our_code_and_remedy(client: httpx2.AsyncClient) -> None:
    created = await create_registry(client)

    answer = await client.post(
        f"{T}registry.update", json={"json": {"registryId": created["registryId"], "username": "x"}}
    )

    data = answer.json()["error"]["json"]["data"]
    assert data["cause"] == {
        "code": "password_needed",
        "stage": None,
        "remedy": "Give the password or the credential together with the new host or username.",
        "jobId": None,
    }
