"""``server.validate``: what is known of a server, and what to do about what is wrong."""

from typing import Any

import httpx2
import pytest

from tests.api.fleet import TestServer
from tests.databases import Database

GOOD_ENGINE = """
UPDATE server SET clock_ahead_seconds = 0.02, engine = jsonb_build_object(
  'engine_version', '28.0.0', 'image_store', 'containerd', 'oldest_api_version', '1.24',
  'newest_api_version', '1.48', 'disk_free_bytes', 64424509440)
"""


async def checks(client: httpx2.AsyncClient, server_id: str) -> dict[str, dict[str, Any]]:
    answer = await client.get("/api/server.validate", params={"serverId": server_id})
    assert answer.status_code == 200, answer.text
    message = answer.json()
    assert message["isGood"] == all(check["isGood"] is not False for check in message["checks"])
    return {check["name"]: check for check in message["checks"]}


async def test_a_good_server_passes_all_checks(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    database.execute(GOOD_ENGINE)

    found = await checks(client, server.server_id)

    assert {name: check["isGood"] for name, check in found.items()} == dict.fromkeys(
        ("enrolled", "approved", "online", "worker", "engine", "engineApi", "disk", "clock"), True
    )
    assert found["engine"]["found"] == "Docker Engine 28.0.0, image store containerd"
    assert found["engineApi"]["found"] == "1.24 to 1.48"
    assert found["disk"]["found"] == "60.0 GiB free"


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ("approved_at = NULL", "approved"),
        ("worker_version = '0.0.1'", "worker"),
        ("engine = '{}'", "engine"),
        ("engine = NULL", "engine"),
        ('engine = engine || \'{"newest_api_version": "1.39"}\'', "engineApi"),
        ("engine = engine || '{\"disk_free_bytes\": 1000}'", "disk"),
        ("engine = engine || '{\"health_checks\": false}'", "healthChecks"),
        ('engine = engine || \'{"refused_calls": ["POST /build"]}\'', "engineCalls"),
        ("clock_ahead_seconds = -7", "clock"),
        ("seen_at = now() - interval '1 minute'", "online"),
        ("second_worker_at = now()", "secondWorker"),
    ],
)
async def test_each_thing_that_is_wrong_has_a_remedy(
    client: httpx2.AsyncClient, server: TestServer, database: Database, change: str, name: str
) -> None:
    database.execute(GOOD_ENGINE)
    database.execute(f"UPDATE server SET {change}")

    found = await checks(client, server.server_id)

    wrong = [check for check in found.values() if check["isGood"] is False]
    assert [check["name"] for check in wrong] == [name]
    assert wrong[0]["remedy"]


async def test_an_unknown_state_is_neither_good_nor_bad(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    found = await checks(client, server.server_id)

    assert {name for name, check in found.items() if check["isGood"] is None} == {
        *("engineApi", "disk", "clock")
    }


async def test_a_worker_that_says_nonsense_of_its_engine_breaks_nothing(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    nonsense = '{"engine_version": [], "oldest_api_version": "x.y", "newest_api_version": {}}'
    database.execute("UPDATE server SET engine = %s", nonsense)

    found = await checks(client, server.server_id)

    assert found["engine"]["found"] == "Docker Engine unknown, image store unknown"
    assert found["engineApi"]["isGood"] is None


async def test_a_server_that_never_joined_is_shown_so(client: httpx2.AsyncClient) -> None:
    created = (await client.post("/api/server.create", json={"name": "alpha"})).json()

    found = await checks(client, created["serverId"])

    assert {name: check["isGood"] for name, check in found.items()} == {
        "enrolled": False,
        "online": False,
    }
