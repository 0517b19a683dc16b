"""The containers of an application are stopped and started by a job on each of its servers."""

import asyncio
from typing import Any

import httpx2

from shared.jobs.store.release import Released
from tests.api.asking import show_application
from tests.api.deploying import (
    CONTAINER,
    DIGEST,
    create_deployable,
    deploy,
    reconcile,
    replace_next,
)
from tests.api.fleet import TestServer, open_server
from tests.databases import Database

PULLED = {"reference": "x", "digest": DIGEST}
MISSING = {
    "code": "container_missing",
    "message": "cannot stop the application my-app: nothing of it is on this server",
    "remedy": "Deploy it again.",
    "retryable": False,
}


def reported(state: str, *, changed: bool = True) -> dict[str, Any]:
    return {"runtime": "container", "state": state, "changed": changed}


async def create_deployed(client: httpx2.AsyncClient, server: TestServer, **settings: Any) -> str:
    """An application that was deployed to the server; its id."""
    application_id: str = (await create_deployable(client, [server], **settings))["applicationId"]
    await deploy_to(client, server, application_id)
    return application_id


async def deploy_to(client: httpx2.AsyncClient, server: TestServer, application_id: str) -> None:
    await deploy(client, application_id)
    await server.succeed_next(PULLED)
    await replace_next(server)
    await reconcile(server)


async def control(
    client: httpx2.AsyncClient, server: TestServer, application_id: str, action: str
) -> tuple[Released, httpx2.Response]:
    """The job of a request, which succeeds, and the answer."""
    chosen = {"applicationId": application_id}
    asking = asyncio.create_task(client.post(f"/api/application.{action}", json=chosen))
    state = "stopped" if action == "stop" else "running"
    job = await server.succeed_next(reported(state))
    return job, await asking


async def submit(
    client: httpx2.AsyncClient, application_id: str, action: str, **headers: str
) -> dict[str, Any]:
    """The answer to a request that does not wait."""
    answer = await client.post(
        f"/api/application.{action}",
        json={"applicationId": application_id},
        headers={"prefer": "respond-async", **headers},
    )
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def status_of(client: httpx2.AsyncClient, application_id: str) -> str:
    return str((await show_application(client, application_id))["applicationStatus"])


async def test_a_stopped_application_is_idle_until_it_is_started_or_deployed(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    application_id = await create_deployed(client, server)

    job, answer = await control(client, server, application_id, "stop")
    stopped = answer.json()
    _, answer = await control(client, server, application_id, "start")
    started = answer.json()
    await control(client, server, application_id, "stop")
    await control(client, server, application_id, "reload")
    reloaded = await status_of(client, application_id)
    await control(client, server, application_id, "stop")
    still = await status_of(client, application_id)
    await deploy_to(client, server, application_id)

    assert (job.kind, job.command["action"]) == ("application.control", "stop")
    assert (stopped["applicationId"], stopped["jobId"]) == (application_id, job.job_id)
    assert stopped["applicationStatus"] == still == "idle"
    [on_server] = stopped["servers"]
    assert on_server == {
        "serverId": server.server_id,
        "jobId": job.job_id,
        "state": "succeeded",
        "changed": True,
    }
    assert started["applicationStatus"] == reloaded == "done"
    assert await status_of(client, application_id) == "done"
    shown = await client.get("/api/deployment.all", params={"applicationId": application_id})
    assert {each["state"] for each in shown.json()} == {"succeeded"}


async def test_a_stop_that_fails_is_an_error_with_its_cause(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    application_id = await create_deployed(client, server)
    chosen = {"applicationId": application_id}
    asking = asyncio.create_task(client.post("/api/application.stop", json=chosen))
    await server.fail_next(MISSING)

    answer = await asking

    assert answer.status_code == 400
    assert answer.json()["data"]["cause"]["code"] == "container_missing"
    assert await status_of(client, application_id) == "done"


async def run_all(*servers: TestServer) -> list[str]:
    """Have all jobs that there are succeed; what changed the application, in order."""
    by_id = {each.server_id: each for each in servers}
    changes = []
    while jobs := await servers[0].release():
        for job in jobs:
            server, action = by_id[job.server_id], job.command.get("action")
            await server.claim(job)
            state = reported("stopped" if action == "stop" else "running")
            result = state if action else {**PULLED, "containerId": CONTAINER}
            await server.finish(job, "succeeded", result=result)
            if job.kind != "image.pull":
                changes.append(action or job.kind)
        await reconcile(servers[0])
    return changes


async def test_requests_of_an_application_take_effect_in_their_order(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    application_id = await create_deployed(client, server)
    await deploy(client, application_id)
    await submit(client, application_id, "stop")
    await deploy(client, application_id)
    await submit(client, application_id, "stop")
    await submit(client, application_id, "start")

    changes = await run_all(server)

    replace = "container.replace"
    assert changes == [replace, "stop", replace, "stop", "start"]
    assert await status_of(client, application_id) == "done"


async def test_an_application_on_two_servers_is_idle_when_both_stopped(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    async with open_server(client, database, "beta") as second:
        application = await create_deployable(client, [server, second])
        application_id = application["applicationId"]
        await deploy(client, application_id)
        await run_all(server, second)
        submitted = await submit(client, application_id, "stop")
        owners = {each.server_id: each for each in (server, second)}
        [first, last] = await server.release()
        for job in (first, last):
            await owners[job.server_id].claim(job)
        await owners[first.server_id].finish(first, "succeeded", result=reported("stopped"))
        half = await status_of(client, application_id)
        await owners[last.server_id].finish(last, "succeeded", result=reported("stopped"))

        assert {each["serverId"] for each in submitted["servers"]} == set(owners)
        assert {each["state"] for each in submitted["servers"]} == {"queued"}
        assert half == "done"
        assert await status_of(client, application_id) == "idle"


async def test_an_application_that_was_never_deployed_is_refused(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    application = await create_deployable(client, [server])
    chosen = {"applicationId": application["applicationId"]}

    for action in ("stop", "start", "reload"):
        refused = await client.post(f"/api/application.{action}", json=chosen)

        assert refused.status_code == 412
        assert refused.json()["data"]["cause"]["code"] == "not_deployed"


async def test_who_may_deploy_may_stop(
    client: httpx2.AsyncClient, member: httpx2.AsyncClient, server: TestServer
) -> None:
    application_id = await create_deployed(client, server)
    _, allowed = await control(member, server, application_id, "stop")
    own = (await client.get("/api/apiKey.all")).json()[0]["apiKeyId"]
    await client.post(
        "/api/application.update", json={"applicationId": application_id, "allowedKeys": [own]}
    )

    refused = await member.post("/api/application.start", json={"applicationId": application_id})

    assert allowed.status_code == 200
    assert (refused.status_code, refused.json()["data"]["cause"]["code"]) == (403, "forbidden")


async def test_a_repeated_request_is_one_job(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    application_id = await create_deployed(client, server)
    key = {"idempotency-key": "once"}

    first = await submit(client, application_id, "stop", **key)
    again = await submit(client, application_id, "stop", **key)

    assert again == first
    [(count,)] = database.execute("SELECT count(*) FROM job WHERE kind = 'application.control'")
    assert count == 1


async def test_the_signal_and_the_time_to_stop_are_settings_of_the_next_deployment(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    application_id = (await create_deployable(client, [server]))["applicationId"]
    by_default = await show_application(client, application_id)

    await update(client, application_id, stopSignal="int", stopGraceSeconds=60)
    shown = await show_application(client, application_id)
    await deploy(client, application_id)
    await server.succeed_next(PULLED)
    job = await replace_next(server)
    await update(client, application_id, stopGracePeriodSwarm=90_000_000_000)
    of_dokploy = await show_application(client, application_id)

    assert (by_default["stopSignal"], by_default["stopGraceSeconds"]) == (None, 10)
    assert (shown["stopSignal"], shown["stopGraceSeconds"]) == ("SIGINT", 60)
    assert (job.command["stop_signal"], job.command["stop_grace_seconds"]) == ("SIGINT", 60)
    assert of_dokploy["stopGraceSeconds"] == 90
    for wrong in ({"stopSignal": "SIGNONE"}, {"stopGraceSeconds": 0}, {"stopGraceSeconds": 3601}):
        body = {"applicationId": application_id, **wrong}
        assert (await client.post("/api/application.update", json=body)).status_code == 400


async def update(client: httpx2.AsyncClient, application_id: str, **changes: Any) -> None:
    body = {"applicationId": application_id, **changes}
    answer = await client.post("/api/application.update", json=body)
    assert answer.text == "true"


async def test_the_output_is_read_by_a_job_on_each_server(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    application_id = await create_deployed(client, server)
    asked = {"applicationId": application_id, "tail": "2", "since": "10m", "search": "ready"}
    asking = asyncio.create_task(client.get("/api/application.readLogs", params=asked))
    lines = ["2026-07-01T09:00:00.1Z ready", "2026-07-01T09:00:00.2Z ready again"]
    job = await server.succeed_next({"lines": lines, "isCut": True})

    answer = await asking

    assert answer.json() == "\n".join(["[earlier lines left out]", *lines])
    assert job.kind == "application.logs"
    fields = ("tail", "since_seconds", "search")
    assert [job.command[field] for field in fields] == [2, 600, "ready"]


async def test_output_that_cannot_be_read_is_an_error_with_its_cause(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    application_id = await create_deployed(client, server)
    chosen = {"applicationId": application_id}
    asking = asyncio.create_task(client.get("/api/application.readLogs", params=chosen))
    await server.fail_next(MISSING)

    answer = await asking

    assert answer.status_code == 400
    assert answer.json()["data"]["cause"]["code"] == "container_missing"
