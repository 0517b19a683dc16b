"""The pages of registries: add, test, change, rotate and remove one with forms."""

import asyncio
import json
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from tests.api.asking import GHCR, create_application, create_registry, open_client
from tests.api.conftest import add_organization
from tests.api.console.browsing import Browser
from tests.api.console.hostile import HOSTILE, SHOWN, require_text
from tests.api.fleet import TestServer, bad_error, good_report
from tests.databases import Database

PASSWORD = GHCR["password"]
TYPED = {name: GHCR[name] for name in ("registryName", "registryUrl", "username", "password")}


async def show(client: httpx2.AsyncClient, registry_id: str) -> dict[str, Any]:
    answer = await client.get("/api/registry.one", params={"registryId": registry_id})
    shown: dict[str, Any] = answer.json()
    return shown


async def list_all(client: httpx2.AsyncClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await client.get("/api/registry.all")).json()
    return found


async def test_an_administrator_without_a_registry_is_led_to_the_form(
    owner: Browser, viewer: Browser
) -> None:
    assert 'href="/console/registries/new"' in (await owner.get("/registries")).text
    shown = (await viewer.get("/registries")).text
    assert "There is no registry yet" in shown
    assert "/console/registries/new" not in shown


async def test_a_registry_is_added_without_a_test(
    owner: Browser, client: httpx2.AsyncClient
) -> None:
    await owner.get("/registries/new")

    answer = await owner.post(
        "/registries/new", do="save", kind="password", imagePrefix="myorg", **TYPED
    )

    [stored] = await list_all(client)
    assert answer.headers["location"] == f"/console/registries/{stored['registryId']}"
    assert (stored["registryName"], stored["imagePrefix"], stored["username"]) == (
        GHCR["registryName"],
        "myorg",
        GHCR["username"],
    )
    assert "is added" in (await owner.get(f"/registries/{stored['registryId']}")).text


async def test_a_wrong_password_is_found_before_it_is_stored(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    await owner.get("/registries/new")
    fields = {"do": "test-and-save", "kind": "password", "imagePrefix": "kept/prefix", **TYPED}

    answer, _ = await asyncio.gather(
        owner.post("/registries/new", **fields), server.fail_next(bad_error())
    )

    assert answer.status_code == 200
    assert "auth_bad_credentials" in answer.text
    assert "ghcr.io refuses the username and password" in answer.text
    assert 'value="kept/prefix"' in answer.text
    assert PASSWORD not in answer.text
    assert await list_all(client) == []


async def test_a_login_that_works_is_tested_and_stored_by_one_button(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    await owner.get("/registries/new")
    fields = {"do": "test-and-save", "kind": "password", "server": server.server_id, **TYPED}

    answer, job = await asyncio.gather(
        owner.post("/registries/new", **fields), server.succeed_next(good_report())
    )

    assert answer.status_code == 303
    assert job.server_id == server.server_id
    assert [each["username"] for each in await list_all(client)] == [GHCR["username"]]


async def test_a_test_alone_stores_nothing(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    await owner.get("/registries/new")

    answer, _ = await asyncio.gather(
        owner.post("/registries/new", do="test", kind="password", **TYPED),
        server.succeed_next(good_report()),
    )

    assert "Stages of the test" in answer.text
    assert await list_all(client) == []


async def test_a_refused_form_names_the_field_and_keeps_what_was_typed(
    owner: Browser, client: httpx2.AsyncClient
) -> None:
    await owner.get("/registries/new")
    fields = {**TYPED, "username": "", "rotateAfterDays": "soon"}

    answer = await owner.post("/registries/new", do="save", kind="password", **fields)

    assert answer.status_code == 400
    assert "rotateAfterDays" in answer.text
    assert 'value="soon"' in answer.text
    assert await list_all(client) == []


@pytest.mark.parametrize(
    ("kind", "typed", "shown"),
    [
        (
            "ecr",
            {"accessKeyId": "AKIAIOSFODNN7EXAMPLE", "secretAccessKey": "the secret of aws"},
            "AKIAIOSFODNN7EXAMPLE",
        ),
        (
            "acr",
            {
                "tenantId": "example.onmicrosoft.com",
                "clientId": "11111111-2222-3333-4444-555555555555",
                "clientSecret": "the secret of azure",
            },
            "example.onmicrosoft.com",
        ),
    ],
)
async def test_a_credential_of_a_provider_is_stored_and_its_secret_is_not_shown(
    owner: Browser, client: httpx2.AsyncClient, kind: str, typed: dict[str, str], shown: str
) -> None:
    url = {"ecr": "123456789012.dkr.ecr.eu-west-1.amazonaws.com", "acr": "shop.azurecr.io"}[kind]
    await owner.get("/registries/new")

    refused = await owner.post("/registries/new", kind=kind, registryUrl="ghcr.io", **typed)
    added = await owner.post(
        "/registries/new", kind=kind, registryUrl=url, registryName="Cloud", **typed
    )

    assert refused.status_code == 400
    assert (added.status_code, added.text) == (303, "")
    [stored] = await list_all(client)
    page = (await owner.get(f"/registries/{stored['registryId']}")).text
    assert shown in page
    assert "the secret of" not in page + refused.text


async def test_a_change_sends_only_what_differs(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    stored = await create_registry(client)
    registry_id, path = stored["registryId"], f"/registries/{stored['registryId']}/edit"
    form = (await owner.get(path)).text
    assert f'value="{GHCR["registryName"]}"' in form
    kept = {name: GHCR[name] for name in ("registryName", "registryUrl", "imagePrefix")}
    allowed = {f"allowedServers:{server.server_id}": "true"}

    answer = await owner.post(
        path, do="save", kind="keep", **{**kept, "registryName": "GitHub", **allowed}
    )

    assert answer.status_code == 303, answer.text
    shown = await show(client, registry_id)
    assert (shown["registryName"], shown["allowedServers"]) == ("GitHub", [server.server_id])
    assert shown["passwordChangedAt"] == stored["passwordChangedAt"]
    unchanged = await owner.post(
        path, do="save", kind="keep", **{**kept, "registryName": "GitHub", **allowed}
    )
    assert unchanged.status_code == 303
    assert "Nothing was changed" in (await owner.get(f"/registries/{registry_id}")).text


async def test_a_change_of_the_host_asks_for_the_password_again(
    owner: Browser, client: httpx2.AsyncClient
) -> None:
    stored = await create_registry(client)
    path = f"/registries/{stored['registryId']}/edit"
    await owner.get(path)
    moved = {"registryName": GHCR["registryName"], "registryUrl": "quay.io", "imagePrefix": "org"}

    refused = await owner.post(path, do="save", kind="keep", **moved)
    login = {"username": "robot", "password": "another password"}
    changed = await owner.post(path, do="save", kind="password", **moved, **login)

    assert (refused.status_code, "password_needed" in refused.text) == (400, True)
    assert changed.status_code == 303, changed.text
    shown = await show(client, stored["registryId"])
    assert (shown["registryUrl"], shown["username"]) == ("quay.io", "robot")


async def test_a_stored_login_is_tested_and_its_report_stays_readable(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    stored = await create_registry(client)
    path = f"/registries/{stored['registryId']}"
    await owner.get(path)

    answer, _ = await asyncio.gather(
        owner.post(f"{path}/test", server=server.server_id), server.fail_next(bad_error())
    )

    cell = f"/matrix/{stored['registryId']}/{server.server_id}"
    assert answer.headers["location"] == f"/console{cell}"
    shown = (await owner.get(cell)).text
    assert "The test failed at the stage auth" in shown
    assert "ghcr.io refuses the username and password" in shown
    page = (await owner.get(path)).text
    assert "auth_bad_credentials" in page
    assert f'href="/console{cell}"' in page


async def test_a_test_without_a_server_says_why_on_the_page(
    owner: Browser, client: httpx2.AsyncClient
) -> None:
    stored = await create_registry(client)
    await owner.get(f"/registries/{stored['registryId']}")

    answer = await owner.post(f"/registries/{stored['registryId']}/test", server="")

    assert answer.status_code == 412
    assert "no_server" in answer.text
    assert f'data-address="/console/registries/{stored["registryId"]}"' in answer.text
    assert stored["registryName"] in answer.text


async def test_a_rotation_is_seen_cancelled_and_begun_again(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    stored = await create_registry(client)
    path = f"/registries/{stored['registryId']}"
    await owner.get(f"{path}/rotate")

    begun = await owner.post(f"{path}/rotate", kind="password", password="next", keepOldHours="48")

    assert begun.status_code == 303, begun.text
    assert "Cancel the rotation" in (await owner.get(path)).text
    again = await owner.post(f"{path}/rotate", kind="password", password="third")
    assert (again.status_code, "rotation_running" in again.text) == (409, True)
    assert "third" not in again.text
    await owner.post(f"{path}/cancel-rotation")
    assert (await show(client, stored["registryId"]))["rotation"]["state"] == "cancelled"
    assert "the registry keeps its login" in (await owner.get(path)).text


async def test_a_former_login_is_used_again(owner: Browser, client: httpx2.AsyncClient) -> None:
    stored = await create_registry(client)
    registry_id, path = stored["registryId"], f"/registries/{stored['registryId']}"
    change = {"registryId": registry_id, "password": "newer password"}
    assert (await client.post("/api/registry.update", json=change)).status_code == 200
    assert "Use the old login again" in (await owner.get(path)).text

    await owner.post(f"{path}/roll-back")

    assert (await show(client, registry_id))["rotation"]["state"] == "rolled_back"
    refused = await owner.post(f"{path}/roll-back")
    assert (refused.status_code, "no_former_login" in refused.text) == (409, True)


async def test_a_removal_shows_the_uses_first(owner: Browser, client: httpx2.AsyncClient) -> None:
    stored = await create_registry(client)
    application = await create_application(
        client, name="shop", registryId=stored["registryId"], dockerImage="ghcr.io/myorg/shop:1"
    )
    path = f"/registries/{stored['registryId']}/remove"
    page = (await owner.get(path)).text
    assert f'href="/console/applications/{application["applicationId"]}"' in page

    refused = await owner.post(path)
    assert (refused.status_code, "in_use" in refused.text) == (409, True)
    removed = await owner.post(path, force="true")

    assert removed.headers["location"] == "/console/registries"
    assert await list_all(client) == []


async def test_the_list_is_filtered_by_words_and_by_the_state_of_the_login(
    owner: Browser, client: httpx2.AsyncClient, database: Database
) -> None:
    for name in ("First", "Second"):
        await create_registry(client, registryName=name)
    database.execute(
        "UPDATE registry SET password_expires_at = now() - interval '1 day'"
        " WHERE registry_name = 'Second'"
    )

    expired = (await owner.get("/registries", login="expired")).text
    named = (await owner.get("/registries", q="first")).text

    assert (">Second<" in expired, ">First<" in expired) == (True, False)
    assert 'class="state expired"' in expired
    assert (">Second<" in named, ">First<" in named) == (False, True)


FORMS = ("test", "edit", "remove", "rotate", "cancel-rotation", "roll-back")


async def test_a_viewer_sees_no_action_and_may_do_none(
    owner: Browser, viewer: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    stored = await create_registry(client)
    before, path = await list_all(client), f"/registries/{stored['registryId']}"
    page = (await viewer.get(path)).text
    assert 'method="post" action="/console/registries' not in page
    assert f"{path}/edit" not in page

    answers = {
        name: (await viewer.post(f"{path}/{name}", password="x", kind="password")).status_code
        for name in FORMS
    }
    new = await viewer.post("/registries/new", do="test", kind="password", **TYPED)

    assert answers == dict.fromkeys(FORMS, 403)
    assert new.status_code == 403
    assert await list_all(client) == before


async def test_a_registry_of_another_organization_is_not_found(
    app: Starlette, owner: Browser, database: Database
) -> None:
    async with open_client(app, add_organization(database)) as stranger:
        stored = await create_registry(stranger)
    path = f"/registries/{stored['registryId']}"
    await owner.get("/registries")

    pages = [(await owner.get(f"{path}{end}")).status_code for end in ("", "/edit", "/rotate")]
    posts = [(await owner.post(f"{path}/{name}", kind="password")).status_code for name in FORMS]

    assert pages == [404, 404, 404]
    assert posts == [404] * len(FORMS)


async def test_text_of_providers_and_servers_is_shown_as_text(
    owner: Browser, client: httpx2.AsyncClient, database: Database
) -> None:
    stored = await create_registry(client)
    change = {"registryId": stored["registryId"], "password": "newer password"}
    assert (await client.post("/api/registry.update", json=change)).status_code == 200
    fault = {"code": HOSTILE, "message": HOSTILE, "remedy": HOSTILE}
    test = {"server_id": "s", "server_name": HOSTILE, "finding": "failed", "fault": fault}
    certificate = {
        "use": "ca",
        "subject": HOSTILE,
        "sha256": HOSTILE,
        "not_after": "2026-01-01T00:00:00+00:00",
    }
    database.execute(
        "UPDATE rotation SET state = 'refused', slot = NULL, finished_at = now(),"
        " tests = %s::jsonb, error = %s::jsonb",
        json.dumps([test]),
        json.dumps(fault),
    )
    database.execute("UPDATE registry SET certificates = %s::jsonb", json.dumps([certificate]))

    answer = await owner.get(f"/registries/{stored['registryId']}")

    assert answer.status_code == 200
    assert answer.text.count(SHOWN) >= 9
    require_text(answer.text)
