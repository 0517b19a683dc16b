"""Every request of the seed document, as written there."""

import asyncio
import re
from typing import Any

import httpx2
import pytest

from tests.api.asking import GHCR, HUB
from tests.api.fleet import TestServer, good_report

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
KEYS = [
    "registryId",
    "registryName",
    "imagePrefix",
    "username",
    "registryUrl",
    "createdAt",
    "registryType",
    "organizationId",
]
OURS = [
    *("allowedServers", "allowedApplications", "provider", "passwordChangedAt"),
    *("passwordExpiresAt", "passwordDueAt", "rotateAfterDays", "credential", "credentialError"),
    "quota",
    *("caCertificates", "clientIdentity", "installCa", "plainHttp"),
    *("login", "usedBy"),
]
"""The fields that the seed does not have."""

CREATED: list[dict[str, str]] = [
    HUB,
    GHCR,
    {
        "registryName": "AWS ECR",
        "registryUrl": "123456789.dkr.ecr.us-east-1.amazonaws.com",
        "username": "AWS",
        "password": "<ecr-token>",
        "registryType": "cloud",
        "imagePrefix": "123456789.dkr.ecr.us-east-1.amazonaws.com/",
    },
    {
        "registryName": "Google Container Registry",
        "registryUrl": "gcr.io",
        "username": "_json_key",
        "password": "<service-account-json>",
        "registryType": "cloud",
        "imagePrefix": "gcr.io/my-project/",
    },
    {
        "registryName": "Azure Container Registry",
        "registryUrl": "myregistry.azurecr.io",
        "username": "myregistry",
        "password": "<acr-password>",
        "registryType": "cloud",
    },
    {
        "registryName": "Self-Hosted Registry",
        "registryUrl": "registry.example.com:5000",
        "username": "admin",
        "password": "registry-password",
        "registryType": "selfHosted",
    },
]


async def ask(client: httpx2.AsyncClient, name: str, body: dict[str, Any]) -> httpx2.Response:
    """``curl -d`` with a JSON content type: a POST, also to ``registry.one``."""
    return await client.post(f"/api/trpc/{name}", json=body)


@pytest.mark.parametrize("body", CREATED, ids=lambda body: body["registryName"])
async def test_each_registry_of_the_seed_is_stored_and_shown_without_its_password(
    client: httpx2.AsyncClient, body: dict[str, str]
) -> None:
    answer = await ask(client, "registry.create", body)

    assert answer.status_code == 200
    created = answer.json()
    created.pop("warnings", None)  # the seed's passwords are placeholders
    assert list(created) == [*KEYS, *OURS]
    assert MOMENT.fullmatch(created["createdAt"])
    assert {key: created[key] for key in body if key != "password"} == {
        key: value for key, value in body.items() if key != "password"
    }
    assert created["imagePrefix"] == body.get("imagePrefix")
    listed = await client.get("/api/trpc/registry.all")
    assert listed.json() == [created]
    one = await ask(client, "registry.one", {"registryId": created["registryId"]})
    assert one.json() == created
    assert body["password"] not in answer.text + listed.text + one.text


async def test_a_registry_is_updated_and_removed(client: httpx2.AsyncClient) -> None:
    created = (await ask(client, "registry.create", HUB)).json()
    change = {
        "registryId": created["registryId"],
        "registryName": "Docker Hub Production",
        "username": "newusername",
        "password": "newpassword",
    }

    updated = await ask(client, "registry.update", change)
    removed = await ask(client, "registry.remove", {"registryId": created["registryId"]})

    assert updated.json() is True
    times = {name: removed.json()[name] for name in ("passwordChangedAt", "passwordDueAt")}
    assert removed.json() == {
        **created,
        **times,
        "registryName": "Docker Hub Production",
        "username": "newusername",
    }
    assert (await client.get("/api/trpc/registry.all")).json() == []


@pytest.mark.parametrize(
    "body",
    [
        {
            "registryUrl": "ghcr.io",
            "username": "github-user",
            "password": "ghp_xxxxxxxxxxxx",
            "registryType": "cloud",
        },
        {
            "registryUrl": "registry.example.com",
            "username": "admin",
            "password": "password",
            "serverId": "server-123",
        },
    ],
    ids=["before creating", "on a server"],
)
async def test_a_test_before_creating_answers_true(
    client: httpx2.AsyncClient, server: TestServer, body: dict[str, str]
) -> None:
    if "serverId" in body:
        body = {**body, "serverId": server.server_id}

    answer, _ = await asyncio.gather(
        ask(client, "registry.testRegistry", body), server.succeed_next(good_report())
    )

    assert (answer.status_code, answer.json()) == (200, True)


async def test_a_test_of_a_stored_registry_answers_true(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    created = (await ask(client, "registry.create", HUB)).json()

    answer, _ = await asyncio.gather(
        ask(client, "registry.testRegistryById", {"registryId": created["registryId"]}),
        server.succeed_next(good_report()),
    )

    assert (answer.status_code, answer.json()) == (200, True)


async def test_an_application_is_created_with_its_registries(client: httpx2.AsyncClient) -> None:
    registry = (await ask(client, "registry.create", HUB)).json()
    body = {
        "name": "My App",
        "registryId": registry["registryId"],
        "buildRegistryId": registry["registryId"],
    }

    answer = await ask(client, "application.create", body)

    assert answer.status_code == 200
    assert {field: answer.json()[field] for field in body} == body


async def test_an_application_names_where_to_push_pull_and_store_its_images(
    client: httpx2.AsyncClient,
) -> None:
    application = (await ask(client, "application.create", {"name": "My App"})).json()
    chosen = {"applicationId": application["applicationId"]}
    push, pull, keep = [
        (await ask(client, "registry.create", body)).json()["registryId"] for body in CREATED[:3]
    ]

    answers = [
        await ask(client, "application.update", body)
        for body in (
            {**chosen, "buildRegistryId": push, "registryId": pull},
            {**chosen, "rollbackRegistryId": keep},
        )
    ]

    assert [answer.json() for answer in answers] == [True, True]
    assert (await ask(client, "application.one", chosen)).json() == {
        **application,
        "registryId": pull,
        "buildRegistryId": push,
        "rollbackRegistryId": keep,
    }
