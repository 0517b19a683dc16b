"""Ask the application: a client, and the inputs that many tests need."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx2
from starlette.applications import Starlette

ADMIN_KEY = "wharf_test-admin-key-0123456789abcdefghijklmnopq"

HUB = {
    "registryName": "Docker Hub",
    "registryUrl": "https://index.docker.io/v1/",
    "username": "dockerhubuser",
    "password": "dockerhub-token",
    "registryType": "cloud",
    "imagePrefix": "mycompany/",
}
GHCR = {
    "registryName": "GitHub Container Registry",
    "registryUrl": "ghcr.io",
    "username": "github-username",
    "password": "ghp_xxxxxxxxxxxxxxxxxxxx",
    "registryType": "cloud",
    "imagePrefix": "ghcr.io/myorg/",
}


def open_client(app: Starlette, key: str | None) -> httpx2.AsyncClient:
    headers = {"x-api-key": key} if key else {}
    transport = httpx2.ASGITransport(app=app)
    return httpx2.AsyncClient(transport=transport, base_url="http://api.test", headers=headers)


async def create_registry(client: httpx2.AsyncClient, **changes: Any) -> dict[str, Any]:
    answer = await client.post("/api/registry.create", json={**GHCR, **changes})
    assert answer.status_code == 200, answer.text
    created: dict[str, Any] = answer.json()
    return created


async def create_application(client: httpx2.AsyncClient, **settings: Any) -> dict[str, Any]:
    answer = await client.post("/api/application.create", json={"name": "My App", **settings})
    assert answer.status_code == 200, answer.text
    created: dict[str, Any] = answer.json()
    return created


async def upload_context(
    client: httpx2.AsyncClient, application_id: str, content: bytes = b"a tar"
) -> dict[str, Any]:
    answer = await client.post(
        "/api/application.uploadContext",
        params={"applicationId": application_id},
        content=content,
        headers={"content-type": "application/x-tar"},
    )
    assert answer.status_code == 200, answer.text
    stored: dict[str, Any] = answer.json()
    return stored


async def show_application(client: httpx2.AsyncClient, application_id: str) -> dict[str, Any]:
    answer = await client.get("/api/application.one", params={"applicationId": application_id})
    shown: dict[str, Any] = answer.json()
    return shown


async def until(condition: Callable[[], bool]) -> None:
    """Return once it holds; ten seconds at the most."""
    async with asyncio.timeout(10):
        while True:
            if condition():
                return
            await asyncio.sleep(0.02)
