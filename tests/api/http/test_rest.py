"""The OpenAPI door, and the document that describes it."""

import json
import re
from functools import reduce
from operator import getitem

import httpx2
import pytest
from starlette.applications import Starlette

from api.routers import PROCEDURES
from tests.api.asking import create_registry, open_client


async def test_a_query_is_a_get_with_flat_parameters(client: httpx2.AsyncClient) -> None:
    created = await create_registry(client)

    answer = await client.get("/api/registry.one", params={"registryId": created["registryId"]})

    assert answer.json() == created
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/registry.all"),
        ("GET", "/api/registry.create"),
        ("PUT", "/api/registry.create"),
        ("GET", "/api/registry.nosuch"),
        ("GET", "/api/"),
    ],
)
async def test_a_wrong_method_is_404_like_an_unknown_path(
    client: httpx2.AsyncClient, method: str, path: str
) -> None:
    answer = await client.request(method, path)

    assert (answer.status_code, answer.json()["message"]) == (404, "Not found")


async def test_without_a_key_every_path_is_401(app: Starlette) -> None:
    async with open_client(app, None) as nobody:
        answers = [await nobody.get(f"/api/{path}") for path in ("registry.all", "registry.nosuch")]

    assert [answer.status_code for answer in answers] == [401, 401]


async def test_a_refused_input_lists_its_issues(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/api/registry.remove", json={})

    issue = {
        "expected": "string",
        "code": "invalid_type",
        "path": ["registryId"],
        "message": "Invalid input: expected string, received undefined",
    }
    body = answer.json()
    assert answer.status_code == 400
    assert body["message"] == "Input validation failed"
    assert body["issues"] == [issue]
    assert body["data"]["zodError"]["fieldErrors"] == {"registryId": [issue["message"]]}


async def test_the_document_describes_every_procedure_with_its_answer(
    client: httpx2.AsyncClient,
) -> None:
    document = (await client.get("/openapi.json")).json()

    streams = {"/api/job.events", "/api/application.uploadContext"}
    assert set(document["paths"]) == {f"/api/{name}" for name in PROCEDURES} | streams
    for name, procedure in PROCEDURES.items():
        route = document["paths"][f"/api/{name}"][procedure.method.lower()]
        schema = route["responses"]["200"]["content"]["application/json"]["schema"]
        assert schema.get("$ref") or schema["type"] in {"array", "boolean", "integer", "string"}
        assert bool(route.get("security")) == (procedure.role is not None)


async def test_a_password_is_in_no_answer_of_the_document(client: httpx2.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()

    for name, shape in document["components"]["schemas"].items():
        assert name.endswith("Input") or "password" not in shape.get("properties", {})


async def test_every_reference_of_the_document_is_to_something_in_it(
    client: httpx2.AsyncClient,
) -> None:
    text = (await client.get("/openapi.json")).text
    document = json.loads(text)

    for reference in set(re.findall(r'"\$ref":"#/([^"]+)"', text)):
        assert isinstance(reduce(getitem, reference.split("/"), document), dict)

    schemas = document["components"]["schemas"]
    ports = schemas["ApplicationCreateInput"]["properties"]["ports"]
    assert ports["items"] == {"$ref": "#/components/schemas/Port"}
    assert set(schemas["Port"]["required"]) == {"publishedPort", "targetPort"}
