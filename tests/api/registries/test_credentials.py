"""Registries with a source of short-lived logins: sealed, shown without secrets, replaced."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from api.jobs.wait_reasons import Facts, choose_reason
from shared.credentials.kinds import parse_source, source_context
from shared.vault import KeyRing
from tests.api.asking import GHCR, create_registry
from tests.api.fleet import TestServer
from tests.databases import Database
from tests.fakes import ecr

KEYS = {"kind": "ecr", "accessKeyId": ecr.KEY_ID, "secretAccessKey": ecr.SECRET}
CLOUD = {"registryName": "AWS", "registryUrl": ecr.HOST, "credential": KEYS}
REFUSAL = {
    "code": "credential_refused",
    "message": "AWS does not accept the access key",
    "remedy": "Create a new key.",
    "retryable": False,
}


async def create(client: httpx2.AsyncClient, **changes: Any) -> httpx2.Response:
    return await client.post("/api/registry.create", json={**CLOUD, **changes})


async def create_cloud(client: httpx2.AsyncClient, **changes: Any) -> dict[str, Any]:
    answer = await create(client, **changes)
    assert answer.status_code == 200, answer.text
    created: dict[str, Any] = answer.json()
    return created


async def update(client: httpx2.AsyncClient, registry_id: str, **changes: Any) -> httpx2.Response:
    return await client.post("/api/registry.update", json={"registryId": registry_id, **changes})


async def read(client: httpx2.AsyncClient, registry_id: str) -> dict[str, Any]:
    answer = await client.get("/api/registry.one", params={"registryId": registry_id})
    found: dict[str, Any] = answer.json()
    return found


def sources(database: Database) -> list[tuple[Any, ...]]:
    return database.execute(
        "SELECT organization_id, registry_id, host, sealed, revision FROM credential_source"
        " JOIN registry USING (organization_id, registry_id)"
    )


async def test_a_credential_is_kept_sealed_for_its_host_and_opens_to_what_was_given(
    client: httpx2.AsyncClient, database: Database, vault: KeyRing
) -> None:
    given = {**KEYS, "roleArn": ecr.ROLE, "externalId": ecr.EXTERNAL_ID}
    await create_cloud(client, credential=given)

    [(organization_id, registry_id, host, sealed, _)] = sources(database)

    opened = vault.open(sealed, source_context(organization_id, registry_id, host))
    assert ecr.SECRET not in sealed
    assert parse_source(opened) == parse_source(json.dumps(given))


async def test_the_answers_show_the_parts_that_are_no_secret(client: httpx2.AsyncClient) -> None:
    created = await create_cloud(client, credential={**KEYS, "roleArn": ecr.ROLE})
    one = await read(client, created["registryId"])
    listed = (await client.get("/api/registry.all")).json()

    shown = created["credential"]
    assert {name: shown[name] for name in ("kind", "accessKeyId", "roleArn", "mintedAt")} == {
        "kind": "ecr",
        "accessKeyId": ecr.KEY_ID,
        "roleArn": ecr.ROLE,
        "mintedAt": None,
    }
    assert created["username"] == "AWS"
    assert [one] == listed == [created]
    assert ecr.SECRET not in json.dumps([created, one, listed])


async def test_a_registry_with_a_password_has_no_credential(client: httpx2.AsyncClient) -> None:
    created = await create_registry(client)

    assert (created["credential"], created["credentialError"]) == (None, None)


async def test_the_error_of_the_last_renewal_is_shown(
    client: httpx2.AsyncClient, database: Database
) -> None:
    created = await create_cloud(client)
    database.execute("UPDATE credential_source SET error = %s", json.dumps(REFUSAL))

    found = await read(client, created["registryId"])

    assert found["credentialError"] == {
        name: REFUSAL[name] for name in ("code", "message", "remedy")
    }


@pytest.mark.parametrize("missing", [["username"], ["password"], ["username", "password"]])
async def test_without_a_credential_each_missing_part_of_the_login_is_named(
    client: httpx2.AsyncClient, missing: list[str]
) -> None:
    body = {name: value for name, value in GHCR.items() if name not in missing}

    answer = await client.post("/api/registry.create", json=body)

    assert answer.status_code == 400
    assert all(name in answer.text for name in missing)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"password": "x"}, "password"),
        ({"registryUrl": "ghcr.io"}, "ghcr.io"),
        ({"credential": {"kind": "ecr"}}, "accessKeyId"),
        ({"credential": {"kind": "none"}}, "kind"),
        ({"credential": {}}, "kind"),
        ({"credential": "AKIA"}, "credential"),
        ({"credential": {**KEYS, "colour": "red"}}, "colour"),
        ({"credential": {**KEYS, "secretAccessKey": 1}}, "secretAccessKey"),
        ({"credential": {**KEYS, "secretAccessKey": "x" * 20_000}}, "secretAccessKey"),
        ({"credential": {**KEYS, "roleArn": "a\0b"}}, "roleArn"),
    ],
)
async def test_a_credential_that_cannot_work_is_refused_and_nothing_is_stored(
    client: httpx2.AsyncClient, database: Database, changes: dict[str, Any], words: str
) -> None:
    answer = await create(client, **changes)

    assert answer.status_code == 400, answer.text
    assert words in answer.text
    assert ecr.SECRET not in answer.text
    assert database.execute("SELECT 1 FROM registry") == []


async def test_a_username_beside_a_credential_is_named_in_the_warnings(
    client: httpx2.AsyncClient,
) -> None:
    created = await create_cloud(client, username="me")

    assert created["username"] == "AWS"
    assert [warning["field"] for warning in created["warnings"]] == ["username"]


async def test_a_new_credential_replaces_the_old_one_and_its_login(
    client: httpx2.AsyncClient, database: Database
) -> None:
    created = await create_cloud(client)
    [(*_, before)] = sources(database)
    mint(database)

    answer = await update(
        client, created["registryId"], credential={**KEYS, "accessKeyId": "AKIAOTHEREXAMPLE0000"}
    )

    assert answer.json() is True
    [(*_, after)] = sources(database)
    assert after != before
    found = await read(client, created["registryId"])
    assert found["credential"]["accessKeyId"] == "AKIAOTHEREXAMPLE0000"
    assert (found["passwordExpiresAt"], found["credential"]["mintedAt"]) == (None, None)
    assert database.execute("SELECT password FROM registry") == [(None,)]


async def test_a_password_replaces_the_credential(
    client: httpx2.AsyncClient, database: Database
) -> None:
    created = await create_cloud(client)

    answer = await update(client, created["registryId"], password="a pasted token")

    assert answer.json() is True
    assert sources(database) == []
    assert (await read(client, created["registryId"]))["credential"] is None


async def test_a_credential_replaces_the_password(
    client: httpx2.AsyncClient, database: Database
) -> None:
    created = await create_registry(client, registryUrl=ecr.HOST, imagePrefix=None)

    answer = await update(client, created["registryId"], credential=KEYS)

    assert answer.json() is True
    assert (await read(client, created["registryId"]))["username"] == "AWS"
    assert len(sources(database)) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"credential": None},
        {"registryUrl": ecr.HOST.replace("1", "2", 1)},
        {"username": "me"},
        {"credential": KEYS, "password": "x"},
    ],
)
async def test_a_change_that_leaves_no_login_is_refused_and_changes_nothing(
    client: httpx2.AsyncClient, database: Database, changes: dict[str, Any]
) -> None:
    created = await create_cloud(client)
    before = sources(database)

    answer = await update(client, created["registryId"], **changes)

    assert answer.status_code == 400, answer.text
    assert sources(database) == before
    assert await read(client, created["registryId"]) == {
        name: value for name, value in created.items() if name != "warnings"
    }


async def test_another_name_keeps_the_credential(
    client: httpx2.AsyncClient, database: Database
) -> None:
    created = await create_cloud(client)
    before = sources(database)

    answer = await update(client, created["registryId"], registryName="other")

    assert answer.json() is True
    assert sources(database) == before


async def test_another_credential_gives_the_login_another_revision(
    client: httpx2.AsyncClient, database: Database
) -> None:
    created = await create_cloud(client)
    [(first,)] = database.execute("SELECT login_revision FROM registry")

    assert (await update(client, created["registryId"], credential=KEYS)).json() is True

    assert database.execute("SELECT login_revision FROM registry") != [(first,)]


async def test_a_removed_registry_takes_its_credential_with_it(
    client: httpx2.AsyncClient, database: Database
) -> None:
    created = await create_cloud(client)

    answer = await client.post("/api/registry.remove", json={"registryId": created["registryId"]})

    assert answer.status_code == 200
    assert ecr.SECRET not in answer.text
    assert database.execute("SELECT 1 FROM credential_source") == []


async def test_a_test_of_a_refused_registry_lets_control_try_again_at_once(
    client: httpx2.AsyncClient, database: Database, server: TestServer
) -> None:
    created = await create_cloud(client)
    database.execute(
        "UPDATE credential_source SET error = %s, renew_at = now() + interval '5 minutes'",
        json.dumps(REFUSAL),
    )

    answer = await client.post(
        "/api/registry.testRegistryById",
        json={"registryId": created["registryId"]},
        headers={"Prefer": "respond-async"},
    )

    assert answer.status_code == 202
    assert database.execute("SELECT renew_at <= now() FROM credential_source") == [(True,)]
    job = await client.get("/api/job.one", params={"jobId": answer.json()["jobId"]})
    waiting = job.json()["waiting"]
    assert waiting["code"] == "login_pending"
    assert "AWS does not accept the access key" in waiting["message"]


def test_the_reason_names_the_registry_and_the_last_error() -> None:
    facts = Facts(
        "web-1",
        datetime.now(UTC),
        removed=False,
        online=True,
        known=True,
        later=False,
        needs=None,
        held=False,
        server_full=False,
        missing_login={"registry": "AWS", "error": "no route"},
    )

    reason = choose_reason(facts, datetime.now(UTC) - timedelta(seconds=1))

    assert reason
    assert (reason.code, reason.message) == (
        "login_pending",
        "wharf control has yet to get a login for the registry AWS: no route",
    )


def mint(database: Database) -> None:
    """Store a login as control does."""
    database.execute(
        "UPDATE registry SET password = 'v1.x', password_expires_at = now() + interval '1 hour'"
    )
    database.execute("UPDATE credential_source SET minted_at = now()")
