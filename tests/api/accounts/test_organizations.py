"""Settings of an organization, which its registries have by default."""

from datetime import datetime
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from tests.api.asking import create_registry, open_client
from tests.databases import Database
from tests.world import open_world
from worker.control.maintenance.credential_events import record_events


async def set_days(client: httpx2.AsyncClient, days: int) -> dict[str, Any]:
    body = {"rotateAfterDays": days}
    answer = await client.post("/api/organization.updateSettings", json=body)
    assert answer.status_code == 200, answer.text
    settings: dict[str, Any] = answer.json()
    return settings


def days_of(registry: dict[str, Any]) -> int:
    due, changed = (
        datetime.fromisoformat(registry[name]) for name in ("passwordDueAt", "passwordChangedAt")
    )
    return (due - changed).days


async def test_a_registry_without_days_of_its_own_has_those_of_the_organization(
    client: httpx2.AsyncClient,
) -> None:
    first = await create_registry(client)
    own = await create_registry(client, rotateAfterDays=30)
    before = (await client.get("/api/organization.settings")).json()

    settings = await set_days(client, 60)
    later = await create_registry(client)
    chosen = {"registryId": own["registryId"], "rotateAfterDays": None}
    shown = (await client.get("/api/registry.all")).json()
    await client.post("/api/registry.update", json=chosen)
    one = (await client.get("/api/registry.one", params={"registryId": own["registryId"]})).json()
    removed = await client.post("/api/registry.remove", json={"registryId": first["registryId"]})

    assert (before["organizationId"], before["rotateAfterDays"]) == (first["organizationId"], 90)
    assert settings == {**before, "rotateAfterDays": 60}
    assert (await client.get("/api/organization.settings")).json() == settings
    assert [each["rotateAfterDays"] for each in shown] == [None, 30, None]
    assert [days_of(each) for each in (first, *shown)] == [90, 60, 30, 60]
    assert (days_of(later), days_of(one), days_of(removed.json())) == (60, 60, 60)


async def test_events_follow_the_organization(
    client: httpx2.AsyncClient, database: Database
) -> None:
    webhook = {"url": "https://example.com/", "events": ["credential.due"]}
    assert (await client.post("/api/webhook.create", json=webhook)).is_success
    registry = await create_registry(client)
    database.execute("UPDATE registry SET password_changed_at = now() - interval '31 days'")
    async with open_world(database) as world:
        await record_events(world.control)
        before = await world.rows("SELECT FROM webhook_delivery")

        await set_days(client, 30)
        await record_events(world.control)

        [delivery] = await world.rows("SELECT payload->'data' AS data FROM webhook_delivery")
    assert before == []
    assert delivery["data"]["registryId"] == registry["registryId"]
    assert days_of(delivery["data"]) == 30


@pytest.mark.parametrize("days", [0, 3651, None, "60"])
async def test_days_that_make_no_sense_are_refused(
    client: httpx2.AsyncClient, days: object
) -> None:
    body = {"rotateAfterDays": days}

    answer = await client.post("/api/organization.updateSettings", json=body)

    assert answer.status_code == 400
    assert (await client.get("/api/organization.settings")).json()["rotateAfterDays"] == 90


async def test_members_read_the_settings_and_do_not_change_them(
    client: httpx2.AsyncClient, app: Starlette
) -> None:
    key = (await client.post("/api/apiKey.create", json={"name": "ci"})).json()["key"]
    async with open_client(app, key) as member:
        read = await member.get("/api/organization.settings")
        changed = await member.post("/api/organization.updateSettings", json={"rotateAfterDays": 1})

    assert (read.status_code, changed.status_code) == (200, 403)


async def test_another_organization_keeps_its_settings(
    client: httpx2.AsyncClient, database: Database
) -> None:
    database.execute("INSERT INTO organization (organization_id, name) VALUES ('other', 'other')")

    await set_days(client, 60)

    found = database.execute(
        "SELECT rotate_after_days FROM organization WHERE organization_id = 'other'"
    )
    assert found == [(90,)]
