"""Webhooks hear of rotations: of a login that is used, refused, or rolled back."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from shared.vault import KeyRing
from tests.api.asking import create_registry
from tests.api.fleet import TestServer
from tests.api.registries.rotations.rotating import NEW, OLD, Fleet, open_fleet
from tests.databases import Database

EVENTS = ["credential.rolled_back", "credential.rotated", "credential.rotation_refused"]
HOOK = {"url": "https://hooks.example.com/", "events": EVENTS}


@pytest.fixture
async def fleet(
    client: httpx2.AsyncClient, server: TestServer, database: Database, vault: KeyRing
) -> AsyncIterator[Fleet]:
    async with open_fleet(client, server, database, vault) as fleet:
        yield fleet


async def create(client: httpx2.AsyncClient) -> dict[str, str]:
    answer = await client.post("/api/webhook.create", json=HOOK)
    assert answer.json()["events"] == EVENTS
    return {"registryId": (await create_registry(client))["registryId"]}


async def rotate(client: httpx2.AsyncClient, chosen: dict[str, str]) -> httpx2.Response:
    body = {**chosen, "username": "bob", "password": NEW}
    return await client.post("/api/registry.rotate", json=body)


async def sent_events(client: httpx2.AsyncClient) -> list[dict[str, Any]]:
    """Return the data of all messages, the oldest first, with their events."""
    [webhook] = (await client.get("/api/webhook.all")).json()
    params = {"webhookId": webhook["webhookId"]}
    answer = await client.get("/api/webhook.deliveries", params=params)
    assert NEW not in answer.text
    assert OLD not in answer.text
    return [
        {"event": one["event"], **one["payload"]["data"]}
        for one in sorted(answer.json(), key=lambda one: one["deliveryId"])
    ]


async def test_a_rotation_is_told_with_the_login_that_is_in_use_now(
    client: httpx2.AsyncClient, fleet: Fleet
) -> None:
    chosen = await create(client)
    async with fleet.working():
        rotated = (await rotate(client, chosen)).json()
    for _ in range(2):
        await fleet.step()

    [event] = await sent_events(client)
    assert event.pop("createdAt") == rotated["createdAt"]
    assert event == {
        "event": "credential.rotated",
        "rotationId": rotated["rotationId"],
        **chosen,
        "registryName": "GitHub Container Registry",
        "host": "ghcr.io",
        "username": "bob",
        "forced": False,
        "error": None,
        "keptUntil": rotated["keptUntil"],
    }


async def test_a_refused_rotation_is_told_with_its_cause(
    client: httpx2.AsyncClient, fleet: Fleet
) -> None:
    chosen = await create(client)
    async with fleet.working(accepts=False):
        assert (await rotate(client, chosen)).status_code == 400

    [event] = await sent_events(client)
    assert event["event"] == "credential.rotation_refused"
    assert event["error"]["code"] == "auth_bad_credentials"
    assert event["username"] != "bob"
    assert event["keptUntil"] is None


async def test_a_rollback_is_told_as_another_event_of_the_rotation(
    client: httpx2.AsyncClient, fleet: Fleet
) -> None:
    chosen = await create(client)
    async with fleet.working():
        await rotate(client, chosen)
    await client.post("/api/registry.rollbackCredential", json=chosen)

    first, second = await sent_events(client)
    assert (first["event"], second["event"]) == ("credential.rotated", "credential.rolled_back")
    assert first["rotationId"] == second["rotationId"]
    assert (first["username"], second["username"] != "bob") == ("bob", True)


async def test_an_update_of_the_login_is_told_as_a_rotation(
    client: httpx2.AsyncClient, fleet: Fleet
) -> None:
    chosen = await create(client)
    body = {**chosen, "username": "bob", "password": NEW}
    assert (await client.post("/api/registry.update", json=body)).status_code == 200

    [event] = await sent_events(client)
    assert (event["event"], event["username"]) == ("credential.rotated", "bob")


async def test_a_cancelled_rotation_is_not_told(client: httpx2.AsyncClient, fleet: Fleet) -> None:
    chosen = await create(client)
    body = {**chosen, "password": NEW}
    await client.post("/api/registry.rotate", json=body, headers={"Prefer": "respond-async"})
    answer = await client.post("/api/registry.cancelRotation", json=chosen)

    assert answer.json()["state"] == "cancelled"
    assert await sent_events(client) == []
