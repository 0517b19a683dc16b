"""Deploy hooks: made for ready images, shown once, removed."""

from typing import Any

import httpx2
import pytest

from tests.api.asking import create_application
from tests.databases import Database


@pytest.fixture
async def application_id(client: httpx2.AsyncClient) -> str:
    application_id = str((await create_application(client))["applicationId"])
    image = {"applicationId": application_id, "dockerImage": "ghcr.io/team/app"}
    assert (await client.post("/api/application.saveDockerProvider", json=image)).is_success
    return application_id


async def create(client: httpx2.AsyncClient, application_id: str, **more: Any) -> dict[str, Any]:
    requested = {"applicationId": application_id, **more}
    answer = await client.post("/api/deployHook.create", json=requested)
    assert answer.status_code == 200, answer.text
    created: dict[str, Any] = answer.json()
    return created


async def hooks(client: httpx2.AsyncClient, application_id: str) -> list[dict[str, Any]]:
    chosen = {"applicationId": application_id}
    found: list[dict[str, Any]] = (await client.get("/api/deployHook.all", params=chosen)).json()
    return found


async def test_its_url_and_its_secret_are_shown_once_and_stored_nowhere(
    client: httpx2.AsyncClient, database: Database, application_id: str
) -> None:
    created = await create(client, application_id)

    shown = {**created}
    token = shown.pop("url").removeprefix("/api/deploy/")
    secret = shown.pop("secret")
    assert (len(token), secret[:6]) == (43, "whsec_")
    assert (shown["tagFilter"], shown["requireSignature"]) == ("*", True)
    assert await hooks(client, application_id) == [shown]
    stored = str(database.execute("SELECT deploy_hook::text FROM deploy_hook"))
    stored += str(database.execute("SELECT audit_event::text FROM audit_event"))
    for known in (token, secret, token.encode().hex(), secret.encode().hex()):
        assert known not in stored


async def test_a_hook_that_was_removed_is_not_known_any_more(
    client: httpx2.AsyncClient, application_id: str
) -> None:
    first = await create(client, application_id, tagFilter="v*", requireSignature=False)
    second = await create(client, application_id)

    removed = await client.post("/api/deployHook.remove", json={"hookId": first["hookId"]})

    assert removed.json()["tagFilter"] == "v*"
    assert [hook["hookId"] for hook in await hooks(client, application_id)] == [second["hookId"]]
    assert (await client.post(first["url"], json={})).status_code == 404


async def test_a_new_hook_is_audited(
    client: httpx2.AsyncClient, database: Database, application_id: str
) -> None:
    await create(client, application_id, tagFilter="v*", requireSignature=False)

    [(data,)] = database.execute("SELECT data FROM audit_event WHERE action = 'deployHook.create'")
    assert data == {
        "tag_filter": "v*",
        "branch_filter": None,
        "path_filters": [],
        "require_signature": False,
    }


@pytest.mark.parametrize("tag_filter", ["", " ", "a b", "ä", "x" * 129])
async def test_a_filter_that_no_tag_could_pass_is_refused(
    client: httpx2.AsyncClient, application_id: str, tag_filter: str
) -> None:
    requested = {"applicationId": application_id, "tagFilter": tag_filter}

    assert (await client.post("/api/deployHook.create", json=requested)).status_code == 400


async def test_an_application_that_is_built_has_no_hook(client: httpx2.AsyncClient) -> None:
    application = await create_application(client)
    requested = {"applicationId": application["applicationId"]}

    answer = await client.post("/api/deployHook.create", json=requested)

    assert answer.status_code == 412
    assert answer.json()["data"]["cause"]["code"] == "source_not_docker"


async def test_hooks_go_with_their_application(
    client: httpx2.AsyncClient, database: Database, application_id: str
) -> None:
    created = await create(client, application_id)

    await client.post("/api/application.remove", json={"applicationId": application_id})

    assert database.execute("SELECT hook_id FROM deploy_hook") == []
    assert (await client.post(created["url"], json={})).status_code == 404
