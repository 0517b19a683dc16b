"""The password of a registry is rotated through the API: tested, switched, kept, brought back."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from shared.vault import KeyRing
from tests.api.asking import create_registry
from tests.api.deploying import DIGEST, create_deployable, deploy, reconcile
from tests.api.fleet import TestServer
from tests.api.registries.rotations.rotating import NEW, OLD, Fleet, open_fleet
from tests.databases import Database


@pytest.fixture
async def fleet(
    client: httpx2.AsyncClient, server: TestServer, database: Database, vault: KeyRing
) -> AsyncIterator[Fleet]:
    async with open_fleet(client, server, database, vault) as fleet:
        yield fleet


async def create(client: httpx2.AsyncClient, fleet: Fleet) -> dict[str, Any]:
    """Create a registry that both servers use."""
    servers = [server.server_id for server in fleet.servers]
    created = await create_registry(client, allowedServers=servers)
    return {"registryId": created["registryId"]}


async def rotate(
    client: httpx2.AsyncClient, chosen: dict[str, Any], **changes: Any
) -> httpx2.Response:
    body = {**chosen, "password": NEW, **changes}
    return await client.post("/api/registry.rotate", json=body)


async def call(client: httpx2.AsyncClient, name: str, chosen: dict[str, Any]) -> httpx2.Response:
    return await client.post(f"/api/registry.{name}", json=chosen)


async def show(client: httpx2.AsyncClient, chosen: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get("/api/registry.one", params=chosen)).json()
    return found


def cause(answer: httpx2.Response) -> dict[str, Any]:
    found: dict[str, Any] = answer.json()["data"]["cause"]
    return found


async def test_a_password_is_tested_from_all_servers_and_then_used(
    client: httpx2.AsyncClient, fleet: Fleet
) -> None:
    chosen = await create(client, fleet)

    async with fleet.working():
        answer = await rotate(client, chosen, username="bob")
    await fleet.step()

    assert answer.status_code == 200, answer.text
    rotated = answer.json()
    assert rotated["state"] == "switched"
    assert [(test["serverName"], test["state"]) for test in rotated["tests"]] == [
        ("alpha", "passed"),
        ("beta", "passed"),
    ]
    assert fleet.login() == ("bob", NEW)
    shown = await show(client, chosen)
    assert shown["username"] == "bob"
    assert shown["rotation"] == rotated | {"jobsWithOldLogin": 0}
    assert NEW not in answer.text


async def test_a_wrong_password_is_refused_with_its_cause_after_one_test(
    client: httpx2.AsyncClient, fleet: Fleet
) -> None:
    chosen = await create(client, fleet)

    async with fleet.working(accepts=False):
        answer = await rotate(client, chosen)

    assert (answer.status_code, cause(answer)["code"]) == (400, "auth_bad_credentials")
    assert "fails from the server alpha" in answer.json()["message"]
    [job] = fleet.tested
    assert cause(answer)["jobId"] == job.job_id
    assert fleet.login() == ("github-username", OLD)
    rotation = (await show(client, chosen))["rotation"]
    assert (rotation["state"], rotation["error"]["code"]) == ("refused", "auth_bad_credentials")


async def test_a_rotation_that_is_forced_uses_a_password_that_failed(
    client: httpx2.AsyncClient, fleet: Fleet
) -> None:
    chosen = await create(client, fleet)

    async with fleet.working(accepts=False):
        answer = await rotate(client, chosen, force=True)

    assert answer.json()["state"] == "switched"
    assert [test["code"] for test in answer.json()["tests"]] == ["auth_bad_credentials", None]
    assert fleet.login() == ("github-username", NEW)


async def test_the_old_password_is_brought_back_while_it_is_kept(
    client: httpx2.AsyncClient, fleet: Fleet
) -> None:
    chosen = await create(client, fleet)
    before = await show(client, chosen)
    async with fleet.working():
        await rotate(client, chosen, username="bob")

    answer = await call(client, "rollbackCredential", chosen)
    again = await call(client, "rollbackCredential", chosen)

    assert answer.json()["state"] == "rolled_back"
    assert fleet.login() == ("github-username", OLD)
    shown = await show(client, chosen)
    assert {name: shown[name] for name in before} == before
    assert (again.status_code, cause(again)["code"]) == (409, "no_former_login")


async def test_an_update_switches_at_once_and_keeps_the_old_password(
    client: httpx2.AsyncClient, fleet: Fleet
) -> None:
    chosen = await create(client, fleet)

    updated = await client.post("/api/registry.update", json={**chosen, "password": NEW})
    after = fleet.login()
    rotation = (await show(client, chosen))["rotation"]
    await call(client, "rollbackCredential", chosen)

    assert updated.json() is True
    assert after == ("github-username", NEW)
    assert (rotation["state"], rotation["tests"]) == ("switched", [])
    assert rotation["keptUntil"] > rotation["switchedAt"]
    assert fleet.login() == ("github-username", OLD)


async def test_a_credential_that_a_password_replaced_is_brought_back(
    client: httpx2.AsyncClient, fleet: Fleet
) -> None:
    keys = {"kind": "ecr", "accessKeyId": "AKIAIOSFODNN7EXAMPLE", "secretAccessKey": "its secret"}
    host = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
    body = {"registryName": "ECR", "registryUrl": host, "credential": keys}
    created = (await client.post("/api/registry.create", json=body)).json()
    chosen = {"registryId": created["registryId"]}

    await client.post("/api/registry.update", json={**chosen, "password": "a token of 12 hours"})
    replaced = await show(client, chosen)
    await call(client, "rollbackCredential", chosen)

    assert replaced["credential"] is None
    restored = await show(client, chosen)
    assert restored["credential"]["accessKeyId"] == keys["accessKeyId"]
    assert restored["username"] == created["username"]


async def test_a_password_for_another_host_is_not_brought_back(
    client: httpx2.AsyncClient, fleet: Fleet
) -> None:
    chosen = await create(client, fleet)
    await client.post("/api/registry.update", json={**chosen, "password": NEW})
    moved = {**chosen, "registryUrl": "quay.io", "imagePrefix": None, "password": "theirs"}

    await client.post("/api/registry.update", json=moved)
    answer = await call(client, "rollbackCredential", chosen)

    assert cause(answer)["code"] == "no_former_login"
    assert fleet.login() == ("github-username", "theirs")


async def test_a_second_rotation_meanwhile_is_refused_and_so_is_an_update(
    client: httpx2.AsyncClient, fleet: Fleet
) -> None:
    chosen = await create(client, fleet)
    headers = {"prefer": "respond-async"}
    body = {**chosen, "password": NEW}
    begun = await client.post("/api/registry.rotate", json=body, headers=headers)

    second = await rotate(client, chosen)
    update = await client.post("/api/registry.update", json=body)
    renamed = await client.post("/api/registry.update", json={**chosen, "registryName": "renamed"})
    back = await call(client, "rollbackCredential", chosen)

    assert begun.json()["state"] == "testing"
    assert {cause(each)["code"] for each in (second, update, back)} == {"rotation_running"}
    assert (second.status_code, renamed.json()) == (409, True)
    assert fleet.login() == ("github-username", OLD)


async def test_a_rotation_is_cancelled_with_its_tests(
    client: httpx2.AsyncClient, fleet: Fleet
) -> None:
    chosen = await create(client, fleet)
    headers = {"prefer": "respond-async"}
    await client.post("/api/registry.rotate", json={**chosen, "password": NEW}, headers=headers)
    await fleet.step()

    answer = await call(client, "cancelRotation", chosen)
    again = await call(client, "cancelRotation", chosen)
    await fleet.step()

    assert answer.json()["state"] == "cancelled"
    assert cause(again)["code"] == "already_ended"
    assert fleet.database.execute("SELECT state FROM job") == [("cancelled",)]
    assert fleet.database.execute("SELECT slot FROM rotation") == [(None,)]
    assert fleet.login() == ("github-username", OLD)


async def test_a_repeated_request_is_the_same_rotation(
    client: httpx2.AsyncClient, fleet: Fleet
) -> None:
    chosen = await create(client, fleet)
    headers = {"idempotency-key": "once"}
    body = {**chosen, "password": NEW}

    async with fleet.working():
        answers = await asyncio.gather(
            *(client.post("/api/registry.rotate", json=body, headers=headers) for _ in range(3))
        )

    assert {each.json()["rotationId"] for each in answers} == {answers[0].json()["rotationId"]}
    assert len(fleet.tested) == 2


@pytest.mark.parametrize(
    "given",
    [{}, {"password": ""}, {"password": "x", "keepOldHours": 721}, {"password": "x", "force": 1}],
)
async def test_bad_input_is_refused_before_anything_happens(
    client: httpx2.AsyncClient, database: Database, given: dict[str, Any]
) -> None:
    created = await create_registry(client)

    body = {"registryId": created["registryId"], **given}
    answer = await client.post("/api/registry.rotate", json=body)

    assert answer.status_code == 400
    assert database.execute("SELECT count(*) FROM rotation") == [(0,)]


async def test_services_that_run_get_the_new_login_and_the_old_one_again(
    client: httpx2.AsyncClient, fleet: Fleet
) -> None:
    [server, _] = fleet.servers
    made = await create_deployable(client, [server], runtime="service")
    await deploy(client, made["applicationId"])
    await server.succeed_next({"reference": "x", "digest": DIGEST})
    ran = {"digest": DIGEST, "serviceId": "s", "replicas": 1, "gapSeconds": 0.0, "reference": "x"}
    await server.succeed_next(ran)
    await reconcile(server)
    chosen = {"registryId": made["buildRegistryId"]}

    await client.post("/api/registry.update", json={**chosen, "password": NEW})
    await fleet.step()
    renewed = await server.succeed_next({"changed": True})
    await call(client, "rollbackCredential", chosen)
    await fleet.step()
    restored = await server.succeed_next({"changed": True})

    assert {renewed.kind, restored.kind} == {"service.login"}
    assert renewed.command["application_id"] == made["applicationId"]
    assert renewed.command["reference"].endswith(f"@{DIGEST}")
    row = renewed.registries[chosen["registryId"]]
    assert row["password"] != restored.registries[chosen["registryId"]]["password"]


async def test_every_change_of_a_rotation_is_audited_without_a_secret(
    client: httpx2.AsyncClient, fleet: Fleet
) -> None:
    chosen = await create(client, fleet)
    async with fleet.working():
        await rotate(client, chosen)
    await call(client, "rollbackCredential", chosen)

    rows = fleet.database.execute(
        "SELECT action, actor_id IS NOT NULL, data FROM audit_event"
        " WHERE action LIKE 'registry.%' ORDER BY audit_event_id"
    )

    assert [row[:2] for row in rows[1:]] == [
        ("registry.rotate", True),
        ("registry.switchCredential", True),
        ("registry.rollbackCredential", True),
    ]
    assert NEW not in str(rows)
    assert OLD not in str(rows)
