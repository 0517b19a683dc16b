"""The limits of registries: shown with the registry, with the job that waits, and as metrics."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from api.jobs.wait_reasons import Facts, choose_reason
from tests.api.asking import HUB, create_registry
from tests.api.fleet import TestServer

NOW = datetime.now(UTC)
LIMITED = {"code": "rate_limited", "message": "asked too often", "retryable": True}
SEEN = {"host": "docker.io", "limit": 100, "remaining": 0, "window_seconds": 3600}


async def pull(client: httpx2.AsyncClient, registry_id: str | None = None) -> str:
    chosen = {"registryId": registry_id} if registry_id else {}
    answer = await client.post("/api/image.pull", json={"image": "mycompany/app:1", **chosen})
    job_id: str = answer.json()["jobId"]
    return job_id


async def look(client: httpx2.AsyncClient, job_id: str) -> dict[str, Any]:
    shown: dict[str, Any] = (await client.get("/api/job.one", params={"jobId": job_id})).json()
    return shown


async def test_a_registry_shows_the_limit_that_a_worker_saw(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    registry = await create_registry(client, **HUB)
    assert registry["quota"] is None
    await pull(client, registry["registryId"])
    job = await server.next_job()
    report = {**SEEN, "registry_id": registry["registryId"], "remaining": 42}
    await server.finish(job, "succeeded", result={}, quotas=[report])

    chosen = {"registryId": registry["registryId"]}
    shown = (await client.get("/api/registry.one", params=chosen)).json()
    listed = (await client.get("/api/registry.all")).json()

    quota = shown["quota"]
    assert (quota["limit"], quota["remaining"], quota["windowSeconds"]) == (100, 42, 3600)
    assert quota["blockedUntil"] is None
    assert quota["observedAt"] < quota["windowEndsAt"]
    assert [one["quota"] for one in listed] == [quota]


async def test_a_job_that_met_a_limit_waits_and_says_until_when(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    registry = await create_registry(client, **HUB)
    job_id = await pull(client, registry["registryId"])
    job = await server.next_job()
    report = {**SEEN, "registry_id": registry["registryId"], "refused": True}
    await server.finish(job, "failed", error=LIMITED, quotas=[report])

    shown = await look(client, job_id)

    assert (shown["state"], shown["failures"]) == ("queued", 0)
    assert shown["waiting"]["code"] == "quota"
    assert shown["waiting"]["message"] == (
        "docker.io allows no more pulls now: 0 of 100 pulls in 1 h are left; one job tries again "
        "first"
    )
    until = datetime.fromisoformat(shown["waiting"]["until"])
    assert timedelta(minutes=14) < until - datetime.now(UTC) <= timedelta(minutes=15)


async def test_a_refused_test_of_a_registry_fails_with_its_reason(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    registry = await create_registry(client, **HUB)
    answer = await client.post(
        "/api/registry.testRegistryById",
        json={"registryId": registry["registryId"]},
        headers={"Prefer": "respond-async"},
    )
    await server.finish(await server.next_job(), "failed", error=LIMITED)

    shown = await look(client, answer.json()["jobId"])

    assert (shown["state"], shown["error"]["code"]) == ("failed", "rate_limited")


@pytest.mark.parametrize(
    ("quota", "message"),
    [
        (
            {"limit": 100, "remaining": 2, "window_seconds": 21_600, "until": None},
            (
                "the other pulls from docker.io take all that is allowed: 2 of 100 pulls in 6 h "
                "are left"
            ),
        ),
        (
            {"limit": 10, "remaining": 0, "window_seconds": None, "until": NOW.isoformat()},
            "docker.io allows no more pulls now: 0 of 10 pulls are left; one job tries again first",
        ),
        (
            {"limit": None, "remaining": None, "window_seconds": None, "until": NOW.isoformat()},
            "docker.io refuses more requests for now; one job tries again first",
        ),
    ],
)
def test_the_reason_says_what_is_known(quota: dict[str, Any], message: str) -> None:
    reason = choose_reason(make_facts(quota={"host": "docker.io", **quota}), NOW)

    assert reason
    assert (reason.code, reason.message) == ("quota", message)
    assert reason.until == (NOW if quota["until"] else None)


def test_a_pause_after_a_refusal_is_no_failure() -> None:
    reason = choose_reason(make_facts(later=True, refused=True), NOW)

    assert reason
    assert (reason.code, reason.until) == ("quota", NOW)


def make_facts(**changes: Any) -> Facts:
    facts: dict[str, Any] = {
        "name": "web-1",
        "seen_at": NOW,
        "removed": False,
        "online": True,
        "known": True,
        "later": False,
        "needs": None,
        "held": False,
        "server_full": False,
    }
    return Facts(**(facts | changes))
