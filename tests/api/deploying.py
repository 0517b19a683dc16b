"""Applications that are built and may be deployed, and their deployments as control leaves them."""

from collections.abc import Sequence
from typing import Any

import httpx2

from shared.jobs.store.release import Released
from tests.api.asking import create_application, create_registry
from tests.api.fleet import TestServer
from worker.control.maintenance.automatic_rollback import roll_back
from worker.control.maintenance.builds import reconcile_builds
from worker.control.maintenance.deployments import reconcile_deployments
from worker.control.maintenance.rollback_points import reconcile_points, write_points

DIGEST, OTHER = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
CONTAINER = "c" * 64
KEEP = "keep.example"


async def create_deployable(
    client: httpx2.AsyncClient, servers: Sequence[TestServer], **settings: Any
) -> dict[str, Any]:
    """An application of these servers with one build, which the first of them has pushed."""
    registry = await create_registry(client)
    keep = await create_registry(client, registryUrl=KEEP, imagePrefix="myorg")
    application = await create_application(
        client,
        buildRegistryId=registry["registryId"],
        rollbackRegistryId=keep["registryId"],
        serverIds=[server.server_id for server in servers],
        **settings,
    )
    chosen = {"applicationId": application["applicationId"]}
    source = {**chosen, "customGitUrl": "https://git.example/a.git"}
    saved = await client.post("/api/application.saveGitProvider", json=source)
    assert saved.status_code == 200, saved.text
    await build(client, servers[0], application["applicationId"])
    return application


async def build(
    client: httpx2.AsyncClient, server: TestServer, application_id: str, digest: str = DIGEST
) -> dict[str, Any]:
    """A build whose image was pushed, and retained if it is to be, and has this digest."""
    answer = await client.post("/api/application.build", json={"applicationId": application_id})
    assert answer.status_code == 200, answer.text
    await server.succeed_next({"reference": "x"})
    built: dict[str, Any] = answer.json()
    for _ in built["jobIds"][1:]:
        await server.succeed_next({"reference": "x", "digest": digest})
    await reconcile(server)
    return built


async def deploy(
    client: httpx2.AsyncClient, application_id: str, **requested: Any
) -> dict[str, Any]:
    """A deployment of the build that is named, or of the newest one."""
    body = {"applicationId": application_id, **requested}
    procedure = "deploy" if "buildId" in requested else "redeploy"
    answer = await client.post(f"/api/application.{procedure}", json=body)
    assert answer.status_code == 200, answer.text
    accepted: dict[str, Any] = answer.json()
    return accepted


async def reconcile(server: TestServer) -> None:
    """Reconcile builds, deployments and rollback points, as control does."""
    await server.sweep()
    async with server.control.connection() as connection:
        await reconcile_builds(connection)
        await reconcile_deployments(connection)
        await roll_back(connection)
        await write_points(connection)
        await reconcile_points(connection)


async def replace_next(server: TestServer, **result: Any) -> Released:
    """The next job is to run an image, and does."""
    job = await server.next_job()
    assert job.kind == "container.replace"
    ran = {"reference": job.command["reference"], "digest": DIGEST, "imageId": DIGEST}
    reported = {**ran, "containerId": CONTAINER, "gapSeconds": 0.0, **result}
    await server.finish(job, "succeeded", result=reported)
    return job


async def verify_next(server: TestServer) -> Released:
    """The next job is to prove an image, and finds it whole."""
    job = await server.next_job()
    assert job.kind == "image.verify"
    digest = job.command["reference"].partition("@")[2]
    reported = {"reference": job.command["reference"], "digest": digest, "blobs": 2, "sizeBytes": 3}
    await server.finish(job, "succeeded", result=reported)
    await reconcile(server)
    return job


async def make_point(
    client: httpx2.AsyncClient, server: TestServer, application: dict[str, Any]
) -> dict[str, Any]:
    """The point of a deployment of the newest build, to this server alone."""
    await deploy(client, application["applicationId"])
    await server.succeed_next({"reference": "x", "digest": DIGEST})
    await replace_next(server)
    await reconcile(server)
    await verify_next(server)
    return (await points(client, application["applicationId"]))[0]


async def points(client: httpx2.AsyncClient, application_id: str) -> list[dict[str, Any]]:
    """Return the rollback points that are offered, or those that are not, the last to run first."""
    answer = await client.get("/api/rollback.all", params={"applicationId": application_id})
    assert answer.status_code == 200, answer.text
    shown: list[dict[str, Any]] = answer.json()
    return shown
