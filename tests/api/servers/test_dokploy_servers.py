"""Servers as Dokploy's command line makes, changes and reads them."""

import json
from typing import Any

import httpx2
import pytest

from tests.api.fleet import TestServer
from tests.databases import Database

BY_SSH = {
    "description": None,
    "ipAddress": "192.0.2.1",
    "port": 22,
    "username": "root",
    "sshKeyId": "key",
    "serverType": "deploy",
    "enableDockerCleanup": True,
}
WITHOUT_EFFECT = {"port", "username", "sshKeyId", "enableDockerCleanup"}


async def create(client: httpx2.AsyncClient, **more: Any) -> dict[str, Any]:
    answer = await client.post("/api/server.create", json={"name": "web", **BY_SSH, **more})
    assert answer.status_code == 200, answer.text
    created: dict[str, Any] = answer.json()
    return created


@pytest.mark.parametrize(
    ("server_type", "roles"), [("deploy", ["build", "deploy"]), ("build", ["build"])]
)
async def test_a_server_of_each_type_has_its_roles(
    client: httpx2.AsyncClient, server_type: str, roles: list[str]
) -> None:
    created = await create(client, serverType=server_type)

    assert created["roles"] == roles
    assert (created["serverType"], created["serverStatus"]) == (server_type, "inactive")
    assert created["ipAddress"] == "192.0.2.1"
    assert (created["port"], created["sshKeyId"]) == (None, None)
    assert {each["field"] for each in created["warnings"]} == WITHOUT_EFFECT


async def test_an_update_changes_the_roles_only_with_the_type(client: httpx2.AsyncClient) -> None:
    created = await create(client, roles=["deploy"])
    changed = {"serverId": created["serverId"], "name": "renamed", **BY_SSH}

    same = await client.post("/api/server.update", json=changed)
    builds = await client.post("/api/server.update", json={**changed, "serverType": "build"})
    named = {each["field"] for each in json.loads(same.headers["x-wharf-warnings"])}

    assert (same.json()["roles"], same.json()["name"]) == (["deploy"], "renamed")
    assert builds.json()["roles"] == ["build"]
    assert named == WITHOUT_EFFECT


async def test_the_address_is_that_of_its_worker_unless_another_one_is_given(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    database.execute("UPDATE server SET seen_address = '10.1.2.3'")

    async def shown() -> str:
        [one] = (await client.get("/api/server.all")).json()
        return str(one["ipAddress"])

    async def change(address: str | None) -> httpx2.Response:
        body = {"serverId": server.server_id, "ipAddress": address}
        return await client.post("/api/server.update", json=body)

    seen = await shown()
    given = [(await change(each)).json()["ipAddress"] for each in ("2001:db8::1", "web.example")]
    refused = [
        (await change(each)).status_code for each in ("a b", "-x", "1.2.3", "http://a", "x" * 254)
    ]
    kept = await shown()
    taken = (await change("")).json()["ipAddress"]

    assert (seen, given) == ("10.1.2.3", ["2001:db8::1", "web.example"])
    assert refused == [400] * 5
    assert (kept, taken) == ("web.example", "10.1.2.3")


async def test_a_server_that_is_online_is_active(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    [shown] = (await client.get("/api/server.all")).json()

    assert (shown["serverType"], shown["serverStatus"]) == ("deploy", "active")
