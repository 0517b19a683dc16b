"""The pages of deployments and rollback points; a rollback is bound to what its page showed."""

import asyncio
import re
from typing import Any

import httpx2
import pytest

from tests.api.console.browsing import Browser
from tests.api.console.hostile import HOSTILE, require_text
from tests.api.deploying import create_deployable, deploy, make_point, reconcile
from tests.api.fleet import TestServer
from tests.databases import Database

SEEN = re.compile(r'name="seen" value="([^"]+)"')


@pytest.fixture
async def application(client: httpx2.AsyncClient, server: TestServer) -> dict[str, Any]:
    """An application that keeps its images for rollbacks."""
    return await create_deployable(client, [server], rollbackActive=True)


async def count(client: httpx2.AsyncClient, application: dict[str, Any]) -> int:
    chosen = {"applicationId": application["applicationId"]}
    return len((await client.get("/api/deployment.all", params=chosen)).json())


def path_of(point: dict[str, Any]) -> str:
    return f"/applications/{point['applicationId']}/rollbacks/{point['rollbackId']}"


async def test_a_refused_version_says_why_and_what_stays(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer, application: dict[str, Any]
) -> None:
    deployment = await deploy(client, application["applicationId"], title=HOSTILE)
    path = f"/deployments/{deployment['deploymentId']}"
    during = (await owner.get(path)).text
    assert "Cancel the deployment" in during and "image.pull" in during
    error = {"code": "unhealthy", "message": HOSTILE, "remedy": HOSTILE, "retryable": False}
    await server.fail_next(error)
    await reconcile(server)

    page = (await owner.get(path)).text

    assert "This version was refused" in page
    require_text(page)
    require_text((await owner.get(f"/applications/{application['applicationId']}")).text)


async def test_a_deployment_is_cancelled_by_its_form(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer, application: dict[str, Any]
) -> None:
    deployment = await deploy(client, application["applicationId"])
    path = f"/deployments/{deployment['deploymentId']}"
    await owner.get(path)

    answer = await owner.post(f"{path}/cancel")

    assert answer.status_code == 303
    await reconcile(server)
    chosen = {"deploymentId": deployment["deploymentId"]}
    assert (await client.get("/api/deployment.one", params=chosen)).json()["state"] == "cancelled"
    assert "already_ended" in (await owner.post(f"{path}/cancel")).text


async def test_a_rollback_shows_what_will_happen_and_then_does_it(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer, application: dict[str, Any]
) -> None:
    assert "There is no rollback point yet" in (await owner.get("/rollbacks")).text
    point = await make_point(client, server, application)
    assert path_of(point) in (await owner.get("/rollbacks")).text
    page = (await owner.get(path_of(point))).text
    assert "What will happen" in page and "alpha" in page

    answer = await owner.post(path_of(point), seen=SEEN.findall(page)[0], title="")

    deployment_id = answer.headers["location"].removeprefix("/console/deployments/")
    chosen = {"deploymentId": deployment_id}
    shown = (await client.get("/api/deployment.one", params=chosen)).json()
    assert shown["deploysRollbackId"] == point["rollbackId"]
    assert shown["title"] == "Roll back to version 1"


async def test_a_rollback_asks_again_if_the_state_has_changed(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer, application: dict[str, Any]
) -> None:
    point = await make_point(client, server, application)
    page = (await owner.get(path_of(point))).text
    other = await deploy(client, application["applicationId"], title="meanwhile")
    before = await count(client, application)

    answer = await owner.post(path_of(point), seen=SEEN.findall(page)[0])

    assert answer.status_code == 409
    assert "has changed since this page was shown" in answer.text and "meanwhile" in answer.text
    assert await count(client, application) == before
    [seen] = SEEN.findall(answer.text)
    assert seen == f"{other['deploymentId']} queued"
    assert (await owner.post(path_of(point), seen=seen)).status_code == 303
    assert await count(client, application) == before + 1


async def test_of_two_tabs_that_roll_back_at_once_one_asks_again(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer, application: dict[str, Any]
) -> None:
    point = await make_point(client, server, application)
    [seen] = SEEN.findall((await owner.get(path_of(point))).text)
    before = await count(client, application)

    answers = await asyncio.gather(*(owner.post(path_of(point), seen=seen) for _ in range(2)))

    assert sorted(answer.status_code for answer in answers) == [303, 409]
    assert await count(client, application) == before + 1


async def test_points_are_verified_and_deleted_by_their_buttons(
    owner: Browser,
    client: httpx2.AsyncClient,
    server: TestServer,
    application: dict[str, Any],
    database: Database,
) -> None:
    point = await make_point(client, server, application)
    database.execute("UPDATE rollback SET checked_at = now() - interval '5 minutes'")
    chosen = {"applicationId": application["applicationId"]}
    await owner.get("/rollbacks", **chosen)

    async with asyncio.TaskGroup() as group:
        asked = group.create_task(
            owner.post(f"/applications/{application['applicationId']}/rollbacks/verify")
        )
        job = await server.next_job()
        digest = job.command["reference"].partition("@")[2]
        result = {"reference": job.command["reference"], "digest": digest}
        await server.finish(job, "succeeded", result={**result, "blobs": 1, "sizeBytes": 1})

    assert asked.result().status_code == 303
    notice = (await owner.get("/rollbacks", **chosen)).text
    assert "1 of 1 rollback points can be rolled back to." in notice
    assert (await owner.post(f"{path_of(point)}/delete")).status_code == 303
    assert (await client.get("/api/rollback.all", params=chosen)).json() == []


async def test_a_viewer_sees_points_and_rolls_nothing_back(
    viewer: Browser, client: httpx2.AsyncClient, server: TestServer, application: dict[str, Any]
) -> None:
    point = await make_point(client, server, application)
    before = await count(client, application)
    page = (await viewer.get(path_of(point))).text
    assert "What will happen" in page and 'name="seen"' not in page
    deployments = await client.get(
        "/api/deployment.all", params={"applicationId": application["applicationId"]}
    )
    newest = deployments.json()[0]

    answer = await viewer.post(path_of(point), seen=f"{newest['deploymentId']} {newest['state']}")

    assert answer.status_code == 403
    for path in (f"{path_of(point)}/delete", f"/deployments/{newest['deploymentId']}/cancel"):
        assert (await viewer.post(path)).status_code in {403, 409}
    verified = f"/applications/{application['applicationId']}/rollbacks/verify"
    assert (await viewer.post(verified)).status_code == 403
    assert await count(client, application) == before


async def test_a_point_of_another_organization_is_not_found(
    outsider: Browser, client: httpx2.AsyncClient, server: TestServer, application: dict[str, Any]
) -> None:
    point = await make_point(client, server, application)

    assert (await outsider.get(path_of(point))).status_code == 404
    assert (await outsider.post(path_of(point), seen="none")).status_code == 404
    assert (await outsider.post(f"{path_of(point)}/delete")).status_code == 404
    chosen = {"applicationId": application["applicationId"]}
    assert (await outsider.get("/rollbacks", **chosen)).status_code == 404
    assert "There is no rollback point yet" in (await outsider.get("/rollbacks")).text
