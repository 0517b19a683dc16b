"""Deployments in Dokploy's words: what its pipelines poll until a deployment has ended."""

from typing import Any

import httpx2
import pytest

from tests.api.asking import create_application, show_application
from tests.api.deploying import (
    DIGEST,
    create_deployable,
    deploy,
    make_point,
    reconcile,
    replace_next,
)
from tests.api.fleet import TestServer
from tests.databases import Database

PULLED = {"reference": "x", "digest": DIGEST}
UNHEALTHY = {
    "code": "container_unhealthy",
    "message": "it ended with 1",
    "remedy": "See its log.",
    "retryable": False,
}
WORDS = ("status", "startedAt", "finishedAt", "errorMessage", "rollbackId")


async def newest(client: httpx2.AsyncClient, application_id: str) -> dict[str, Any]:
    """The newest deployment, as a pipeline reads it."""
    listed = await client.get("/api/deployment.all", params={"applicationId": application_id})
    first: dict[str, Any] = listed.json()[0]
    chosen = {"deploymentId": first["deploymentId"]}
    assert (await client.get("/api/deployment.one", params=chosen)).json() == first
    return first


async def status_of(client: httpx2.AsyncClient, application_id: str) -> str:
    shown = await show_application(client, application_id)
    [listed] = (await client.get("/api/application.all")).json()
    assert listed == shown
    return str(shown["applicationStatus"])


async def test_a_deployment_is_running_until_it_is_done(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    application_id = (await create_deployable(client, [server]))["applicationId"]
    assert await status_of(client, application_id) == "idle"

    await deploy(client, application_id)
    waiting = await newest(client, application_id)
    status_while_waiting = await status_of(client, application_id)
    await server.succeed_next(PULLED)
    begun = await newest(client, application_id)
    await replace_next(server)
    await reconcile(server)
    done = await newest(client, application_id)

    assert [waiting[word] for word in WORDS] == ["running", None, None, None, None]
    assert status_while_waiting == "running"
    assert begun["status"] == "running"
    assert begun["startedAt"] >= begun["createdAt"]
    assert (done["status"], done["errorMessage"], done["rollbackId"]) == ("done", None, None)
    assert done["finishedAt"] >= done["startedAt"]
    assert await status_of(client, application_id) == "done"


async def test_a_failed_deployment_says_why_in_one_text(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    application_id = (await create_deployable(client, [server]))["applicationId"]
    await deploy(client, application_id)
    await server.finish(await server.next_job(), "failed", error=UNHEALTHY)
    await reconcile(server)

    failed = await newest(client, application_id)

    assert failed["status"] == "error"
    assert "it ended with 1" in failed["errorMessage"]
    assert failed["errorMessage"].startswith(failed["error"]["message"])
    assert failed["rollbackId"] is None
    assert await status_of(client, application_id) == "error"


@pytest.mark.parametrize("procedure", ["deployment.cancel", "application.cancelDeployment"])
async def test_a_cancelled_deployment_leaves_its_application_idle(
    client: httpx2.AsyncClient, server: TestServer, procedure: str
) -> None:
    application_id = (await create_deployable(client, [server]))["applicationId"]
    requested = await deploy(client, application_id)
    chosen = {"deploymentId": requested["deploymentId"]}
    by_application = {"applicationId": application_id}
    body = chosen if procedure == "deployment.cancel" else by_application
    await client.post(f"/api/{procedure}", json=body)
    await reconcile(server)

    cancelled = await newest(client, application_id)

    assert (cancelled["status"], cancelled["state"]) == ("cancelled", "cancelled")
    assert await status_of(client, application_id) == "idle"


async def test_a_deployment_names_the_rollback_point_of_what_it_ran(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    application = await create_deployable(client, [server], rollbackActive=True)
    point = await make_point(client, server, application)

    kept = await newest(client, application["applicationId"])
    again = await client.post("/api/rollback.rollback", json={"rollbackId": kept["rollbackId"]})
    requested = again.json()

    assert kept["rollbackId"] == point["rollbackId"]
    assert kept["deploysRollbackId"] is None
    assert requested["rollbackId"] == requested["deploysRollbackId"] == point["rollbackId"]


async def test_a_deployment_of_other_settings_has_another_point_or_none(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    application = await create_deployable(client, [server], rollbackActive=True)
    await make_point(client, server, application)
    chosen = {"applicationId": application["applicationId"]}
    changed = {**chosen, "ports": [{"publishedPort": 80, "targetPort": 80}]}
    await client.post("/api/application.update", json=changed)
    await deploy(client, application["applicationId"])
    await server.succeed_next(PULLED)
    await replace_next(server)
    await reconcile(server)

    assert (await newest(client, application["applicationId"]))["rollbackId"] is None


async def test_the_begin_outlives_the_job(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    application_id = (await create_deployable(client, [server]))["applicationId"]
    await deploy(client, application_id)
    await server.succeed_next(PULLED)
    await replace_next(server)
    await reconcile(server)
    database.execute("DELETE FROM job")

    kept = await newest(client, application_id)

    assert kept["startedAt"] == kept["createdAt"]


async def test_an_application_names_one_server_and_the_one_environment(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    created = await create_application(client, serverIds=[server.server_id])
    [environment] = {created["environmentId"], created["organizationId"]}

    assert created["serverId"] == server.server_id
    assert created["applicationStatus"] == "idle"
    assert environment == created["organizationId"]
