"""Builds as callers ask for them: a row and jobs in a row, on a real database."""

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from shared.jobs.store.release import Released, release
from shared.vault import KeyRing
from tests.api.asking import (
    create_application,
    create_registry,
    show_application,
    upload_context,
)
from tests.api.fleet import TestServer
from tests.databases import Database
from tests.worker.control.credentials.sealing import seal_grants
from worker.control.maintenance.builds import reconcile_builds

DIGEST, OTHER = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
GIT = {
    "customGitUrl": "https://git.example.com/team/app.git",
    "customGitBranch": "main",
    "customGitUsername": "porter",
    "customGitToken": "ghp_canary",
}


@dataclass
class BuildScenario:
    """An application with a git source and two registries, and the server that builds it."""

    client: httpx2.AsyncClient
    server: TestServer
    application_id: str

    async def build(self, **requested: Any) -> dict[str, Any]:
        body = {"applicationId": self.application_id, **requested}
        answer = await self.client.post("/api/application.build", json=body)
        assert answer.status_code == 200, answer.text
        accepted: dict[str, Any] = answer.json()
        return accepted

    async def one(self, build_id: str) -> dict[str, Any]:
        """The build as control leaves it: what needs a step that failed ends a sweep later."""
        for _ in range(2):
            await self.server.sweep()
        async with self.server.control.connection() as connection:
            await reconcile_builds(connection)
        answer = await self.client.get("/api/build.one", params={"buildId": build_id})
        shown: dict[str, Any] = answer.json()
        return shown

    async def succeed(self, kind: str, **result: Any) -> Released:
        job = await self.server.succeed_next({"reference": "x", **result})
        assert job.kind == kind
        return job


@pytest.fixture
async def scenario(client: httpx2.AsyncClient, server: TestServer) -> BuildScenario:
    build = await create_registry(client, registryName="build")
    rollback = await create_registry(
        client, registryName="rollback", registryUrl="keep.example.com", imagePrefix="kept"
    )
    application = await create_application(
        client,
        appName="my-app",
        buildRegistryId=build["registryId"],
        rollbackRegistryId=rollback["registryId"],
        rollbackActive=True,
    )
    application_id = application["applicationId"]
    saved = await client.post(
        "/api/application.saveGitProvider", json={"applicationId": application_id, **GIT}
    )
    assert saved.status_code == 200, saved.text
    return BuildScenario(client, server, application_id)


async def test_an_image_is_built_pushed_and_retained_in_this_order(scenario: BuildScenario) -> None:
    requested = await scenario.build()
    assert (requested["version"], requested["state"], requested["jobId"]) == (
        1,
        "queued",
        requested["jobIds"][0],
    )

    made = await scenario.succeed("image.build", revision=COMMIT)
    pushed = await scenario.succeed("image.push", digest=DIGEST)
    assert (await scenario.one(requested["buildId"]))["state"] == "running"
    retained = await scenario.succeed("image.copy", digest=DIGEST)

    assert [job.job_id for job in (made, pushed, retained)] == requested["jobIds"]
    assert made.command["source"] == {
        "kind": "git",
        "url": "https://git.example.com/team/app.git",
        "branch": "main",
        "commit": None,
        "path": "",
        "username": "porter",
        "host_keys": [],
    }
    assert pushed.command["reference"] == "ghcr.io/myorg/my-app:v1"
    assert pushed.command["source"] == made.command["reference"] == pushed.command["reference"]
    assert retained.command["source"] == pushed.command["reference"]
    assert retained.command["reference"] == "keep.example.com/kept/my-app:v1"
    shown = await scenario.one(requested["buildId"])
    assert shown["state"] == "succeeded"
    assert (shown["digest"], shown["revision"]) == (DIGEST, COMMIT)
    assert shown["retained"] == retained.command["reference"]
    assert shown["finishedAt"] is not None


async def test_the_git_token_goes_sealed_with_the_build_and_opens_for_its_host(
    scenario: BuildScenario, vault: KeyRing
) -> None:
    await scenario.build()

    job = await scenario.server.next_job()

    assert "ghp_canary" not in str(job)
    assert seal_grants(vault, job) is not None


async def test_the_deploy_key_goes_sealed_with_the_build_and_opens_for_its_host(
    scenario: BuildScenario, vault: KeyRing
) -> None:
    chosen = {"applicationId": scenario.application_id}
    behind_ssh = {"customGitUrl": "ssh://me@git.example.com:2222/app.git", "customGitToken": None}
    for procedure, more in (("saveGitProvider", behind_ssh), ("generateDeployKey", {})):
        body = {**chosen, **more}
        answer = await scenario.client.post(f"/api/application.{procedure}", json=body)
        assert answer.status_code == 200, answer.text
    await scenario.build()

    job = await scenario.server.next_job()

    assert set(job.sealed) == {"git_ssh_key"}
    assert seal_grants(vault, job) is not None


async def test_the_build_secrets_go_sealed_with_the_build_and_with_none_of_its_other_jobs(
    scenario: BuildScenario, vault: KeyRing
) -> None:
    saved = await scenario.client.post(
        "/api/application.saveEnvironment",
        json={"applicationId": scenario.application_id, "buildSecrets": "NPM_TOKEN=npm_canary"},
    )
    assert saved.status_code == 200, saved.text
    await scenario.build()

    made = await scenario.succeed("image.build", revision=COMMIT)
    pushed = await scenario.succeed("image.push", digest=DIGEST)

    assert set(made.sealed) == {"git_token", "build_secrets"}
    assert "canary" not in str(made)
    assert seal_grants(vault, made) is not None
    assert pushed.sealed == {}


async def test_a_build_s_push_and_a_push_of_the_same_tag_are_not_made_at_once(
    scenario: BuildScenario, database: Database
) -> None:
    await scenario.build()
    [registry_id] = {
        row[0] for row in database.execute("SELECT build_registry_id FROM application")
    }

    body = {"image": "my-app:v1", "registryId": registry_id}
    assert (await scenario.client.post("/api/image.push", json=body)).status_code == 200

    pushes = database.execute("SELECT exclusive_key FROM job WHERE kind = 'image.push'")
    assert len(pushes) == 2
    assert len(set(pushes)) == 1


@pytest.mark.parametrize("given", [{}, {"allowMissing": True}])
async def test_parts_of_a_repository_may_be_missing_where_that_is_allowed(
    scenario: BuildScenario, given: dict[str, bool]
) -> None:
    await scenario.build(**given)

    job = await scenario.succeed("image.build", warnings=["missing: submodule a"])

    assert job.command["allow_missing"] is bool(given)
    answer = await scenario.client.get("/api/job.one", params={"jobId": job.job_id})
    assert answer.json()["result"]["warnings"] == ["missing: submodule a"]


async def test_an_upload_has_no_parts_that_may_be_missing(shed: BuildScenario) -> None:
    await upload_context(shed.client, shed.application_id)
    body = {"applicationId": shed.application_id, "allowMissing": True}

    answer = await shed.client.post("/api/application.build", json=body)

    assert answer.status_code == 400
    assert "allowMissing" in answer.text


async def test_a_step_that_fails_ends_the_build_with_its_reason(scenario: BuildScenario) -> None:
    requested = await scenario.build()
    fault = {"code": "build_failed", "message": "step 3 ended with 1", "retryable": False}

    await scenario.server.fail_next(fault)

    shown = await scenario.one(requested["buildId"])
    assert (shown["state"], shown["error"]["code"]) == ("failed", "build_failed")
    states = [await job_state(scenario, job_id) for job_id in requested["jobIds"]]
    assert states == ["failed", "cancelled", "cancelled"]


async def test_another_image_in_the_rollback_registry_is_no_success(
    scenario: BuildScenario,
) -> None:
    requested = await scenario.build()

    await scenario.succeed("image.build")
    await scenario.succeed("image.push", digest=DIGEST)
    await scenario.succeed("image.copy", digest=OTHER)

    shown = await scenario.one(requested["buildId"])
    assert (shown["state"], shown["error"]["code"]) == ("failed", "digest_mismatch")


async def test_a_newer_build_supersedes_one_that_waits_and_not_one_that_runs(
    scenario: BuildScenario,
) -> None:
    running = await scenario.build()
    await scenario.server.next_job()
    waiting = await scenario.build()

    newest = await scenario.build(commit=COMMIT)

    states = [(await scenario.one(each["buildId"]))["state"] for each in (running, waiting, newest)]
    assert states == ["running", "superseded", "queued"]
    assert [each["version"] for each in (running, waiting, newest)] == [1, 2, 3]
    assert newest["reference"] == f"ghcr.io/myorg/my-app:{COMMIT[:12]}"


async def test_every_build_is_done_where_the_latest_does_not_win(scenario: BuildScenario) -> None:
    changed = {"applicationId": scenario.application_id, "latestWins": False}
    await scenario.client.post("/api/application.update", json=changed)

    requested = [await scenario.build(tag=f"1.{number}") for number in range(3)]

    assert {(await scenario.one(each["buildId"]))["state"] for each in requested} == {"queued"}


async def test_one_build_of_an_application_runs_at_a_time(scenario: BuildScenario) -> None:
    await scenario.client.post(
        "/api/application.update",
        json={"applicationId": scenario.application_id, "latestWins": False},
    )
    first, second = await scenario.build(), await scenario.build()

    begun = await scenario.server.next_job()
    assert begun.job_id == first["jobId"]
    assert await released(scenario) == set()
    await scenario.server.finish(begun, "succeeded", result={"reference": "x"})

    assert await released(scenario) == {second["jobId"], first["jobIds"][1]}


async def test_the_same_key_twice_is_one_build(scenario: BuildScenario) -> None:
    body, key = {"applicationId": scenario.application_id}, {"Idempotency-Key": "build-1742"}

    answers = await asyncio.gather(
        *(scenario.client.post("/api/application.build", json=body, headers=key) for _ in range(5))
    )

    assert len({answer.json()["buildId"] for answer in answers}) == 1
    builds = await scenario.client.get(
        "/api/build.all", params={"applicationId": scenario.application_id}
    )
    assert [build["version"] for build in builds.json()] == [1]
    assert (await show_application(scenario.client, scenario.application_id))["lastVersion"] == 1


async def test_a_cancelled_build_ends_with_all_its_steps(scenario: BuildScenario) -> None:
    requested = await scenario.build()

    answer = await scenario.client.post("/api/build.cancel", json={"buildId": requested["buildId"]})

    assert answer.status_code == 200
    shown = await scenario.one(requested["buildId"])
    assert shown["state"] == "cancelled"
    again = await scenario.client.post("/api/build.cancel", json={"buildId": requested["buildId"]})
    assert again.status_code == 409


async def test_a_ready_image_is_copied_unchanged_under_the_application_s_name(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    build = await create_registry(client)
    application = await create_application(
        client, appName="ready", buildRegistryId=build["registryId"]
    )
    scenario = BuildScenario(client, server, application["applicationId"])
    chosen = {"applicationId": scenario.application_id, "dockerImage": "nginx:1.27"}
    saved = await client.post("/api/application.saveDockerProvider", json=chosen)
    assert saved.status_code == 200, saved.text

    requested = await scenario.build(tag="1.0")

    pulled = await scenario.succeed("image.pull", digest=OTHER)
    pushed = await scenario.succeed("image.copy", digest=DIGEST)
    assert pulled.command["reference"] == "docker.io/library/nginx:1.0"
    assert pushed.command["source"] == pulled.command["reference"]
    assert pushed.command["reference"] == "ghcr.io/myorg/ready:1.0"
    shown = await scenario.one(requested["buildId"])
    assert (shown["state"], shown["digest"], shown["retained"]) == ("succeeded", DIGEST, None)


async def test_an_application_without_a_source_is_not_built(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    application = await create_application(client)

    answer = await client.post(
        "/api/application.build", json={"applicationId": application["applicationId"]}
    )

    assert answer.status_code == 400
    assert "nothing to be built from" in answer.json()["message"]
    assert database.execute("SELECT build_id FROM build") == []
    assert database.execute("SELECT job_id FROM job") == []


@pytest.fixture
async def shed(client: httpx2.AsyncClient, server: TestServer) -> BuildScenario:
    """An application that is built from uploads."""
    application = await create_application(client, appName="shed", sourceType="drop")
    return BuildScenario(client, server, application["applicationId"])


async def test_the_newest_upload_is_built_unless_another_is_named(shed: BuildScenario) -> None:
    old = await upload_context(shed.client, shed.application_id, b"old")
    new = await upload_context(shed.client, shed.application_id, b"new")

    await shed.build()
    newest = await shed.succeed("image.build")
    named = await shed.build(contextId=old["contextId"], tag="1.0")
    older = await shed.succeed("image.build")

    assert newest.command["source"] == {
        "kind": "upload",
        "context_id": new["contextId"],
        "size_bytes": 3,
        "sha256": hashlib.sha256(b"new").hexdigest(),
    }
    assert older.command["source"]["context_id"] == old["contextId"]
    assert (newest.command["reference"], named["reference"]) == (
        "docker.io/library/shed:v1",
        "docker.io/library/shed:1.0",
    )


async def test_an_upload_goes_before_git_and_takes_neither_its_token_nor_its_tag(
    scenario: BuildScenario,
) -> None:
    changed = {"applicationId": scenario.application_id, **GIT, "customGitCommit": COMMIT}
    await scenario.client.post("/api/application.saveGitProvider", json=changed)
    stored = await upload_context(scenario.client, scenario.application_id)

    requested = await scenario.build(contextId=stored["contextId"])
    job = await scenario.server.next_job()

    assert job.command["source"]["context_id"] == stored["contextId"]
    assert job.sealed == {}
    assert requested["reference"] == "ghcr.io/myorg/my-app:v1"


async def test_a_build_that_cannot_use_an_upload_says_why(
    shed: BuildScenario, scenario: BuildScenario, database: Database
) -> None:
    chosen = {"applicationId": shed.application_id}
    before = await shed.client.post("/api/application.build", json=chosen)
    stored = await upload_context(shed.client, shed.application_id)
    foreign = await shed.client.post(
        "/api/application.build",
        json={"applicationId": scenario.application_id, "contextId": stored["contextId"]},
    )
    both = await shed.client.post("/api/application.build", json={**chosen, "branch": "main"})

    cause = before.json()["data"]["cause"]
    assert (before.status_code, cause["code"]) == (400, "no_context")
    assert "application.uploadContext" in cause["remedy"]
    assert (foreign.status_code, both.status_code) == (404, 400)
    assert database.execute("SELECT 1 FROM build") == []


async def test_another_organization_s_builds_are_not_there(
    scenario: BuildScenario, stranger: httpx2.AsyncClient
) -> None:
    requested = await scenario.build()
    application = {"applicationId": scenario.application_id}

    answers = [
        await stranger.post("/api/application.build", json=application),
        await stranger.get("/api/build.all", params=application),
        await stranger.get("/api/build.one", params={"buildId": requested["buildId"]}),
        await stranger.post("/api/build.cancel", json={"buildId": requested["buildId"]}),
    ]

    assert [answer.status_code for answer in answers] == [404] * 4
    assert (await scenario.one(requested["buildId"]))["state"] == "queued"


async def job_state(scenario: BuildScenario, job_id: str) -> str:
    answer = await scenario.client.get("/api/job.one", params={"jobId": job_id})
    state: str = answer.json()["state"]
    return state


async def released(scenario: BuildScenario) -> set[str]:
    async with scenario.server.control.connection() as connection, connection.transaction():
        return {job.job_id for job in await release(connection) or []}


async def test_a_build_may_pull_bases_below_the_prefixes_of_where_it_is_pushed(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    named = await create_registry(client, registryName="named", imagePrefix="bases")
    build = await create_registry(client, registryName="build", imagePrefix="team")
    settings = {"registryId": named["registryId"], "buildRegistryId": build["registryId"]}
    application = await create_application(client, **settings)
    source = {
        "applicationId": application["applicationId"],
        "customGitUrl": "https://git.example/a",
    }
    await client.post("/api/application.saveGitProvider", json=source)

    answer = await client.post(
        "/api/application.build", json={"applicationId": application["applicationId"]}
    )

    assert answer.status_code < 300, answer.text
    rows: list[tuple[Any, ...]] = database.execute(
        "SELECT command FROM job WHERE kind = 'image.build'"
    )
    [(command,)] = rows
    assert command["registry_id"] == named["registryId"]
    assert command["bases"] == [
        {"registry_id": build["registryId"], "host": "ghcr.io", "prefix": "team"}
    ]
