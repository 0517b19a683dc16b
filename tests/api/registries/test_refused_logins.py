"""Jobs whose registry refuses its login wait visibly, until a test succeeds."""

import asyncio
from typing import Any

import httpx2

from tests.api.asking import create_registry
from tests.api.fleet import TestServer
from tests.api.registries.refusals import REFUSED, pull, refuse_twice


async def waiting(client: httpx2.AsyncClient, job_id: str) -> Any:
    return (await client.get("/api/job.one", params={"jobId": job_id})).json()["waiting"]


async def test_jobs_with_a_refused_login_say_why_they_wait(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    created = await create_registry(client)
    registry_id = created["registryId"]
    await pull(client, registry_id, 1)
    job = await server.next_job()
    second = await pull(client, registry_id, 2)

    assert (await waiting(client, second))["code"] == "credential_untested"
    await server.finish(job, "failed", error=REFUSED)
    await server.fail_next(REFUSED)
    third = await pull(client, registry_id, 3)

    assert await server.release() == []
    reason = await waiting(client, third)
    assert (reason["code"], reason["since"] is not None) == ("credential_refused", True)
    assert created["registryName"] in reason["message"]
    assert "from alpha" in reason["message"]


async def test_a_test_that_succeeds_lets_them_go_on(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    registry_id = (await create_registry(client))["registryId"]
    await refuse_twice(client, server, registry_id)
    job_id = await pull(client, registry_id, 3)

    tested = asyncio.create_task(
        client.post("/api/registry.testRegistryById", json={"registryId": registry_id})
    )
    job = await server.next_job()
    await server.finish(job, "succeeded", result={})

    assert (await tested).json() is True
    assert (await server.next_job()).job_id == job_id


async def test_a_new_password_lets_them_go_on(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    registry_id = (await create_registry(client))["registryId"]
    await refuse_twice(client, server, registry_id)
    job_id = await pull(client, registry_id, 3)

    changed = {"registryId": registry_id, "password": "another"}
    assert (await client.post("/api/registry.update", json=changed)).json() is True

    assert (await server.next_job()).job_id == job_id
