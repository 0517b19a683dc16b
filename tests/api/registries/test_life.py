"""A registry shows the life of its login."""

from typing import Any

import httpx2

from tests.api.asking import create_registry
from tests.api.fleet import TestServer
from tests.api.registries.refusals import pull, refuse_twice


async def read(client: httpx2.AsyncClient, registry_id: str) -> dict[str, Any]:
    answer = await client.get("/api/registry.one", params={"registryId": registry_id})
    found: dict[str, Any] = answer.json()
    return found


async def test_a_login_that_was_never_used_is_untested(client: httpx2.AsyncClient) -> None:
    created = await create_registry(client)

    login = (await read(client, created["registryId"]))["login"]

    assert login == {
        "state": "untested",
        "lastUsedAt": None,
        "lastUsedJobId": None,
        "lastUsedServerId": None,
        "lastAcceptedAt": None,
        "refusals": [],
    }


async def test_a_login_shows_its_last_use(client: httpx2.AsyncClient, server: TestServer) -> None:
    registry_id = (await create_registry(client))["registryId"]
    await pull(client, registry_id, 1)
    job = await server.succeed_next({})

    login = (await read(client, registry_id))["login"]

    assert (login["state"], login["refusals"]) == ("accepted", [])
    assert (login["lastUsedJobId"], login["lastUsedServerId"]) == (job.job_id, server.server_id)
    assert login["lastAcceptedAt"] <= login["lastUsedAt"]


async def test_a_refused_login_shows_who_was_refused(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    registry_id = (await create_registry(client))["registryId"]
    await refuse_twice(client, server, registry_id)

    [listed] = (await client.get("/api/registry.all")).json()

    assert listed["usedBy"] is None
    [refusal] = listed["login"]["refusals"]
    assert (refusal["serverId"], refusal["code"]) == (server.server_id, "auth_bad_credentials")
    assert refusal["times"] == 2
    assert refusal["since"] <= refusal["lastRefusedAt"]
