"""Pipelines look up applications and deployments before they deploy, and after."""

from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from tests.api.asking import create_application, open_client, show_application
from tests.api.deploying import DIGEST, create_deployable, deploy, reconcile
from tests.api.fleet import TestServer


async def ask(client: httpx2.AsyncClient, procedure: str, **values: Any) -> Any:
    answer = await client.get(f"/api/{procedure}", params=values)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_an_application_is_found_by_its_name_in_the_one_project(
    client: httpx2.AsyncClient,
) -> None:
    created = await create_application(client, name="shop")
    shown = await show_application(client, created["applicationId"])

    [project] = await ask(client, "project.all")
    [environment] = project["environments"]

    assert (project["name"], environment["name"]) == ("default", "production")
    assert environment["applications"] == [shown]
    assert environment["compose"] == environment["postgres"] == []
    by_project = {"projectId": project["projectId"]}
    assert await ask(client, "project.one", **by_project) == project
    assert await ask(client, "environment.byProjectId", **by_project) == [environment]
    by_environment = {"environmentId": shown["environmentId"]}
    assert await ask(client, "environment.one", **by_environment) == environment


async def test_an_application_may_be_made_in_the_environment_that_was_found(
    client: httpx2.AsyncClient,
) -> None:
    [project] = await ask(client, "project.all")
    [environment] = project["environments"]

    found = await create_application(client, environmentId=environment["environmentId"])
    other = await create_application(client, environmentId="elsewhere")

    assert "warnings" not in found
    assert [each["field"] for each in other["warnings"]] == ["environmentId"]


async def test_applications_are_searched_by_parts_of_their_fields(
    client: httpx2.AsyncClient, stranger: httpx2.AsyncClient
) -> None:
    shop = await create_application(client, name="Shop", dockerImage="ghcr.io/acme/shop:1")
    blog = await create_application(client, name="Blog", description="of the shop")
    await create_application(stranger, name="Shop")

    async def found(**values: Any) -> list[str]:
        page = await ask(client, "application.search", **values)
        assert page["total"] >= len(page["items"])
        return [each["applicationId"] for each in page["items"]]

    both = [shop["applicationId"], blog["applicationId"]]
    assert await found() == await found(q="shop") == both
    assert await found(name="SHOP") == await found(dockerImage="acme") == both[:1]
    assert await found(description="shop") == await found(offset=1) == both[1:]
    assert await found(limit=1) == both[:1]
    assert await found(environmentId=shop["environmentId"]) == both
    assert await found(environmentId="elsewhere") == await found(name="nothing") == []


async def test_deployments_are_listed_by_type(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    application_id = (await create_deployable(client, [server]))["applicationId"]
    await deploy(client, application_id)
    listed = await ask(client, "deployment.all", applicationId=application_id)

    of_application = await ask(
        client, "deployment.allByType", id=application_id, type="application"
    )
    of_server = await ask(client, "deployment.allByType", id=server.server_id, type="server")
    of_compose = await ask(client, "deployment.allByType", id="x", type="compose")

    assert len(listed) == 1
    assert of_application == of_server == listed
    assert await ask(client, "deployment.allCentralized") == listed
    assert of_compose == []


@pytest.mark.parametrize("kind", ["application", "server"])
async def test_deployments_of_another_organization_are_not_found_by_type(
    client: httpx2.AsyncClient, stranger: httpx2.AsyncClient, server: TestServer, kind: str
) -> None:
    application = await create_application(client)
    ids = {"application": application["applicationId"], "server": server.server_id}

    answer = await stranger.get("/api/deployment.allByType", params={"id": ids[kind], "type": kind})

    assert answer.status_code == 404
    assert await ask(stranger, "deployment.allCentralized") == []
    assert await ask(stranger, "deployment.queueList") == []


async def test_the_queue_has_what_waits_and_what_runs(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    application_id = (await create_deployable(client, [server]))["applicationId"]
    requested = await deploy(client, application_id, title="Release 2")

    [waiting] = await ask(client, "deployment.queueList")
    await server.succeed_next({"reference": "x", "digest": DIGEST})
    [active] = await ask(client, "deployment.queueList")
    killed = await client.post(
        "/api/deployment.killProcess", json={"deploymentId": requested["deploymentId"]}
    )
    await reconcile(server)

    assert (waiting["id"], waiting["state"]) == (requested["deploymentId"], "waiting")
    assert waiting["data"]["applicationId"] == application_id
    assert waiting["data"]["titleLog"] == "Release 2"
    assert (waiting["processedOn"], active["state"]) == (None, "active")
    assert active["processedOn"] >= active["timestamp"]
    assert killed.status_code == 200
    assert await ask(client, "deployment.queueList") == []


async def test_an_application_is_deleted_under_dokploys_name(client: httpx2.AsyncClient) -> None:
    created = await create_application(client)
    chosen = {"applicationId": created["applicationId"]}

    deleted = await client.post("/api/application.delete", json=chosen)
    again = await client.post("/api/application.delete", json=chosen)

    assert deleted.json() == created
    assert again.status_code == 404


async def test_health_is_public_and_the_version_is_dokploys(
    app: Starlette, client: httpx2.AsyncClient, server: TestServer
) -> None:
    async with open_client(app, None) as nobody:
        healthy = await nobody.get("/api/trpc/settings.health")
        hidden = await nobody.get("/api/settings.getDokployVersion")

    assert healthy.json() == {"status": "ok"}
    assert hidden.status_code == 401
    assert await ask(client, "settings.getDokployVersion") == "v0.30.7"
    assert await ask(client, "settings.isCloud") is False
    assert await ask(client, "server.count") == 1


async def test_a_key_is_made_and_deleted_as_dokploys_clients_do(
    app: Starlette, client: httpx2.AsyncClient
) -> None:
    organization_id = (await ask(client, "user.get"))["organizationId"]
    wanted = {
        "name": "by CLI",
        "metadata": {"organizationId": organization_id},
        "expiresIn": 630097.0,
        "rateLimitEnabled": False,
        "prefix": "ci",
    }

    created = (await client.post("/api/user.createApiKey", json=wanted)).json()
    async with open_client(app, created["key"]) as fresh:
        shown = await ask(fresh, "user.get")
        deleted = await client.post("/api/user.deleteApiKey", json={"apiKeyId": created["id"]})
        after = await fresh.get("/api/user.get")

    assert (created["role"], created["apiKeyId"]) == ("admin", created["id"])
    assert created["expiresAt"]
    assert {each["field"] for each in created["warnings"]} == {"rateLimitEnabled", "prefix"}
    assert shown["organizationId"] == organization_id
    assert (deleted.text, after.status_code) == ("true", 401)


async def test_a_key_for_another_organization_is_not_made(client: httpx2.AsyncClient) -> None:
    body = {"name": "x", "metadata": {"organizationId": "another"}}

    answer = await client.post("/api/user.createApiKey", json=body)

    assert answer.status_code == 404
    assert len(await ask(client, "apiKey.all")) == 1
