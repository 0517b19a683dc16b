"""The pages of servers: add one with its join command, pause, check, change and remove it."""

import asyncio
import json
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from tests.api.asking import create_application, open_client
from tests.api.conftest import add_organization
from tests.api.console.browsing import Browser
from tests.api.console.hostile import HOSTILE, require_text
from tests.api.fleet import TestServer, enrol
from tests.databases import Database

ACTIONS = ("check", "pause", "drain", "resume", "edit", "token", "remove")


async def show(client: httpx2.AsyncClient, server_id: str) -> dict[str, Any]:
    answer = await client.get("/api/server.one", params={"serverId": server_id})
    shown: dict[str, Any] = answer.json()
    return shown


async def list_all(client: httpx2.AsyncClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await client.get("/api/server.all")).json()
    return found


def token_of(page: str) -> str:
    return page.partition("WHARF_JOIN_TOKEN=")[2].partition(" ")[0]


async def test_the_first_server_is_added_with_a_command_that_joins_it(
    owner: Browser, client: httpx2.AsyncClient
) -> None:
    assert "There is no server yet" in (await owner.get("/servers")).text
    await owner.get("/servers/new")

    added = await owner.post("/servers/new", name="fra-1", **{"role:build": "true"})

    assert "WHARF_URL=http://console.example WHARF_JOIN_TOKEN=" in added.text
    [server] = await list_all(client)
    assert (server["name"], server["roles"]) == ("fra-1", ["build"])
    assert (await enrol(client, token_of(added.text))).status_code == 200


async def test_a_name_that_is_taken_is_refused_in_the_form(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    await owner.get("/servers/new")

    refused = await owner.post(
        "/servers/new", name="alpha", description="kept words", **{"role:build": "true"}
    )
    empty = await owner.post("/servers/new", name="beta")

    assert (refused.status_code, "name_taken" in refused.text) == (409, True)
    assert 'value="kept words"' in refused.text
    assert (empty.status_code, "roles" in empty.text) == (400, True)
    assert len(await list_all(client)) == 1


async def test_another_join_command_is_made_for_a_server_that_has_not_joined(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    created = (await client.post("/api/server.create", json={"name": "beta"})).json()
    page = (await owner.get(f"/servers/{created['serverId']}")).text
    assert "never joined" in page

    renewed = await owner.post(f"/servers/{created['serverId']}/token")
    joined = await owner.post(f"/servers/{server.server_id}/token")

    assert token_of(renewed.text) not in {"", created["joinToken"]}
    assert (joined.status_code, "already_joined" in joined.text) == (409, True)


async def test_a_server_is_drained_and_shows_when_it_is_empty(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    path = f"/servers/{server.server_id}"
    await client.post("/api/image.pull", json={"image": "nginx"})
    job = await server.next_job()

    await owner.post(f"{path}/drain")
    draining = (await owner.get(path)).text
    await server.finish(job, "returned")
    empty = (await owner.get(path)).text
    await owner.post(f"{path}/resume")

    assert "1 jobs left" in draining and "The server is empty" in empty
    assert 'class="state drained"' in empty
    assert (await show(client, server.server_id))["drainRequestedAt"] is None


async def test_a_class_of_jobs_is_paused_and_resumed(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    path = f"/servers/{server.server_id}"
    assert 'aria-label="Pause build jobs"' in (await owner.get(path)).text

    await owner.post(f"{path}/pause", **{"class": "build"})
    assert (await show(client, server.server_id))["pausedClasses"] == ["build"]
    assert 'class="state paused"' in (await owner.get("/servers")).text
    await owner.post(f"{path}/pause")
    assert len((await show(client, server.server_id))["pausedClasses"]) == 3
    await owner.post(f"{path}/resume")

    assert (await show(client, server.server_id))["pausedClasses"] == []


async def test_slots_in_use_and_running_jobs_are_shown(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    pull = {"image": "ghcr.io/myorg/shop:1", "serverId": server.server_id}
    assert (await client.post("/api/image.pull", json=pull)).status_code == 200
    job = await server.next_job()

    page = (await owner.get(f"/servers/{server.server_id}")).text

    assert "1 of 4" in page
    assert f'href="/console/jobs/{job.job_id}"' in page


async def test_the_path_to_a_server_is_checked(owner: Browser, server: TestServer) -> None:
    path = f"/servers/{server.server_id}"
    await owner.get(path)

    answer, _ = await asyncio.gather(
        owner.post(f"{path}/check"),
        server.succeed_next({"engineVersion": "26.1.4", "milliseconds": 3.0}),
    )

    assert answer.status_code == 200
    assert answer.text.count('class="state ok"') == 5
    assert "26.1.4" in answer.text


async def test_a_server_is_renamed_and_keeps_the_rest(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    path = f"/servers/{server.server_id}/edit"
    before = await show(client, server.server_id)
    await owner.get(path)
    form = {"name": "fra-2", "ipAddress": before["ipAddress"], "role:deploy": "true"}

    answer = await owner.post(path, **form, **{"role:build": "true"})

    assert answer.status_code == 303, answer.text
    after = await show(client, server.server_id)
    assert after["name"] == "fra-2"
    assert {**after, "name": "", "seenAt": ""} == {**before, "name": "", "seenAt": ""}


async def test_a_server_is_removed_only_after_its_applications(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    application = await create_application(
        client, dockerImage="ghcr.io/myorg/shop:1", serverIds=[server.server_id]
    )
    path = f"/servers/{server.server_id}/remove"
    assert "My App" in (await owner.get(path)).text

    refused = await owner.post(path)
    chosen = {"applicationId": application["applicationId"]}
    assert (await client.post("/api/application.remove", json=chosen)).status_code == 200
    removed = await owner.post(path)

    assert (refused.status_code, "in_use" in refused.text) == (409, True)
    assert removed.headers["location"] == "/console/servers"
    assert await list_all(client) == []


async def test_the_list_is_filtered_by_words_and_by_state(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    await client.post("/api/server.create", json={"name": "beta"})

    online = (await owner.get("/servers", state="online")).text
    named = (await owner.get("/servers", q="BET")).text

    assert (">alpha<" in online, ">beta<" in online) == (True, False)
    assert (">alpha<" in named, ">beta<" in named) == (False, True)


async def test_text_of_workers_and_users_is_shown_as_text(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    names = ("engineVersion", "apiVersion", "imageStore", "storageDriver", "swarm", "dataRoot")
    engine = dict.fromkeys(names, HOSTILE) | {"refusedCalls": [HOSTILE], "os": HOSTILE}
    database.execute(
        "UPDATE server SET name = %s, description = %s, seen_address = %s, worker_version = %s,"
        " engine = %s::jsonb, approved_at = NULL",
        *[HOSTILE] * 4,
        json.dumps({**engine, "architecture": HOSTILE}),
    )
    path = f"/servers/{server.server_id}"

    for page in ("/servers", path, f"{path}/edit", f"{path}/remove"):
        answer = await owner.get(page)
        assert answer.status_code == 200
        require_text(answer.text)


@pytest.mark.parametrize(
    "engine",
    [
        {"engineVersion": {"a": 1}, "diskFreeBytes": "many", "diskTotalBytes": -1},
        {"engineVersion": 3, "refusedCalls": "all", "diskFreeBytes": 1.5},
        {"diskFreeBytes": 10**18, "diskTotalBytes": 1, "healthChecks": "no"},
    ],
)
async def test_a_description_of_another_form_breaks_no_page(
    owner: Browser, server: TestServer, database: Database, engine: dict[str, Any]
) -> None:
    database.execute("UPDATE server SET engine = %s::jsonb", json.dumps(engine))

    assert (await owner.get("/servers")).status_code == 200
    assert (await owner.get(f"/servers/{server.server_id}")).status_code == 200


async def test_a_viewer_sees_no_action_and_may_do_none(
    owner: Browser, viewer: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    path = f"/servers/{server.server_id}"
    page = (await viewer.get(path)).text + (await viewer.get("/servers")).text
    before = await show(client, server.server_id)

    answers = {
        name: (await viewer.post(f"{path}/{name}", name="x")).status_code for name in ACTIONS
    }
    new = await viewer.post("/servers/new", name="x", **{"role:build": "true"})

    assert 'action="/console/servers' not in page
    assert "/console/servers/new" not in page
    assert f"{path}/edit" not in page
    assert answers == dict.fromkeys(ACTIONS, 403)
    assert new.status_code == 403
    after = await show(client, server.server_id)
    assert {**after, "seenAt": ""} == {**before, "seenAt": ""}


async def test_a_server_of_another_organization_is_not_found(
    app: Starlette, owner: Browser, database: Database
) -> None:
    async with open_client(app, add_organization(database)) as stranger:
        created = (await stranger.post("/api/server.create", json={"name": "theirs"})).json()
    path = f"/servers/{created['serverId']}"
    await owner.get("/servers")

    pages = [(await owner.get(f"{path}{end}")).status_code for end in ("", "/edit", "/remove")]
    posts = [(await owner.post(f"{path}/{name}", name="x")).status_code for name in ACTIONS]

    assert pages == [404] * 3
    assert posts == [404] * len(ACTIONS)
