"""A job that did not succeed is repeated by a new one, with the rights of its own procedure."""

import asyncio
from typing import Any

import httpx2

from tests.api.asking import GHCR, create_registry
from tests.api.deploying import create_deployable
from tests.api.fleet import TestServer, bad_error, good_report
from tests.databases import Database

DENIED = {"code": "push_denied", "message": "denied", "remedy": "", "retryable": False}


async def ask(client: httpx2.AsyncClient, procedure: str, /, **body: Any) -> Any:
    answer = await client.post(f"/api/{procedure}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def refusal(client: httpx2.AsyncClient, job_id: str) -> tuple[int, str]:
    answer = await client.post("/api/job.retry", json={"jobId": job_id})
    return answer.status_code, str(answer.json()["data"].get("cause", {}).get("code"))


async def job(client: httpx2.AsyncClient, job_id: str) -> Any:
    return (await client.get("/api/job.one", params={"jobId": job_id})).json()


async def cancelled_pull(client: httpx2.AsyncClient, **more: Any) -> str:
    job_id: str = (await ask(client, "image.pull", image="ghcr.io/myorg/a:1", **more))["jobId"]
    await ask(client, "job.cancel", jobId=job_id)
    return job_id


async def test_a_failed_push_is_repeated_with_its_command_on_its_server(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    registry = (await create_registry(client))["registryId"]
    pushed = (await ask(client, "image.push", image="a:1", registryId=registry))["jobId"]
    await server.fail_next(DENIED)

    first = await ask(client, "job.retry", jobId=pushed)
    second = await ask(client, "job.retry", jobId=pushed)

    assert first == second == {"jobId": first["jobId"], "retryOf": pushed}
    before, after = await job(client, pushed), await job(client, first["jobId"])
    assert (after["state"], after["retryOf"], before["retryOf"]) == ("queued", pushed, None)
    same = ("kind", "command", "serverId", "registryId", "maxFailures")
    assert [after[name] for name in same] == [before[name] for name in same]
    await server.succeed_next({"reference": "ghcr.io/myorg/a:1", "digest": f"sha256:{'a' * 64}"})
    assert await refusal(client, first["jobId"]) == (409, "not_repeatable")


async def test_two_requests_at_once_make_one_job(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    pulled = await cancelled_pull(client)

    answers = await asyncio.gather(*(ask(client, "job.retry", jobId=pulled) for _ in range(5)))

    assert len({answer["jobId"] for answer in answers}) == 1


async def test_a_test_of_a_stored_registry_is_repeated_with_its_present_login(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    registry = (await create_registry(client))["registryId"]
    chosen = {"registryId": registry}
    answer, tested = await asyncio.gather(
        client.post("/api/registry.testRegistryById", json=chosen), server.fail_next(bad_error())
    )
    assert answer.status_code == 400
    login = {"username": "another", "password": "right"}
    await ask(client, "registry.update", **chosen, **login)

    again = await ask(client, "job.retry", jobId=tested.job_id)

    assert (await job(client, again["jobId"]))["command"]["username"] == "another"
    await server.succeed_next(good_report())
    assert (await job(client, again["jobId"]))["state"] == "succeeded"


async def test_a_test_whose_password_is_gone_is_not_repeated(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    given = {name: GHCR[name] for name in ("registryUrl", "username", "password")}
    _, tested = await asyncio.gather(
        client.post("/api/registry.testRegistry", json=given), server.fail_next(bad_error())
    )

    answer = await client.post("/api/job.retry", json={"jobId": tested.job_id})

    assert answer.status_code == 409
    cause = answer.json()["data"]["cause"]
    assert (cause["code"], "registry.testRegistry" in cause["remedy"]) == ("not_repeatable", True)


async def test_a_build_and_its_push_are_not_repeated(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    application = (await create_deployable(client, [server]))["applicationId"]
    await ask(client, "application.build", applicationId=application)
    await server.fail_next(DENIED | {"code": "build_failed"})
    await server.sweep()
    jobs = (await client.get("/api/job.all", params={"applicationId": application})).json()["jobs"]

    refusals = [await refusal(client, each["jobId"]) for each in jobs]

    assert {each["kind"] for each in jobs} >= {"image.build", "image.push"}
    assert set(refusals) == {(409, "not_repeatable")}


async def test_a_job_that_has_not_ended_is_not_repeated(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    queued = (await ask(client, "image.pull", image="nginx"))["jobId"]

    assert await refusal(client, queued) == (409, "not_repeatable")


async def test_what_a_job_needs_must_still_exist(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    registry = (await create_registry(client))["registryId"]
    pulled = await cancelled_pull(client, registryId=registry)
    moved = {"registryUrl": "quay.io", "password": "right", "imagePrefix": None}
    await ask(client, "registry.update", registryId=registry, **moved)
    at_another_host = await refusal(client, pulled)
    await ask(client, "registry.remove", registryId=registry)

    assert at_another_host == (409, "not_repeatable")
    assert await refusal(client, pulled) == (404, "None")


async def test_a_key_needs_the_job_s_own_procedure_too(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    pulled = await cancelled_pull(client)
    limited = await ask(client, "apiKey.create", name="ci", procedures=["job.*"])
    whole = await ask(client, "apiKey.create", name="all", procedures=["job.*", "image.pull"])

    answers = [
        await client.post(
            "/api/job.retry", json={"jobId": pulled}, headers={"x-api-key": each["key"]}
        )
        for each in (limited, whole)
    ]

    assert [answer.status_code for answer in answers] == [403, 200]


async def test_a_foreign_job_is_not_found(
    stranger: httpx2.AsyncClient, client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    pulled = await cancelled_pull(client)

    assert await refusal(stranger, pulled) == (404, "None")
    assert database.execute("SELECT count(*) FROM job") == [(1,)]
