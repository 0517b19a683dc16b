"""Deployments as callers ask for them: a row, and two jobs on each server, on a real database."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from shared.jobs.store.release import Released
from shared.vault import KeyRing
from tests.api.asking import create_application
from tests.api.deploying import (
    CONTAINER,
    DIGEST,
    OTHER,
    build,
    create_deployable,
    deploy,
    reconcile,
    replace_next,
)
from tests.api.fleet import TestServer, open_server
from tests.databases import Database
from tests.worker.control.credentials.sealing import seal_grants

IMAGE = f"ghcr.io/myorg/my-app@{DIGEST}"
UNHEALTHY = {"code": "container_unhealthy", "message": "it ended with 1", "retryable": False}
RUN = {
    "platform": "linux/amd64",
    "healthCheck": {"command": ["/up"], "retries": 5},
    "ports": [{"publishedPort": 80, "targetPort": 8080, "publishMode": "host"}],
    "mounts": [
        {"type": "bind", "hostPath": "/srv/data", "mountPath": "/data", "readOnly": True},
        {"type": "volume", "volumeName": "cache", "mountPath": "/cache"},
    ],
}


@dataclass
class DeploymentScenario:
    """An application that was built, and the server it is to run on."""

    client: httpx2.AsyncClient
    server: TestServer
    application: dict[str, Any]

    @property
    def application_id(self) -> str:
        return str(self.application["applicationId"])

    async def deploy(self, **requested: Any) -> dict[str, Any]:
        return await deploy(self.client, self.application_id, **requested)

    async def update(self, **changes: Any) -> None:
        body = {"applicationId": self.application_id, **changes}
        answer = await self.client.post("/api/application.update", json=body)
        assert answer.status_code == 200, answer.text

    async def one(self, deployment: dict[str, Any]) -> dict[str, Any]:
        """The deployment as control leaves it."""
        await reconcile(self.server)
        chosen = {"deploymentId": deployment["deploymentId"]}
        answer = await self.client.get("/api/deployment.one", params=chosen)
        assert answer.status_code == 200, answer.text
        shown: dict[str, Any] = answer.json()
        return shown

    async def pull(self, **result: Any) -> Released:
        job = await self.server.succeed_next({"reference": "x", "digest": DIGEST, **result})
        assert job.kind == "image.pull"
        return job


@pytest.fixture
async def scenario(client: httpx2.AsyncClient, server: TestServer) -> DeploymentScenario:
    return DeploymentScenario(
        client, server, await create_deployable(client, [server], appName="my-app")
    )


@pytest.fixture
async def second(
    scenario: DeploymentScenario, client: httpx2.AsyncClient, database: Database
) -> AsyncIterator[TestServer]:
    """Another server that the application is to run on."""
    async with open_server(client, database, "beta") as second:
        await scenario.update(serverIds=[scenario.server.server_id, second.server_id])
        yield second


async def test_a_server_pulls_the_image_by_its_digest_and_then_runs_it(
    scenario: DeploymentScenario,
) -> None:
    await scenario.update(**RUN)

    requested = await scenario.deploy(title="first", description="of many")

    assert (requested["state"], requested["reference"], requested["digest"]) == (
        "queued",
        IMAGE,
        DIGEST,
    )
    [place] = requested["servers"]
    assert (place["serverId"], place["state"]) == (scenario.server.server_id, "queued")
    assert requested["jobId"] == place["jobIds"][0]
    pulled = await scenario.pull()
    assert (await scenario.one(requested))["state"] == "running"
    ran = await replace_next(scenario.server, gapSeconds=0.41)

    assert [pulled.job_id, ran.job_id] == place["jobIds"]
    assert pulled.command["reference"] == ran.command["reference"] == IMAGE
    assert pulled.command["registry_id"] == scenario.application["buildRegistryId"]
    assert (pulled.command["preflight"], pulled.command["platform"]) == (True, "linux/amd64")
    assert ran.command == {
        "application_id": scenario.application_id,
        "deployment_id": requested["deploymentId"],
        "name": "my-app",
        "reference": IMAGE,
        "platform": "linux/amd64",
        "health_check": {
            "command": ["/up"],
            "interval_seconds": 30,
            "timeout_seconds": 30,
            "start_period_seconds": 0,
            "retries": 5,
        },
        "ports": [
            {
                "published_port": 80,
                "target_port": 8080,
                "protocol": "tcp",
                "publish_mode": "host",
            }
        ],
        "mounts": [
            {"type": "bind", "source": "/srv/data", "mount_path": "/data", "read_only": True},
            {"type": "volume", "source": "cache", "mount_path": "/cache", "read_only": False},
        ],
        "stop_signal": None,
        "stop_grace_seconds": 10,
        "made_by": None,
    }
    shown = await scenario.one(requested)
    assert (shown["state"], shown["error"], shown["title"]) == ("succeeded", None, "first")
    assert shown["description"] == "of many"
    assert shown["finishedAt"] is not None
    [place] = shown["servers"]
    assert (place["state"], place["containerId"]) == ("succeeded", CONTAINER)
    assert place["gapSeconds"] == 0.41


async def test_the_environment_goes_sealed_with_what_runs_the_image_alone(
    scenario: DeploymentScenario, vault: KeyRing
) -> None:
    variables = {"applicationId": scenario.application_id, "env": "TOKEN=env_canary"}
    saved = await scenario.client.post("/api/application.saveEnvironment", json=variables)
    assert saved.status_code == 200, saved.text
    await scenario.deploy()

    pulled, ran = await scenario.pull(), await replace_next(scenario.server)

    assert pulled.sealed == {}
    assert set(ran.sealed) == {"environment"}
    assert "canary" not in str(ran)
    assert seal_grants(vault, ran) is not None


async def test_the_jobs_of_a_deployment_say_so(
    scenario: DeploymentScenario, database: Database
) -> None:
    requested = await scenario.deploy()

    jobs = database.execute("SELECT job_id FROM job WHERE deployment_id = %s", requested["jobId"])

    assert requested["deploymentId"] == requested["jobId"]
    assert {job_id for (job_id,) in jobs} == set(requested["servers"][0]["jobIds"])


async def test_the_newest_build_that_succeeded_is_deployed_unless_one_is_named(
    scenario: DeploymentScenario,
) -> None:
    chosen = {"applicationId": scenario.application_id}
    newer = await build(scenario.client, scenario.server, scenario.application_id, OTHER)
    [_, older] = (await scenario.client.get("/api/build.all", params=chosen)).json()
    await scenario.client.post("/api/application.build", json=chosen)

    newest, named = await scenario.deploy(), await scenario.deploy(buildId=older["buildId"])

    assert (newest["buildId"], newest["digest"]) == (newer["buildId"], OTHER)
    assert (named["buildId"], named["digest"]) == (older["buildId"], DIGEST)


async def test_a_ready_image_is_run_from_where_it_was_pulled(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    application = await create_application(client, serverIds=[server.server_id])
    chosen = {"applicationId": application["applicationId"]}
    await client.post(
        "/api/application.saveDockerProvider",
        json={**chosen, "dockerImage": f"quay.io/team/app:1.27@{DIGEST}"},
    )
    built = (await client.post("/api/application.build", json=chosen)).json()
    await server.succeed_next({"reference": "x", "digest": DIGEST})
    await reconcile(server)

    scenario = DeploymentScenario(client, server, application)
    requested = await scenario.deploy()

    assert built["reference"] == "quay.io/team/app:1.27"
    assert requested["reference"] == f"quay.io/team/app@{DIGEST}"
    pulled = await scenario.pull()
    assert (pulled.command["reference"], pulled.registry_id) == (requested["reference"], None)


@pytest.mark.parametrize("step", ["pull", "replace"])
async def test_a_step_that_fails_ends_the_deployment_with_its_reason(
    scenario: DeploymentScenario, step: str
) -> None:
    requested = await scenario.deploy()
    if step == "replace":
        await scenario.pull()

    await scenario.server.fail_next(UNHEALTHY)

    shown = await scenario.one(requested)
    assert (shown["state"], shown["error"]["code"]) == ("failed", "container_unhealthy")
    [place] = shown["servers"]
    assert (place["state"], place["error"]) == ("failed", shown["error"])
    assert place["containerId"] is None


async def test_a_deployment_that_fails_on_one_server_is_done_on_the_others(
    scenario: DeploymentScenario, second: TestServer
) -> None:
    requested = await scenario.deploy()
    servers = {server.server_id: server for server in (scenario.server, second)}
    for _ in ("pull", "replace"):
        for job in await scenario.server.release():
            server = servers[job.server_id]
            await server.claim(job)
            if (server, job.kind) == (second, "container.replace"):
                await server.finish(job, "failed", error=UNHEALTHY)
            else:
                await server.finish(job, "succeeded", result={"containerId": CONTAINER})

    shown = await scenario.one(requested)

    states = {place["serverId"]: place["state"] for place in shown["servers"]}
    assert states == {scenario.server.server_id: "succeeded", second.server_id: "failed"}
    assert (shown["state"], shown["error"]["code"]) == ("failed", "container_unhealthy")


@pytest.mark.parametrize(
    ("outcomes", "whole"),
    [
        (("succeeded", "succeeded"), "succeeded"),
        (("succeeded", "expired"), "expired"),
        (("expired", "cancelled"), "cancelled"),
        (("cancelled", "failed"), "failed"),
        (("failed", "expired"), "failed"),
    ],
)
async def test_the_whole_has_the_worst_state_of_its_servers(
    scenario: DeploymentScenario,
    second: TestServer,
    database: Database,
    outcomes: tuple[str, str],
    whole: str,
) -> None:
    requested = await scenario.deploy()
    for server, outcome in zip((scenario.server, second), outcomes, strict=True):
        database.execute(
            "UPDATE deployment_server SET outcome = %s, finished_at = now(),"
            " error = jsonb_build_object('code', %s::text) WHERE server_id = %s",
            *(outcome, outcome, server.server_id),
        )

    shown = await scenario.one(requested)

    assert (shown["state"], shown["error"]["code"]) == (whole, whole)


async def test_a_deployment_goes_on_while_one_of_its_servers_does(
    scenario: DeploymentScenario, second: TestServer, database: Database
) -> None:
    requested = await scenario.deploy()
    database.execute(
        "UPDATE deployment_server SET outcome = 'failed', finished_at = now() WHERE server_id = %s",
        second.server_id,
    )

    assert (await scenario.one(requested))["state"] == "running"


@pytest.mark.parametrize(
    ("gap", "shown"), [(-1, 0), (12.34567, 12.346), (10**15, 86400), ("long", None), (None, None)]
)
async def test_a_gap_that_a_server_reports_is_read_with_care(
    scenario: DeploymentScenario, gap: object, shown: float | None
) -> None:
    requested = await scenario.deploy()
    await scenario.pull()

    await replace_next(scenario.server, gapSeconds=gap)

    [place] = (await scenario.one(requested))["servers"]
    assert (place["state"], place["gapSeconds"]) == ("succeeded", shown)


async def test_the_deployment_that_was_requested_last_runs_in_the_end(
    scenario: DeploymentScenario,
) -> None:
    await scenario.deploy()
    first = await scenario.server.next_job()
    await build(scenario.client, scenario.server, scenario.application_id, OTHER)
    later = await scenario.deploy()
    pulled = await scenario.pull(digest=OTHER)

    assert pulled.job_id == later["jobId"]
    assert await scenario.server.release() == []
    await scenario.server.finish(first, "failed", error=UNHEALTHY)
    await reconcile(scenario.server)

    assert (await replace_next(scenario.server)).job_id == later["servers"][0]["jobIds"][1]


async def test_the_same_key_twice_is_one_deployment(scenario: DeploymentScenario) -> None:
    body, key = {"applicationId": scenario.application_id}, {"Idempotency-Key": "deploy-1742"}

    answers = await asyncio.gather(
        *(scenario.client.post("/api/application.deploy", json=body, headers=key) for _ in range(5))
    )

    assert len({answer.json()["deploymentId"] for answer in answers}) == 1
    shown = await scenario.client.get("/api/deployment.all", params=body)
    assert len(shown.json()) == 1


async def test_a_cancelled_deployment_ends_on_all_its_servers(
    scenario: DeploymentScenario, second: TestServer
) -> None:
    requested = await scenario.deploy()
    chosen = {"deploymentId": requested["deploymentId"]}

    answer = await scenario.client.post("/api/deployment.cancel", json=chosen)

    assert answer.status_code == 200
    shown = await scenario.one(requested)
    assert (shown["state"], shown["error"]["code"]) == ("cancelled", "cancelled")
    assert {place["state"] for place in shown["servers"]} == {"cancelled"}
    again = await scenario.client.post("/api/deployment.cancel", json=chosen)
    assert (again.status_code, again.json()["data"]["cause"]["code"]) == (409, "already_ended")


@pytest.mark.parametrize(
    ("flaw", "code"),
    [
        ("DELETE FROM application_server", "no_target_server"),
        ("UPDATE application SET replicas = 2", "too_many_replicas"),
        ("UPDATE application SET app_name = 'a'", "app_name_unusable"),
        ("UPDATE application SET app_name = 'web.new'", "app_name_unusable"),
        ("UPDATE application SET app_name = '_web'", "app_name_unusable"),
        (
            "UPDATE application SET runtime = 'service', app_name = 'my.web'",
            "app_name_unusable",
        ),
        ("UPDATE application SET runtime = 'service', app_name = 'web-'", "app_name_unusable"),
        (
            'UPDATE application SET health_check = \'{"command": ["a"], "retries": 50}\'',
            "health_check_too_slow",
        ),
        ("UPDATE build SET digest = NULL", "build_not_pushed"),
        ("UPDATE build SET outcome = 'failed'", "build_not_succeeded"),
        ("UPDATE build SET outcome = NULL, finished_at = NULL", "build_not_succeeded"),
    ],
)
async def test_a_deployment_that_is_not_possible_says_why_and_stores_nothing(
    scenario: DeploymentScenario, database: Database, flaw: str, code: str
) -> None:
    [(build_id,)] = database.execute("SELECT build_id FROM build")
    before = database.execute("SELECT job_id FROM job")
    database.execute(flaw)

    answer = await scenario.client.post(
        "/api/application.deploy",
        json={"applicationId": scenario.application_id, "buildId": build_id},
    )

    cause = answer.json()["data"]["cause"]
    assert (answer.status_code, cause["code"]) == (412, code)
    assert cause["remedy"]
    assert database.execute("SELECT 1 FROM deployment") == []
    assert database.execute("SELECT job_id FROM job") == before


async def test_a_version_that_is_not_built_yet_is_not_deployed(
    scenario: DeploymentScenario, client: httpx2.AsyncClient
) -> None:
    other = await create_application(client, serverIds=[scenario.server.server_id])
    [built] = (
        await client.get("/api/build.all", params={"applicationId": scenario.application_id})
    ).json()
    chosen = {"applicationId": other["applicationId"]}

    newest = await client.post("/api/application.redeploy", json=chosen)
    foreign = await client.post(
        "/api/application.deploy", json={**chosen, "buildId": built["buildId"]}
    )

    assert (newest.status_code, newest.json()["data"]["cause"]["code"]) == (412, "no_build")
    assert foreign.status_code == 404


async def test_deployments_are_listed_the_newest_first_by_application_and_by_server(
    scenario: DeploymentScenario, second: TestServer
) -> None:
    both = await scenario.deploy()
    await scenario.update(serverIds=[scenario.server.server_id])
    alone = await scenario.deploy()
    of_application = {"applicationId": scenario.application_id}

    async def ids(procedure: str, **params: Any) -> list[str]:
        answer = await scenario.client.get(f"/api/{procedure}", params=params)
        return [shown["deploymentId"] for shown in answer.json()]

    newest, oldest = alone["deploymentId"], both["deploymentId"]
    assert await ids("deployment.all", **of_application) == [newest, oldest]
    assert await ids("deployment.all", **of_application, limit=1) == [newest]
    here, there = scenario.server.server_id, second.server_id
    assert await ids("deployment.allByServer", serverId=here) == [newest, oldest]
    assert await ids("deployment.allByServer", serverId=there) == [oldest]


async def test_an_application_is_removed_with_its_deployments_once_none_is_open(
    scenario: DeploymentScenario, database: Database
) -> None:
    requested = await scenario.deploy()
    removing = {"applicationId": scenario.application_id}

    refused = await scenario.client.post("/api/application.remove", json=removing)
    chosen = {"deploymentId": requested["deploymentId"]}
    await scenario.client.post("/api/deployment.cancel", json=chosen)
    answer = await scenario.client.post("/api/application.remove", json=removing)

    assert (refused.status_code, refused.json()["data"]["cause"]["code"]) == (409, "in_use")
    assert answer.status_code == 200
    assert database.execute("SELECT 1 FROM deployment_server") == []
