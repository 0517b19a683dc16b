import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from shared.vault import KeyRing, SealContext
from tests.api.asking import GHCR, create_registry
from tests.databases import Database

PASSWORDS = [
    "with 'single' and \"double\" quotes",
    "dollar $HOME `backtick` \\ backslash",
    "line\nbreaks\r\n and\ttabs",
    " spaces around ",
    "ключ 🔑",
    '{"type": "service_account", "private_key": "' + "k" * 4096 + '"}',
    "x" * 8192,
]


def stored(database: Database) -> list[tuple[Any, ...]]:
    return database.execute(
        "SELECT organization_id, registry_id, host, username, password FROM registry"
    )


@pytest.mark.parametrize("password", PASSWORDS, ids=lambda password: password[:12])
async def test_any_password_is_kept_sealed_and_opens_to_what_was_given(
    client: httpx2.AsyncClient, database: Database, vault: KeyRing, password: str
) -> None:
    await create_registry(client, password=password)

    [(organization_id, registry_id, host, username, sealed)] = stored(database)

    context = SealContext("credential", organization_id, registry_id, host, username)
    assert password not in sealed
    assert vault.open(sealed, context) == password


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://index.docker.io/v1/", "docker.io"),
        ("", "docker.io"),
        ("GHCR.io", "ghcr.io"),
        ("https://registry.example.com:443/", "registry.example.com"),
        ("10.1.2.3:5000", "10.1.2.3:5000"),
    ],
)
async def test_the_url_is_shown_as_given_and_the_host_is_canonical(
    client: httpx2.AsyncClient, database: Database, url: str, host: str
) -> None:
    created = await create_registry(client, registryUrl=url, imagePrefix=None)

    assert created["registryUrl"] == url
    assert stored(database)[0][2] == host


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("unknown field", {"colour": "red"}, "bad_input"),
    ("snake case", {"registry_name": "x"}, "bad_input"),
    ("number for text", {"registryName": 1}, "bad_input"),
    ("null", {"username": None}, "bad_input"),
    ("list", {"password": ["x"]}, "bad_input"),
    ("empty name", {"registryName": ""}, "bad_input"),
    ("blank username", {"username": "  "}, "bad_input"),
    ("empty password", {"password": ""}, "bad_input"),
    ("long name", {"registryName": "x" * 201}, "bad_input"),
    ("long username", {"username": "x" * 401}, "bad_input"),
    ("long url", {"registryUrl": "x" * 301}, "bad_input"),
    ("long password", {"password": "x" * 8193}, "bad_input"),
    ("long password in bytes", {"password": "ü" * 4097}, "bad_input"),
    ("half a megabyte", {"registryName": "x" * 500_000}, "bad_input"),
    ("nul", {"registryName": "a\0b"}, "bad_input"),
    ("surrogate", {"registryName": "\ud800"}, "bad_input"),
    ("surrogate as password", {"password": "\udfff"}, "bad_input"),
    ("surrogate as key", {"\ud800": 1}, "bad_input"),
    ("another type", {"registryType": "private"}, "bad_input"),
    ("user info", {"registryUrl": "https://user:secret@ghcr.io"}, "ref_invalid"),
    ("path", {"registryUrl": "ghcr.io/myorg"}, "ref_invalid"),
    ("another scheme", {"registryUrl": "ftp://ghcr.io"}, "ref_invalid"),
    ("ipv6", {"registryUrl": "[::1]:5000"}, "ref_invalid"),
    ("port", {"registryUrl": "ghcr.io:99999"}, "ref_invalid"),
    ("one word", {"registryUrl": "registry"}, "ref_invalid"),
    ("spaces", {"registryUrl": "ghcr.io; rm -rf /"}, "ref_invalid"),
    ("prefix of another", {"imagePrefix": "quay.io/myorg/"}, "ref_invalid"),
    ("prefix of no grammar", {"imagePrefix": "my org"}, "ref_invalid"),
    ("link-local", {"registryUrl": "169.254.169.254", "imagePrefix": None}, "network_refused"),
    ("loopback", {"registryUrl": "127.0.0.1:5000", "imagePrefix": None}, "network_refused"),
    ("localhost", {"registryUrl": "localhost:5000", "imagePrefix": None}, "network_refused"),
    ("unspecified", {"registryUrl": "0.0.0.0:5000", "imagePrefix": None}, "network_refused"),
]


@pytest.mark.parametrize("dialect", ["/api/trpc/", "/api/"])
async def test_bad_input_is_refused_and_nothing_is_written(
    client: httpx2.AsyncClient, database: Database, dialect: str
) -> None:
    headers = {"content-type": "application/json"}
    answers = {
        what: await client.post(
            f"{dialect}registry.create", content=json.dumps({**GHCR, **change}), headers=headers
        )
        for what, change, _ in BAD
    }

    for what, _, code in BAD:
        answer = answers[what]
        assert answer.status_code == 400, what
        assert answer.json()["data"].get("cause", {"code": "bad_input"})["code"] == code, what
        assert "secret" not in answer.text
    assert stored(database) == []
    assert database.execute("SELECT * FROM audit_event") == []


async def test_fields_of_dokploys_that_have_no_effect_are_named_in_the_warnings(
    client: httpx2.AsyncClient,
) -> None:
    created = await create_registry(client, serverId="anything")

    answer = await client.post(
        "/api/registry.update",
        json={
            "registryId": created["registryId"],
            "createdAt": "1999-01-01",
            "organizationId": "org-2",
            "registryType": "selfHosted",
            "serverId": "x",
        },
    )

    assert answer.json() is True
    fields = [each["field"] for each in json.loads(answer.headers["x-wharf-warnings"])]
    assert fields == ["createdAt", "organizationId", "registryType", "serverId"]
    assert [each["field"] for each in created.pop("warnings")] == ["serverId"]
    assert (await client.get("/api/registry.all")).json() == [created]


@pytest.mark.parametrize(
    "change", [{"username": "other"}, {"registryUrl": "quay.io", "imagePrefix": None}]
)
async def test_another_host_or_username_needs_the_password_again(
    client: httpx2.AsyncClient, database: Database, vault: KeyRing, change: dict[str, Any]
) -> None:
    created = await create_registry(client)
    chosen = {"registryId": created["registryId"], **change}

    refused = await client.post("/api/registry.update", json=chosen)
    taken = await client.post("/api/registry.update", json={**chosen, "password": "new"})

    assert refused.status_code == 400
    assert refused.json()["data"]["cause"]["code"] == "password_needed"
    assert taken.json() is True
    [(organization_id, registry_id, host, username, sealed)] = stored(database)
    context = SealContext("credential", organization_id, registry_id, host, username)
    assert vault.open(sealed, context) == "new"


async def test_another_spelling_of_the_same_host_needs_no_password(
    client: httpx2.AsyncClient,
) -> None:
    created = await create_registry(client)

    answer = await client.post(
        "/api/registry.update",
        json={"registryId": created["registryId"], "registryUrl": "https://GHCR.io/"},
    )

    assert answer.json() is True
    [shown] = (await client.get("/api/registry.all")).json()
    assert shown["registryUrl"] == "https://GHCR.io/"


async def test_a_host_to_which_the_stored_prefix_does_not_belong_is_refused(
    client: httpx2.AsyncClient,
) -> None:
    created = await create_registry(client)

    answer = await client.post(
        "/api/registry.update",
        json={"registryId": created["registryId"], "registryUrl": "quay.io", "password": "x"},
    )

    assert answer.status_code == 400
    assert (await client.get("/api/registry.all")).json() == [created]


async def test_null_takes_the_prefix_away(client: httpx2.AsyncClient) -> None:
    created = await create_registry(client)

    await client.post(
        "/api/registry.update", json={"registryId": created["registryId"], "imagePrefix": None}
    )

    assert (await client.get("/api/registry.all")).json()[0]["imagePrefix"] is None


async def test_changes_are_audited_without_their_secrets(
    client: httpx2.AsyncClient, database: Database
) -> None:
    created = await create_registry(client)
    chosen = {"registryId": created["registryId"]}
    await client.post("/api/registry.update", json={**chosen, "password": "hush"})
    await client.post("/api/registry.remove", json=chosen)

    rows = database.execute(
        "SELECT action, object_id, data->>'host', data->'changed' FROM audit_event"
        " ORDER BY audit_event_id"
    )

    assert rows == [
        ("registry.create", created["registryId"], "ghcr.io", None),
        ("registry.update", created["registryId"], "ghcr.io", ["password"]),
        ("registry.remove", created["registryId"], "ghcr.io", None),
    ]
    assert "hush" not in str(database.execute("SELECT data::text FROM audit_event"))


async def test_a_registry_shows_its_provider_and_when_its_password_is_due(
    client: httpx2.AsyncClient,
) -> None:
    created = await create_registry(client, rotateAfterDays=30)

    changed, due = (
        datetime.fromisoformat(created[name]) for name in ("passwordChangedAt", "passwordDueAt")
    )
    assert created["provider"] == "ghcr"
    assert created["passwordExpiresAt"] is None
    assert due - changed == timedelta(days=30)


async def test_a_new_password_is_due_anew_and_other_changes_leave_its_time(
    client: httpx2.AsyncClient, database: Database
) -> None:
    created = await create_registry(client)
    database.execute("UPDATE registry SET password_changed_at = '2026-01-01Z'")
    change = {"registryId": created["registryId"], "rotateAfterDays": 7}

    await client.post("/api/registry.update", json=change)
    [kept] = (await client.get("/api/registry.all")).json()
    await client.post("/api/registry.update", json={**change, "password": "another"})
    [changed] = (await client.get("/api/registry.all")).json()

    assert kept["passwordDueAt"] == "2026-01-08T00:00:00.000Z"
    assert changed["passwordDueAt"] > created["createdAt"]


@pytest.mark.parametrize(("seconds", "codes"), [(60, []), (-60, ["auth_expired"])])
async def test_a_token_shows_when_it_expires_and_an_expired_one_is_named(
    client: httpx2.AsyncClient, seconds: int, codes: list[str]
) -> None:
    expires = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=seconds)
    token = base64.b64encode(json.dumps({"expiration": expires.timestamp()}).encode()).decode()

    created = await create_registry(client, username="AWS", password=token)

    assert datetime.fromisoformat(created["passwordExpiresAt"]) == expires
    assert [warning["code"] for warning in created.get("warnings", [])] == codes


async def test_a_login_that_its_provider_will_not_accept_is_named_and_stored(
    client: httpx2.AsyncClient,
) -> None:
    created = await create_registry(client, password="github_pat_11AAAA")

    [warning] = created["warnings"]
    assert (warning["field"], warning["code"]) == ("password", "login_form")
    assert "classic personal access tokens" in warning["message"]
    assert len((await client.get("/api/registry.all")).json()) == 1


async def test_a_new_password_gives_the_login_another_revision_and_other_changes_do_not(
    client: httpx2.AsyncClient, database: Database
) -> None:
    created = await create_registry(client)

    async def revision_after(**changes: Any) -> str:
        changed = {"registryId": created["registryId"], **changes}
        assert (await client.post("/api/registry.update", json=changed)).json() is True
        [(revision,)] = database.execute("SELECT login_revision FROM registry")
        return str(revision)

    first = await revision_after(registryName="Renamed", rotateAfterDays=30)
    second = await revision_after(password="another")
    third = await revision_after(password="another")

    assert await revision_after(allowedServers=[]) == third
    assert len({first, second, third}) == 3
