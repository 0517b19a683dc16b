"""A viewer's key reads everything and changes nothing."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from starlette.applications import Starlette

from api.routers import PROCEDURES
from tests.api.asking import create_application, open_client
from tests.databases import Database


@pytest.fixture
async def viewer(app: Starlette, client: httpx2.AsyncClient) -> AsyncIterator[httpx2.AsyncClient]:
    body = {"name": "dashboard", "role": "viewer"}
    created = (await client.post("/api/apiKey.create", json=body)).json()
    assert created["role"] == "viewer"
    async with open_client(app, created["key"]) as client_of_viewer:
        yield client_of_viewer


def read_counts(database: Database) -> list[object]:
    tables = ("job", "audit_event", "registry", "application", "build", "deployment", "api_key")
    return [database.execute(f"SELECT count(*) FROM {table}") for table in tables]


async def test_a_viewer_calls_every_query_that_is_not_of_administrators(
    viewer: httpx2.AsyncClient,
) -> None:
    queries = [name for name, one in PROCEDURES.items() if one.kind == "query"]
    answers = {name: await viewer.get(f"/api/{name}") for name in queries}

    refused = {name for name, answer in answers.items() if answer.status_code in {401, 403}}
    assert refused == {name for name in queries if PROCEDURES[name].role == "admin"}
    assert answers["registry.all"].json() == []


async def test_a_viewer_calls_no_mutation(viewer: httpx2.AsyncClient, database: Database) -> None:
    before = read_counts(database)
    mutations = [one for one in PROCEDURES.values() if one.kind == "mutation" and one.role]
    assert len(mutations) > 50

    for procedure in mutations:
        answer = await viewer.post(f"/api/{procedure.name}", json={})
        assert answer.status_code == 403, procedure.name
        roles = "admin" if procedure.role == "admin" else "admin or member"
        assert answer.json()["message"].startswith(
            f"this request needs an API key whose role is {roles}, and this key's is viewer"
        )

    assert read_counts(database) == before


async def test_a_viewer_uploads_no_context(
    client: httpx2.AsyncClient, viewer: httpx2.AsyncClient
) -> None:
    application_id = (await create_application(client))["applicationId"]

    answer = await viewer.post(
        "/api/application.uploadContext",
        params={"applicationId": application_id},
        content=b"a tar",
        headers={"content-type": "application/x-tar"},
    )

    assert answer.status_code == 403


async def test_an_application_does_not_name_the_key_of_a_viewer_as_one_that_may_build(
    client: httpx2.AsyncClient, viewer: httpx2.AsyncClient
) -> None:
    application_id = (await create_application(client))["applicationId"]
    keys = (await viewer.get("/api/apiKey.all")).json()
    [key] = [one["apiKeyId"] for one in keys if one["role"] == "viewer"]

    answer = await client.post(
        "/api/application.update", json={"applicationId": application_id, "allowedKeys": [key]}
    )

    assert answer.status_code == 400
    assert "the API key dashboard is a viewer's" in answer.text
