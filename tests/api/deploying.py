"""Applications that are built and may be deployed, and their deployments as control leaves them."""

from collections.abc import Sequence
from typing import Any

import httpx2

from shared.jobs.store.release import Released
from tests.api.asking import create_application, create_registry
from tests.api.fleet import TestServer
from worker.control.builds import settle_builds
from worker.control.deployments import settle_deployments

DIGEST, OTHER = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
CONTAINER = "c" * 64


async def create_deployable(
    client: httpx2.AsyncClient, servers: Sequence[TestServer], **settings: Any
) -> dict[str, Any]:
    """An application of these servers with one build, which the first of them has pushed."""
    registry = await create_registry(client)
    application = await create_application(
        client,
        buildRegistryId=registry["registryId"],
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
    """A build whose image was pushed and has this digest."""
    answer = await client.post("/api/application.build", json={"applicationId": application_id})
    assert answer.status_code == 200, answer.text
    await server.succeed_next({"reference": "x"})
    await server.succeed_next({"reference": "x", "digest": digest})
    await settle(server)
    built: dict[str, Any] = answer.json()
    return built


async def deploy(client: httpx2.AsyncClient, application_id: str, **asked: Any) -> dict[str, Any]:
    body = {"applicationId": application_id, **asked}
    answer = await client.post("/api/application.deploy", json=body)
    assert answer.status_code == 200, answer.text
    accepted: dict[str, Any] = answer.json()
    return accepted


async def settle(server: TestServer) -> None:
    """As control does: what needs a job that failed ends a sweep later."""
    for _ in range(2):
        await server.sweep()
    async with server.control.connection() as connection:
        await settle_builds(connection)
        await settle_deployments(connection)


async def replace_next(server: TestServer, **result: Any) -> Released:
    """The next job is to run an image, and does."""
    job = await server.next_job()
    assert job.kind == "container.replace"
    ran = {"reference": job.command["reference"], "digest": DIGEST, "imageId": DIGEST}
    told = {**ran, "containerId": CONTAINER, "gapSeconds": 0.0, **result}
    await server.finish(job, "succeeded", result=told)
    return job
