"""What an organization may have at most: counted together, shown, and set by the operator."""

import asyncio
from typing import Any

import httpx2
import psycopg
import pytest

from api.errors import TooManyAtOnceError
from api.limits.concurrency_limit import ConcurrencyLimit
from tests.api.asking import create_application
from tests.api.deploying import create_deployable
from tests.api.fleet import TestServer
from tests.databases import Database

HOOK = {"url": "https://hooks.example/a"}


async def shown(client: httpx2.AsyncClient) -> dict[str, tuple[int, int | None]]:
    answer = await client.get("/api/organization.quotas")
    assert answer.status_code == 200, answer.text
    return {each["name"]: (each["used"], each["limit"]) for each in answer.json()}


def cause_of(answer: httpx2.Response) -> dict[str, Any]:
    cause: dict[str, Any] = answer.json()["data"]["cause"]
    return cause


async def test_many_at_once_do_not_pass_the_quota_of_applications(
    client: httpx2.AsyncClient, stranger: httpx2.AsyncClient, database: Database
) -> None:
    first = await create_application(client)
    database.execute(
        "UPDATE organization SET application_quota = 3"
        f" WHERE organization_id = '{first['organizationId']}'"
    )

    answers = await asyncio.gather(
        *(client.post("/api/application.create", json={"name": f"a{n}"}) for n in range(8))
    )
    refused = next(answer for answer in answers if not answer.is_success)

    assert sorted(answer.status_code for answer in answers) == [200] * 2 + [409] * 6
    assert cause_of(refused)["code"] == "quota_exceeded"
    assert "has 3 applications; its quota is 3" in refused.json()["message"]
    assert "WHARF_QUOTA_APPLICATIONS" in cause_of(refused)["remedy"]
    assert (await shown(client))["applications"] == (3, 3)
    assert (await shown(stranger))["applications"] == (0, 10_000)
    await client.post("/api/application.remove", json={"applicationId": first["applicationId"]})
    await create_application(client)


async def test_a_full_queue_refuses_new_work_and_keeps_what_it_has(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    application = await create_deployable(client, [server])
    key = {"idempotency-key": "once", "prefer": "respond-async"}
    body = {"applicationId": application["applicationId"]}
    first = await client.post("/api/application.deploy", json=body, headers=key)
    jobs = (await shown(client))["queuedJobs"][0]
    database.execute(f"UPDATE organization SET queued_job_quota = {jobs}")

    again = await client.post("/api/application.deploy", json=body, headers=key)
    refused = [
        await client.post(f"/api/{name}", json=body)
        for name in ("application.deploy", "application.build")
    ]
    refused.append(
        await client.post(
            "/api/image.tag",
            json={
                "source": "ghcr.io/a/b:1",
                "target": "ghcr.io/a/b:2",
                "serverId": server.server_id,
            },
        )
    )

    assert first.status_code == again.status_code == 200
    assert jobs > 1
    for answer in refused:
        assert answer.status_code == 429, answer.text
        assert answer.headers["retry-after"] == "30"
        assert cause_of(answer)["code"] == "queue_full"
        assert f"its quota is {jobs}" in answer.json()["message"]
    assert (await shown(client))["queuedJobs"] == (jobs, jobs)
    deployments = await client.get("/api/deployment.all", params=body)
    assert len(deployments.json()) == 1


async def test_the_quotas_and_what_is_used_are_shown(
    client: httpx2.AsyncClient, database: Database
) -> None:
    chosen = {"applicationId": (await create_application(client))["applicationId"]}
    await client.post(
        "/api/application.uploadContext",
        params=chosen,
        content=bytes(300),
        headers={"content-type": "application/x-tar"},
    )
    await client.post("/api/webhook.create", json=HOOK)
    database.execute("UPDATE organization SET webhook_quota = 0, upload_quota_bytes = 400")

    quotas = await shown(client)
    streams = quotas.pop("streams")
    too_large = await client.post(
        "/api/application.uploadContext",
        params=chosen,
        content=bytes(300),
        headers={"content-type": "application/x-tar"},
    )

    assert quotas == {
        "applications": (1, 10_000),
        "queuedJobs": (0, 10_000),
        "uploadBytes": (300, 400),
        "webhooks": (1, None),
    }
    assert streams[0] == 0
    assert streams[1]
    assert (too_large.status_code, cause_of(too_large)["code"]) == (413, "quota_exceeded")


def test_the_role_of_the_api_cannot_raise_a_quota(database: Database) -> None:
    with (
        psycopg.connect(database.url("wharf_api")) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("UPDATE organization SET application_quota = 0")


def test_an_organization_may_have_fewer_streams_than_half() -> None:
    limit = ConcurrencyLimit.share("open event streams", 100, per_owner=2)

    with limit.hold("organization", "a"), limit.hold("organization", "b"):
        with pytest.raises(TooManyAtOnceError), limit.hold("organization", "c"):
            pass
        with limit.hold("other", "d"):
            assert (limit.taken_by("organization"), limit.taken_by("other")) == (2, 1)
    assert ConcurrencyLimit.share("open event streams", 100, per_owner=99).per_owner == 50
