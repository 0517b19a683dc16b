import asyncio
import hashlib

import httpx2
import pytest
from starlette.applications import Starlette

from tests.api.asking import open_client
from tests.databases import Database


async def test_a_key_is_shown_once_works_and_is_kept_as_a_hash(
    client: httpx2.AsyncClient, app: Starlette, database: Database
) -> None:
    created = (await client.post("/api/apiKey.create", json={"name": "ci"})).json()

    key = created["key"]
    assert key.startswith("wharf_") and len(key) == 49
    assert created["role"] == "member"
    async with open_client(app, key) as owner:
        assert (await owner.get("/api/registry.all")).status_code == 200
    listed = await client.get("/api/apiKey.all")
    assert [shown["name"] for shown in listed.json()] == ["first admin key", "ci"]
    assert key not in listed.text
    digest = hashlib.sha256(hashlib.sha256(key.encode()).digest()).digest()
    assert database.execute("SELECT name FROM api_key WHERE key_hash = %s", digest) == [("ci",)]


@pytest.mark.parametrize(("seconds", "status"), [("630097.0", 200), ("6e2", 200), ("0.5", 400)])
async def test_a_whole_number_may_be_written_with_a_fraction(
    client: httpx2.AsyncClient, seconds: str, status: int
) -> None:
    body = f'{{"name": "ci", "expiresInSeconds": {seconds}}}'
    headers = {"content-type": "application/json"}

    answer = await client.post("/api/apiKey.create", content=body, headers=headers)

    assert answer.status_code == status


async def test_a_key_that_has_expired_is_401(
    client: httpx2.AsyncClient, app: Starlette, database: Database
) -> None:
    body = {"name": "short", "expiresInSeconds": 60}
    created = (await client.post("/api/apiKey.create", json=body)).json()
    async with open_client(app, created["key"]) as owner:
        before = await owner.get("/api/registry.all")
        database.execute(
            "UPDATE api_key SET expires_at = now() WHERE api_key_id = %s", created["apiKeyId"]
        )
        after = await owner.get("/api/registry.all")

    assert (before.status_code, after.status_code) == (200, 401)


async def test_a_removed_key_is_401(client: httpx2.AsyncClient, app: Starlette) -> None:
    created = (await client.post("/api/apiKey.create", json={"name": "ci"})).json()
    chosen = {"apiKeyId": created["apiKeyId"]}

    removed = await client.post("/api/apiKey.remove", json=chosen)

    assert removed.json()["name"] == "ci"
    async with open_client(app, created["key"]) as owner:
        assert (await owner.get("/api/registry.all")).status_code == 401
    assert (await client.post("/api/apiKey.remove", json=chosen)).status_code == 404


async def test_the_last_admin_key_stays(client: httpx2.AsyncClient, database: Database) -> None:
    [first] = (await client.get("/api/apiKey.all")).json()
    body = {"name": "expired", "role": "admin", "expiresInSeconds": 60}
    await client.post("/api/apiKey.create", json=body)
    database.execute("UPDATE api_key SET expires_at = now() WHERE name = 'expired'")

    answer = await client.post("/api/apiKey.remove", json={"apiKeyId": first["apiKeyId"]})

    assert (answer.status_code, answer.json()["data"]["cause"]["code"]) == (409, "last_admin_key")


async def test_two_admins_cannot_remove_one_another_at_once(
    client: httpx2.AsyncClient, app: Starlette
) -> None:
    created = (
        await client.post("/api/apiKey.create", json={"name": "second", "role": "admin"})
    ).json()
    keys = [key["apiKeyId"] for key in (await client.get("/api/apiKey.all")).json()]

    async with open_client(app, created["key"]) as second:
        answers = await asyncio.gather(
            *(
                asker.post("/api/apiKey.remove", json={"apiKeyId": key})
                for asker, key in zip([second, client], keys, strict=True)
            )
        )

    first, second_status = sorted(answer.status_code for answer in answers)
    assert first == 200 and second_status in {401, 409}


async def test_the_use_of_a_key_is_noted_once_a_minute(
    client: httpx2.AsyncClient, database: Database
) -> None:
    async def used() -> object:
        await client.get("/api/registry.all")
        return database.execute("SELECT last_used_at FROM api_key")

    first = await used()
    assert await used() == first
    database.execute("UPDATE api_key SET last_used_at = now() - interval '61 seconds'")
    old = database.execute("SELECT last_used_at FROM api_key")
    assert await used() != old


@pytest.mark.parametrize(
    "body",
    [
        {"name": ""},
        {"name": "x", "role": "owner"},
        {"name": "x", "expiresInSeconds": 0},
        {"name": "x", "expiresInSeconds": "60"},
        {"name": "x", "expiresInSeconds": True},
        {"name": "x", "expiresInSeconds": 10**20},
    ],
)
async def test_a_bad_key_is_not_made(client: httpx2.AsyncClient, body: dict[str, object]) -> None:
    assert (await client.post("/api/apiKey.create", json=body)).status_code == 400


async def test_user_get_says_who_asks(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/api/trpc/user.get", headers={"content-type": "application/json"})

    body = answer.json()
    assert (body["role"], body["user"]["name"]) == ("admin", "first admin key")
