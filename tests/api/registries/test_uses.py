"""A change of a registry, or its removal, shows first where it is used."""

from typing import Any

import httpx2
import pytest

from tests.api.asking import create_application, create_registry, show_application
from tests.api.deploying import create_deployable, make_point
from tests.api.fleet import TestServer
from tests.databases import Database

LOGIN = {"username": "me", "password": "secret"}


async def change(client: httpx2.AsyncClient, registry_id: str, **body: Any) -> httpx2.Response:
    return await client.post("/api/registry.update", json={"registryId": registry_id, **body})


async def remove(client: httpx2.AsyncClient, registry_id: str, **body: Any) -> httpx2.Response:
    return await client.post("/api/registry.remove", json={"registryId": registry_id, **body})


async def read(client: httpx2.AsyncClient, registry_id: str) -> dict[str, Any]:
    answer = await client.get("/api/registry.one", params={"registryId": registry_id})
    found: dict[str, Any] = answer.json()
    return found


def refusal(answer: httpx2.Response) -> str:
    assert answer.status_code == 409, answer.text
    refused: dict[str, Any] = answer.json()
    assert refused["data"]["cause"]["code"] == "in_use"
    assert "force: true" in refused["data"]["cause"]["remedy"]
    return str(refused["message"])


async def test_a_registry_shows_what_each_application_does_with_it(
    client: httpx2.AsyncClient,
) -> None:
    used = (await create_registry(client))["registryId"]
    everything = {"registryId": used, "buildRegistryId": used, "rollbackRegistryId": used}
    shop = await create_application(client, name="shop", **everything)
    web = await create_application(client, name="web", buildRegistryId=used)

    shown = (await read(client, used))["usedBy"]

    assert shown["applications"] == [
        {
            "applicationId": shop["applicationId"],
            "name": "shop",
            "uses": ["pull", "build", "rollback"],
        },
        {"applicationId": web["applicationId"], "name": "web", "uses": ["build"]},
    ]


async def test_an_application_that_names_no_registry_uses_the_one_that_fits_its_image(
    client: httpx2.AsyncClient,
) -> None:
    others = (await create_registry(client, imagePrefix="others"))["registryId"]
    ours = (await create_registry(client, imagePrefix="team"))["registryId"]
    moved = {"registryUrl": "quay.io", "imagePrefix": None}
    elsewhere = (await create_registry(client, **moved))["registryId"]
    await create_application(client, name="web", dockerImage="ghcr.io/team/web:1")

    refused = await remove(client, ours)
    removed = [await remove(client, each) for each in (others, elsewhere)]

    assert refusal(refused).endswith("is used by 1 application: web (pull)")
    assert [answer.status_code for answer in removed] == [200, 200]


async def test_many_uses_are_counted_and_some_of_them_named(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    application = await create_deployable(client, [server], appName="my-app", rollbackActive=True)
    await make_point(client, server, application)
    used = application["rollbackRegistryId"]
    hook = {"applicationId": application["applicationId"], "tagFilter": "*"}
    assert (await client.post("/api/deployHook.create", json=hook)).is_success
    for number in range(10):
        await create_application(client, name=f"app-{number}", registryId=used)

    message = refusal(await remove(client, used))

    assert "11 applications: My App (rollback), app-0 (pull), " in message
    assert message.endswith("app-8 (pull) and 1 more; 1 rollback point; 1 deploy hook")


async def test_a_registry_that_only_keeps_rollback_points_is_not_removed(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    application = await create_deployable(client, [server], appName="my-app", rollbackActive=True)
    await make_point(client, server, application)
    leaving = {"applicationId": application["applicationId"], "rollbackRegistryId": None}
    assert (await client.post("/api/application.update", json=leaving)).is_success

    refused = await remove(client, application["rollbackRegistryId"])

    assert refusal(refused).endswith("is used by 1 rollback point")


async def test_a_used_registry_is_removed_by_force_and_applications_name_it_no_more(
    client: httpx2.AsyncClient, database: Database
) -> None:
    used, other = [(await create_registry(client))["registryId"] for _ in range(2)]
    made = await create_application(client, registryId=used, buildRegistryId=other)

    removed = await remove(client, used, force=True)

    assert removed.json()["registryId"] == used
    shown = await show_application(client, made["applicationId"])
    assert (shown["registryId"], shown["buildRegistryId"]) == (None, other)
    [(forced,)] = database.execute(
        "SELECT data->'forced' FROM audit_event WHERE action = 'registry.remove'"
    )
    assert forced is True


async def test_another_host_of_a_used_registry_needs_force(client: httpx2.AsyncClient) -> None:
    used = (await create_registry(client))["registryId"]
    await create_application(client, name="shop", registryId=used)
    moved = {"registryUrl": "registry.example.com", "imagePrefix": None, **LOGIN}

    refused = await change(client, used, **moved)
    kept = await read(client, used)
    forced = await change(client, used, **moved, force=True)

    where = "it would be at registry.example.com instead of ghcr.io"
    assert refusal(refused).endswith(f"is used: {where} for 1 application: shop (pull)")
    assert kept["registryUrl"] == "ghcr.io"
    assert forced.json() is True
    assert (await read(client, used))["registryUrl"] == "registry.example.com"


@pytest.mark.parametrize(
    ("registry", "changed"),
    [
        ({"imagePrefix": "team"}, {"imagePrefix": "other"}),
        (
            {"registryUrl": "docker.io", "username": "team", "imagePrefix": None},
            {"username": "other", "password": "secret"},
        ),
    ],
    ids=["prefix", "username on Docker Hub"],
)
async def test_another_name_of_new_images_needs_force(
    client: httpx2.AsyncClient, registry: dict[str, Any], changed: dict[str, Any]
) -> None:
    used = (await create_registry(client, **registry))["registryId"]
    await create_application(client, name="puller", registryId=used)
    unaffected = await change(client, used, **changed)
    await change(client, used, **registry | {"password": "secret"})
    await create_application(client, name="pusher", buildRegistryId=used)

    refused = await change(client, used, **changed)
    forced = await change(client, used, **changed, force=True)

    assert unaffected.json() is forced.json() is True
    assert "would be below other instead of team for applications: pusher" in refusal(refused)


async def test_limits_that_leave_out_a_user_need_force(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    other = (await client.post("/api/server.create", json={"name": "other"})).json()["serverId"]
    used = (await create_registry(client))["registryId"]
    shop = await create_application(
        client, name="shop", registryId=used, serverIds=[server.server_id]
    )
    web = await create_application(client, name="web", buildRegistryId=used)

    servers = await change(client, used, allowedServers=[other])
    applications = await change(client, used, allowedApplications=[web["applicationId"]])
    forced = await change(client, used, allowedServers=[other], force=True)
    again = await change(client, used, allowedServers=[other])
    all_of_them = await change(
        client, used, allowedApplications=[shop["applicationId"], web["applicationId"]]
    )

    left_out = f"allowedServers would leave out servers of applications: shop ({server.server_id})"
    assert left_out in refusal(servers)
    assert refusal(applications).endswith("allowedApplications would leave out applications: shop")
    assert forced.json() is again.json() is all_of_them.json() is True


async def test_a_change_that_breaks_nothing_needs_no_force(client: httpx2.AsyncClient) -> None:
    created = await create_registry(client)
    used = created["registryId"]
    await create_application(client, name="shop", registryId=used, buildRegistryId=used)
    same = {name: created[name] for name in ("registryUrl", "imagePrefix", "username")}

    answers = [
        await change(client, used, **same, password="another"),
        await change(client, used, username="robot", password="another"),
        await change(client, used, registryName="renamed", allowedServers=[]),
    ]

    assert [answer.json() for answer in answers] == [True, True, True]
