"""Deploying as one call: built, pushed, retained and run, by its digest, once that is known."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from shared.jobs.store.release import Released
from tests.api.asking import create_application, show_application
from tests.api.deploying import DIGEST, OTHER, create_deployable, reconcile, replace_next
from tests.api.fleet import TestServer, open_server
from tests.databases import Database

FAILED = {"code": "build_failed", "message": "the step RUN false failed", "retryable": False}
UNHEALTHY = {"code": "container_unhealthy", "message": "it ended with 1", "retryable": False}
IMAGE = f"ghcr.io/myorg/my-app@{DIGEST}"


@pytest.fixture
async def application(client: httpx2.AsyncClient, server: TestServer) -> dict[str, Any]:
    return await create_deployable(client, [server], appName="my-app", rollbackActive=True)


@pytest.fixture
async def second(
    application: dict[str, Any],
    client: httpx2.AsyncClient,
    server: TestServer,
    database: Database,
) -> AsyncIterator[TestServer]:
    async with open_server(client, database, "beta") as second:
        both = [server.server_id, second.server_id]
        await update(client, application, serverIds=both, buildServerId=server.server_id)
        yield second


async def update(client: httpx2.AsyncClient, application: dict[str, Any], **changes: Any) -> None:
    body = {"applicationId": application["applicationId"], **changes}
    answer = await client.post("/api/application.update", json=body)
    assert answer.status_code == 200, answer.text


async def deploy(
    client: httpx2.AsyncClient, application: dict[str, Any], **requested: Any
) -> dict[str, Any]:
    body = {"applicationId": application["applicationId"], **requested}
    answer = await client.post("/api/application.deploy", json=body)
    assert answer.status_code == 200, answer.text
    accepted: dict[str, Any] = answer.json()
    return accepted


async def one(
    client: httpx2.AsyncClient, server: TestServer, deployment: dict[str, Any]
) -> dict[str, Any]:
    await reconcile(server)
    chosen = {"deploymentId": deployment["deploymentId"]}
    shown: dict[str, Any] = (await client.get("/api/deployment.one", params=chosen)).json()
    return shown


async def make(server: TestServer, digest: str = DIGEST) -> None:
    """Build and push; what retains it comes with what pulls it."""
    for kind in ("image.build", "image.push"):
        job = await server.succeed_next({"reference": "x", "digest": digest})
        assert job.kind == kind


async def take(server: TestServer, kind: str, count: int = 2) -> list[Released]:
    """The jobs that are released together; those of the kind are given, the others succeed."""
    jobs: list[Released] = []
    while len(jobs) < count:
        for job in await server.release():
            await server.claim(job)
            jobs.append(job)
    for job in jobs:
        if job.kind != kind:
            await server.finish(job, "succeeded", result={"reference": "x", "digest": DIGEST})
    return [job for job in jobs if job.kind == kind]


async def test_one_call_builds_pushes_retains_and_runs_what_was_built(
    client: httpx2.AsyncClient, server: TestServer, application: dict[str, Any]
) -> None:
    requested = await deploy(client, application, tag="v7", title="seventh")

    assert requested["buildId"] == requested["deploymentId"] == requested["jobId"]
    assert (requested["reference"], requested["digest"]) == ("ghcr.io/myorg/my-app:v7", None)
    await make(server)
    [pulled] = await take(server, "image.pull")
    await server.finish(pulled, "succeeded", result={"reference": "x", "digest": DIGEST})
    ran = await replace_next(server)

    assert pulled.command["reference"] == ran.command["reference"] == IMAGE
    shown = await one(client, server, requested)
    assert (shown["state"], shown["reference"], shown["digest"]) == ("succeeded", IMAGE, DIGEST)
    assert shown["title"] == "seventh"
    [built, _] = (
        await client.get("/api/build.all", params={"applicationId": application["applicationId"]})
    ).json()
    assert (built["buildId"], built["state"]) == (requested["buildId"], "succeeded")
    assert built["retained"] == "keep.example/myorg/my-app:v7"


async def test_an_attempt_after_the_first_is_of_the_same_image(
    client: httpx2.AsyncClient, server: TestServer, application: dict[str, Any], database: Database
) -> None:
    await deploy(client, application)
    await make(server)
    [pulled] = await take(server, "image.pull")
    await server.finish(pulled, "failed", error={**FAILED, "retryable": True})
    database.execute("UPDATE job SET run_at = now() WHERE state = 'queued'")

    again = await server.next_job()

    assert (again.job_id, again.attempt) == (pulled.job_id, 2)
    assert again.command["reference"] == IMAGE


async def test_a_build_that_fails_ends_its_deployment_with_its_reason(
    client: httpx2.AsyncClient, server: TestServer, application: dict[str, Any]
) -> None:
    requested = await deploy(client, application)
    await server.fail_next(FAILED)

    shown = await one(client, server, requested)

    assert (shown["state"], shown["error"]["code"]) == ("failed", "build_failed")
    assert [place["state"] for place in shown["servers"]] == ["cancelled"]


async def test_a_newer_deployment_supersedes_one_that_waits_to_be_built(
    client: httpx2.AsyncClient, server: TestServer, application: dict[str, Any]
) -> None:
    first = await deploy(client, application)
    second = await deploy(client, application)
    await make(server, OTHER)

    shown = await one(client, server, first)

    assert (shown["state"], shown["error"]["code"]) == ("superseded", "superseded")
    [pulled] = await take(server, "image.pull")
    assert pulled.job_id == (await one(client, server, second))["servers"][0]["jobIds"][0]


async def test_a_cancelled_deployment_is_not_built_either(
    client: httpx2.AsyncClient, server: TestServer, application: dict[str, Any]
) -> None:
    requested = await deploy(client, application)
    chosen = {"applicationId": application["applicationId"]}

    answer = await client.post("/api/application.cancelDeployment", json=chosen)

    assert [each["deploymentId"] for each in answer.json()] == [requested["deploymentId"]]
    assert (await one(client, server, requested))["state"] == "cancelled"
    assert await server.release() == []
    assert (await client.post("/api/application.cancelDeployment", json=chosen)).json() == []


async def test_a_failed_copy_to_the_rollback_registry_leaves_what_runs_as_it_is(
    client: httpx2.AsyncClient, server: TestServer, application: dict[str, Any]
) -> None:
    requested = await deploy(client, application)
    await make(server)
    [copy] = await take(server, "image.copy")
    await server.finish(copy, "failed", error={**FAILED, "code": "denied"})
    await replace_next(server)

    assert (await one(client, server, requested))["state"] == "succeeded"
    assert await server.release() == []


async def test_a_digest_that_nobody_reported_is_not_run(
    client: httpx2.AsyncClient, server: TestServer, application: dict[str, Any]
) -> None:
    await deploy(client, application)
    await server.succeed_next({"reference": "x"})
    await server.succeed_next({"reference": "x", "digest": None})

    with pytest.raises(Exception, match="did not report its digest"):
        await server.release()


async def test_the_same_key_twice_is_one_build_and_one_deployment(
    client: httpx2.AsyncClient, application: dict[str, Any]
) -> None:
    body = {"applicationId": application["applicationId"]}
    key = {"Idempotency-Key": "deploy-1742"}

    requested = [
        (await client.post("/api/application.deploy", json=body, headers=key)).json()
        for _ in range(3)
    ]

    assert len({each["deploymentId"] for each in requested}) == 1
    assert len((await client.get("/api/deployment.all", params=body)).json()) == 1
    assert len((await client.get("/api/build.all", params=body)).json()) == 2


@pytest.mark.parametrize(
    "given", [{"tag": "v1"}, {"branch": "main"}, {"commit": "a" * 40}, {"allowMissing": True}]
)
async def test_a_build_that_was_made_is_not_built_otherwise(
    client: httpx2.AsyncClient, application: dict[str, Any], given: dict[str, Any]
) -> None:
    body = {"applicationId": application["applicationId"], "buildId": "x", **given}

    answer = await client.post("/api/application.deploy", json=body)

    assert answer.status_code == 400
    assert answer.json()["message"] == f"{next(iter(given))} has no effect together with buildId"


async def test_an_image_that_no_server_could_pull_is_not_built(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    application = await create_application(client, serverIds=[server.server_id])
    chosen = {"applicationId": application["applicationId"]}
    source = {**chosen, "customGitUrl": "https://git.example/a.git"}
    await client.post("/api/application.saveGitProvider", json=source)

    answer = await client.post("/api/application.deploy", json=chosen)

    assert answer.json()["data"]["cause"]["code"] == "build_not_pushed"
    assert database.execute("SELECT 1 FROM build") == []


async def test_a_ready_image_is_looked_up_and_runs_by_its_digest(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    application = await create_application(client, serverIds=[server.server_id])
    chosen = {"applicationId": application["applicationId"]}
    image = {**chosen, "dockerImage": "quay.io/team/app:1.27"}
    await client.post("/api/application.saveDockerProvider", json=image)
    await deploy(client, application)
    await server.succeed_next({"reference": "x", "digest": DIGEST})

    pulled = await server.succeed_next({"reference": "x", "digest": DIGEST})
    ran = await replace_next(server)

    wanted = f"quay.io/team/app@{DIGEST}"
    assert pulled.command["reference"] == ran.command["reference"] == wanted


@pytest.mark.parametrize("saved", ["quay.io/team/web:1.0", f"quay.io/team/web@{DIGEST}"])
async def test_a_tag_for_a_ready_image_deploys_that_tag(
    client: httpx2.AsyncClient, server: TestServer, saved: str
) -> None:
    chosen = {"serverIds": [server.server_id], "dockerImage": saved}
    application = await create_application(client, **chosen)

    requested = await deploy(client, application, tag="2.3")

    looked_up = await server.next_job()
    assert (looked_up.kind, looked_up.command["reference"]) == (
        "image.pull",
        "quay.io/team/web:2.3",
    )
    assert requested["reference"] == "quay.io/team/web:2.3"
    shown = await show_application(client, application["applicationId"])
    assert shown["dockerImage"] == saved


@pytest.mark.parametrize("procedure", ["build", "deploy"])
@pytest.mark.parametrize(
    ("name", "value"), [("branch", "main"), ("commit", "a" * 40), ("contextId", "any")]
)
async def test_build_options_are_refused_for_a_ready_image(
    *,
    client: httpx2.AsyncClient,
    server: TestServer,
    database: Database,
    procedure: str,
    name: str,
    value: str,
) -> None:
    image = {"dockerImage": "quay.io/team/web:1.0", "serverIds": [server.server_id]}
    application = await create_application(client, **image)
    body = {"applicationId": application["applicationId"], name: value}

    answer = await client.post(f"/api/application.{procedure}", json=body)

    assert answer.status_code == 400
    assert answer.json()["message"].startswith(f"{name} has no effect if sourceType is docker")
    assert answer.json()["data"]["cause"]["code"] == "no_effect"
    assert answer.json()["data"]["cause"]["remedy"] == f"Leave {name} out."
    assert database.execute("SELECT 1 FROM build") == []


async def test_a_branch_beside_a_commit_is_named_in_the_answer(
    client: httpx2.AsyncClient, application: dict[str, Any]
) -> None:
    body = {"applicationId": application["applicationId"], "branch": "main", "commit": "a" * 40}

    answer = await client.post("/api/application.deploy", json=body)

    [warning] = answer.json()["warnings"]
    assert warning == {
        "field": "branch",
        "code": "no_effect",
        "message": "branch has no effect together with commit",
    }
    assert json.loads(answer.headers["x-wharf-warnings"]) == [warning]


async def test_an_application_that_is_not_run_is_only_pulled(
    client: httpx2.AsyncClient, server: TestServer, application: dict[str, Any]
) -> None:
    await update(client, application, runtime="none")
    requested = await deploy(client, application)
    await make(server)
    [pulled] = await take(server, "image.pull")
    await server.finish(pulled, "succeeded", result={"reference": "x", "digest": DIGEST})

    shown = await one(client, server, requested)

    assert shown["state"] == "succeeded"
    assert [place["jobIds"] for place in shown["servers"]] == [[pulled.job_id]]


async def test_a_service_is_given_its_replicas_and_the_login_that_its_nodes_pull_with(
    client: httpx2.AsyncClient, server: TestServer, application: dict[str, Any], database: Database
) -> None:
    changes = {"runtime": "service", "replicas": 3}
    chosen = {"applicationId": application["applicationId"]}
    changed = await client.post("/api/application.update", json={**chosen, **changes})
    assert changed.status_code == 200
    await deploy(client, application)
    await make(server)
    [pulled] = await take(server, "image.pull")
    await server.finish(pulled, "succeeded", result={"reference": "x", "digest": DIGEST})

    job = await server.next_job()

    assert (job.kind, job.command["replicas"]) == ("service.replace", 3)
    assert job.command["reference"] == IMAGE
    assert set(job.registries) == {application["buildRegistryId"]}


async def test_servers_are_changed_a_batch_after_the_other(
    client: httpx2.AsyncClient,
    server: TestServer,
    application: dict[str, Any],
    second: TestServer,
) -> None:
    await update(client, application, rolloutBatch=1)
    servers = {each.server_id: each for each in (server, second)}
    requested = await deploy(client, application)
    await make(server)
    seen: list[Released] = []
    while len(seen) < 5:
        jobs = await server.release()
        assert jobs
        seen += jobs
        for job in jobs:
            place = servers[job.server_id]
            await place.claim(job)
            await place.finish(job, "succeeded", result={"reference": "x", "digest": DIGEST})

    changed = [job.server_id for job in seen if job.kind == "container.replace"]
    assert changed == sorted(servers)
    assert (await one(client, server, requested))["state"] == "succeeded"


async def run_all(servers: list[TestServer], broken: str = "") -> None:
    """All jobs that there are; a container on this server, or with ``all``, is not healthy."""
    by_id = {each.server_id: each for each in servers}
    while True:
        await reconcile(servers[0])
        jobs = await servers[0].release()
        if not jobs:
            return
        for job in jobs:
            place = by_id[job.server_id]
            await place.claim(job)
            if job.kind == "container.replace" and broken == job.server_id:
                await place.finish(job, "failed", error=UNHEALTHY)
            else:
                digest = job.command.get("reference", "").partition("@")[2] or DIGEST
                reported = {"reference": "x", "digest": digest, "blobs": 1, "sizeBytes": 1}
                await place.finish(job, "succeeded", result=reported)


async def test_the_first_batch_that_fails_leaves_the_others_as_they_are(
    client: httpx2.AsyncClient,
    server: TestServer,
    application: dict[str, Any],
    second: TestServer,
) -> None:
    await update(client, application, rolloutBatch=1)
    first, last = sorted([server.server_id, second.server_id])
    requested = await deploy(client, application)

    await run_all([server, second], broken=first)

    shown = await one(client, server, requested)
    states = {place["serverId"]: place["state"] for place in shown["servers"]}
    assert states == {first: "failed", last: "cancelled"}
    assert (shown["state"], shown["error"]["code"]) == ("failed", "container_unhealthy")


@pytest.mark.parametrize("on_failure", ["stop", "rollback"])
async def test_servers_that_were_changed_get_back_what_they_had_where_that_is_wanted(
    client: httpx2.AsyncClient,
    server: TestServer,
    application: dict[str, Any],
    second: TestServer,
    on_failure: str,
) -> None:
    await update(client, application, rolloutBatch=1, rolloutOnFailure=on_failure)
    first, last = sorted([server.server_id, second.server_id])
    good = await deploy(client, application)
    await run_all([server, second])
    bad = await deploy(client, application, title="broken")
    await run_all([server, second], broken=last)
    await run_all([server, second])

    chosen = {"applicationId": application["applicationId"]}
    newest = (await client.get("/api/deployment.all", params=chosen)).json()[0]
    if on_failure == "stop":
        assert newest["deploymentId"] == bad["deploymentId"]
        return
    assert (newest["rollsBack"], newest["state"]) == (bad["deploymentId"], "succeeded")
    assert newest["title"] == "Automatic rollback after broken"
    assert [place["serverId"] for place in newest["servers"]] == [first]
    assert newest["buildId"] == good["buildId"]


async def test_nothing_is_put_back_once_something_newer_was_asked_for(
    client: httpx2.AsyncClient,
    server: TestServer,
    application: dict[str, Any],
    second: TestServer,
) -> None:
    await update(client, application, rolloutOnFailure="rollback")
    await deploy(client, application)
    await run_all([server, second])
    await deploy(client, application)
    newer = await deploy(client, application)
    await update(client, application, latestWins=False)

    await run_all([server, second], broken=second.server_id)

    chosen = {"applicationId": application["applicationId"]}
    shown = (await client.get("/api/deployment.all", params=chosen)).json()
    undone = {each["rollsBack"] for each in shown} - {None}
    assert undone <= {newer["deploymentId"]}
