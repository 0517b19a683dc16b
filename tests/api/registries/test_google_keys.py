"""A key of Google that is given as a password: stored for control alone, and shown as given."""

import base64
from typing import Any

import httpx2
import pytest

from shared.credentials.google import GoogleSource
from shared.credentials.kinds import parse_source, source_context
from shared.vault import KeyRing
from tests.api.asking import create_registry
from tests.api.test_seed import CREATED
from tests.databases import Database
from tests.fakes.providers.google import ServiceAccount

ACCOUNT = ServiceAccount()
SEED = next(body for body in CREATED if body["username"] == "_json_key")
BASE64 = base64.b64encode(ACCOUNT.text.encode()).decode()
PRIVATE_LINE = ACCOUNT.file["private_key"].splitlines()[3]


async def create(client: httpx2.AsyncClient, **changes: Any) -> dict[str, Any]:
    return await create_registry(client, **{**SEED, "password": ACCOUNT.text, **changes})


async def change(client: httpx2.AsyncClient, registry_id: str, **changes: Any) -> httpx2.Response:
    return await client.post("/api/registry.update", json={"registryId": registry_id, **changes})


async def show(client: httpx2.AsyncClient, registry_id: str) -> dict[str, Any]:
    shown: dict[str, Any] = (
        await client.get("/api/registry.one", params={"registryId": registry_id})
    ).json()
    return shown


def login_of(database: Database) -> tuple[Any, ...]:
    [row] = database.execute("SELECT username, password FROM registry")
    return row


def open_source(database: Database, vault: KeyRing) -> GoogleSource:
    [row] = database.execute("SELECT organization_id, registry_id, sealed FROM credential_source")
    organization_id, registry_id, sealed = (str(value) for value in row)
    context = source_context(organization_id, registry_id, "gcr.io")
    source = parse_source(vault.open(sealed, context))
    assert isinstance(source, GoogleSource)
    return source


@pytest.mark.parametrize(
    ("username", "password"), [("_json_key", ACCOUNT.text), ("_json_key_base64", BASE64)]
)
async def test_a_key_is_stored_as_a_source_and_shown_as_it_was_given(
    client: httpx2.AsyncClient, database: Database, vault: KeyRing, username: str, password: str
) -> None:
    created = await create(client, username=username, password=password)

    assert created["username"] == username
    assert created["credential"]["kind"] == "google"
    assert created["credential"]["serviceAccount"] == ACCOUNT.email
    assert "username" not in created["credential"]
    assert {warning["field"] for warning in created["warnings"]} == {"registryUrl"}
    assert login_of(database) == ("oauth2accesstoken", None)
    key = open_source(database, vault).service_account_key
    assert key is not None and key.get_secret_value() == ACCOUNT.text
    listed = (await client.get("/api/registry.all")).json()
    assert listed == [{name: v for name, v in created.items() if name != "warnings"}]
    assert PRIVATE_LINE not in str(created)


async def test_the_placeholder_of_the_seed_is_an_ordinary_password(
    client: httpx2.AsyncClient, database: Database
) -> None:
    created = await create_registry(client, **SEED)

    username, password = login_of(database)
    assert (created["username"], created["credential"], username) == (
        "_json_key",
        None,
        "_json_key",
    )
    assert password is not None
    [warning] = [one for one in created["warnings"] if one["field"] == "password"]
    assert (warning["code"], warning["message"][-19:]) == ("login_form", "give the whole file")


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("_json_key", ACCOUNT.text.replace(PRIVATE_LINE, "")),
        ("_json_key", ACCOUNT.text[: len(ACCOUNT.text) // 2]),
        ("_json_key", BASE64),
        ("_json_key_base64", BASE64[: len(BASE64) // 2]),
        ("_json_key_base64", ACCOUNT.text),
    ],
)
async def test_a_key_that_is_not_whole_is_refused_and_not_stored(
    client: httpx2.AsyncClient, database: Database, username: str, password: str
) -> None:
    body = {**SEED, "username": username, "password": password}

    answer = await client.post("/api/registry.create", json=body)

    assert answer.status_code == 400
    assert "is not the key of a service account" in answer.json()["message"]
    assert PRIVATE_LINE not in answer.text
    assert database.execute("SELECT count(*) FROM registry") == [(0,)]


async def test_a_key_for_a_registry_of_ones_own_is_its_password(
    client: httpx2.AsyncClient, database: Database
) -> None:
    created = await create(client, registryUrl="registry.example.com", imagePrefix=None)

    assert created["credential"] is None
    assert login_of(database)[0] == "_json_key"


async def test_an_update_that_repeats_the_username_changes_nothing(
    client: httpx2.AsyncClient, database: Database
) -> None:
    created = await create(client)

    changed = await change(
        client, created["registryId"], username="_json_key", registryName="Renamed"
    )

    assert changed.json() is True
    assert (await show(client, created["registryId"]))["username"] == "_json_key"
    assert login_of(database) == ("oauth2accesstoken", None)


async def test_a_new_key_replaces_the_old_one(
    client: httpx2.AsyncClient, database: Database, vault: KeyRing
) -> None:
    created = await create(client)
    other = ServiceAccount("other@my-project.iam.gserviceaccount.com")

    changed = await change(client, created["registryId"], password=other.text)

    assert changed.json() is True
    shown = await show(client, created["registryId"])
    assert (shown["username"], shown["credential"]["serviceAccount"]) == ("_json_key", other.email)
    key = open_source(database, vault).service_account_key
    assert key is not None and key.get_secret_value() == other.text


async def test_a_token_as_the_password_replaces_the_key(
    client: httpx2.AsyncClient, database: Database
) -> None:
    created = await create(client)

    await change(client, created["registryId"], username="oauth2accesstoken", password="ya29.a0")

    shown = await show(client, created["registryId"])
    assert (shown["username"], shown["credential"]) == ("oauth2accesstoken", None)
    assert login_of(database)[0] == "oauth2accesstoken"
    assert database.execute("SELECT count(*) FROM credential_source") == [(0,)]


async def test_a_static_password_becomes_a_source_with_its_key(
    client: httpx2.AsyncClient, database: Database
) -> None:
    created = await create_registry(client, **SEED)

    await change(client, created["registryId"], password=ACCOUNT.text)

    shown = await show(client, created["registryId"])
    assert shown["credential"]["serviceAccount"] == ACCOUNT.email
    assert login_of(database) == ("oauth2accesstoken", None)


async def test_another_username_needs_the_key_again(client: httpx2.AsyncClient) -> None:
    created = await create(client)

    changed = await change(client, created["registryId"], username="oauth2accesstoken")

    assert changed.status_code == 400


async def test_a_credential_of_the_kind_is_refused_if_it_is_not_whole(
    client: httpx2.AsyncClient,
) -> None:
    body = {
        "registryName": "Google",
        "registryUrl": "gcr.io",
        "credential": {"kind": "google", "serviceAccountKey": ACCOUNT.text[:-300]},
    }

    answer = await client.post("/api/registry.create", json=body)

    assert answer.status_code == 400
    assert "is no JSON" in answer.text
    assert PRIVATE_LINE not in answer.text
