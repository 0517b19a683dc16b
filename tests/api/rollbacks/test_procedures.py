"""Rollback points: there after a proof, true when they are offered, gone with their bytes."""

import asyncio
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from shared.jobs.store.release import Released
from tests.api.asking import create_registry
from tests.api.deploying import (
    DIGEST,
    KEEP,
    OTHER,
    build,
    create_deployable,
    deploy,
    make_point,
    points,
    reconcile,
    replace_next,
    verify_next,
)
from tests.api.fleet import TestServer
from tests.databases import Database
from tests.waiting import wait_until

KEPT = f"{KEEP}/myorg/my-app@{DIGEST}"
MISSING = {"code": "image_not_found", "message": "there is no such image", "retryable": False}
STALE = "UPDATE rollback SET checked_at = now() - interval '5 minutes'"
A_DAY_LATER = "UPDATE rollback SET checked_at = checked_at - interval '25 hours'"


@dataclass
class RollbackScenario:
    """An application that is retained, and the server that runs it."""

    client: httpx2.AsyncClient
    server: TestServer
    database: Database
    application: dict[str, Any]
    outcome: str = "deleted"

    @property
    def application_id(self) -> str:
        return str(self.application["applicationId"])

    async def point(self) -> dict[str, Any]:
        return await make_point(self.client, self.server, self.application)

    async def points(self) -> list[dict[str, Any]]:
        return await points(self.client, self.application_id)

    async def run(self, digest: str) -> list[str]:
        """Build another version and run it; gives the images that were deleted on that."""
        await build(self.client, self.server, self.application_id, digest)
        await deploy(self.client, self.application_id)
        await self.server.succeed_next({"reference": "x", "digest": digest})
        await replace_next(self.server)
        jobs = await self.released()
        for job in jobs:
            await self.server.claim(job)
            image = job.command["reference"]
            reported = {"reference": image, "digest": image.partition("@")[2]}
            reported |= {"wasThere": True, "outcome": self.outcome}
            await self.server.finish(job, "succeeded", result=reported)
        await reconcile(self.server)
        return [job.command["reference"] for job in jobs if job.kind == "image.delete"]

    async def roll_back(self, point: dict[str, Any]) -> dict[str, Any]:
        chosen = {"rollbackId": point["rollbackId"]}
        answer = await self.client.post("/api/rollback.rollback", json=chosen)
        assert answer.status_code == 200, answer.text
        requested: dict[str, Any] = answer.json()
        return requested

    async def update(self, **changes: Any) -> None:
        body = {"applicationId": self.application_id, **changes}
        assert (await self.client.post("/api/application.update", json=body)).is_success

    async def drop(self, point: dict[str, Any]) -> httpx2.Response:
        chosen = {"rollbackId": point["rollbackId"]}
        return await self.client.post("/api/rollback.delete", json=chosen)

    async def released(self) -> list[Released]:
        await reconcile(self.server)
        return await self.server.release()


@pytest.fixture
async def scenario(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> RollbackScenario:
    application = await create_deployable(client, [server], appName="my-app", rollbackActive=True)
    return RollbackScenario(client, server, database, application)


async def test_a_point_is_written_once_its_image_is_proved_where_it_is_retained(
    scenario: RollbackScenario,
) -> None:
    requested = await deploy(scenario.client, scenario.application_id)
    await scenario.server.succeed_next({"reference": "x", "digest": DIGEST})
    await replace_next(scenario.server)
    await reconcile(scenario.server)
    before = await scenario.points()

    proof = await verify_next(scenario.server)

    assert before == []
    assert proof.command["reference"] == KEPT
    assert set(proof.registries) == {scenario.application["rollbackRegistryId"]}
    [point] = await scenario.points()
    assert (point["reference"], point["digest"]) == (KEPT, DIGEST)
    assert (point["deploymentId"], point["version"]) == (requested["deploymentId"], 1)
    assert (point["offered"], point["isRunning"], point["error"]) == (True, True, None)


async def test_there_is_no_point_of_what_is_not_there(scenario: RollbackScenario) -> None:
    await deploy(scenario.client, scenario.application_id)
    await scenario.server.succeed_next({"reference": "x", "digest": DIGEST})
    await replace_next(scenario.server)
    await reconcile(scenario.server)

    await scenario.server.fail_next(MISSING)

    assert await scenario.released() == []
    assert await scenario.points() == []
    scenario.database.execute("UPDATE job SET finished_at = finished_at - interval '11 minutes'")
    [again] = await scenario.released()
    assert again.kind == "image.verify"


@pytest.mark.parametrize("how", ["failed", "cancelled"])
async def test_there_is_no_point_of_what_did_not_run(scenario: RollbackScenario, how: str) -> None:
    requested = await deploy(scenario.client, scenario.application_id)
    await scenario.server.succeed_next({"reference": "x", "digest": DIGEST})
    if how == "failed":
        await scenario.server.fail_next({**MISSING, "code": "container_unhealthy"})
    else:
        chosen = {"deploymentId": requested["deploymentId"]}
        await scenario.client.post("/api/deployment.cancel", json=chosen)

    assert await scenario.released() == []
    assert await scenario.points() == []


async def test_there_is_no_point_where_nothing_is_retained(scenario: RollbackScenario) -> None:
    await scenario.update(rollbackActive=False)

    await deploy(scenario.client, scenario.application_id)
    await scenario.server.succeed_next({"reference": "x", "digest": DIGEST})
    await replace_next(scenario.server)

    assert await scenario.released() == []


async def test_a_point_does_not_run_because_another_application_runs_its_image(
    scenario: RollbackScenario,
) -> None:
    first = await scenario.point()
    await scenario.run(OTHER)
    other = await create_deployable(scenario.client, [scenario.server], appName="other-app")

    await deploy(scenario.client, other["applicationId"])
    await scenario.server.succeed_next({"reference": "x", "digest": DIGEST})
    await replace_next(scenario.server)
    await reconcile(scenario.server)

    shown = {point["rollbackId"]: point["isRunning"] for point in await scenario.points()}
    assert shown[first["rollbackId"]] is False


async def test_a_rollback_is_a_deployment_from_where_the_image_is_retained(
    scenario: RollbackScenario,
) -> None:
    await scenario.update(ports=[{"publishedPort": 80, "targetPort": 8080}])
    first = await scenario.point()
    await scenario.update(ports=[])
    await scenario.run(OTHER)

    requested = await scenario.roll_back(first)

    assert (requested["rollbackId"], requested["reference"]) == (first["rollbackId"], KEPT)
    assert requested["title"] == "Roll back to version 1"
    pulled = await scenario.server.succeed_next({"reference": "x", "digest": DIGEST})
    ran = await replace_next(scenario.server)
    assert pulled.command["reference"] == ran.command["reference"] == KEPT
    assert set(pulled.registries) == {scenario.application["rollbackRegistryId"]}
    assert [port["published_port"] for port in ran.command["ports"]] == [80]
    await reconcile(scenario.server)
    await verify_next(scenario.server)
    newest, older = await scenario.points()
    assert newest["rollbackId"] == first["rollbackId"]
    assert (newest["deploymentId"], newest["isRunning"]) == (requested["deploymentId"], True)
    assert (older["digest"], older["isRunning"]) == (OTHER, False)


async def test_of_two_rollbacks_from_one_state_the_second_is_refused(
    scenario: RollbackScenario,
) -> None:
    point = await scenario.point()
    known = point["deploymentId"]
    asked = {"rollbackId": point["rollbackId"], "newestDeploymentId": known}

    answers = await asyncio.gather(
        *(scenario.client.post("/api/rollback.rollback", json=asked) for _ in range(2))
    )

    assert sorted(answer.status_code for answer in answers) == [200, 409]
    refused = next(answer for answer in answers if answer.status_code == 409)
    assert "deployment_changed" in refused.text


async def test_a_rollback_is_asked_for_with_the_credential_of_now(
    scenario: RollbackScenario, database: Database
) -> None:
    point = await scenario.point()
    chosen = {"registryId": scenario.application["rollbackRegistryId"], "password": "rotated"}
    assert (await scenario.client.post("/api/registry.update", json=chosen)).is_success
    [(stored,)] = database.execute(
        "SELECT password FROM registry WHERE registry_id = %s", chosen["registryId"]
    )

    await scenario.roll_back(point)
    [pulled] = await scenario.released()

    assert pulled.registries[chosen["registryId"]]["password"] == stored


async def test_the_same_image_run_in_the_same_way_is_one_point_and_otherwise_another(
    scenario: RollbackScenario,
) -> None:
    await scenario.point()
    await scenario.point()
    alike = await scenario.points()
    await scenario.update(healthCheck={"command": ["/up"]})
    await scenario.point()

    assert len(alike) == 1
    assert len(await scenario.points()) == 2


async def test_a_list_of_points_shows_how_they_were_verified_last(
    scenario: RollbackScenario,
) -> None:
    await scenario.point()
    scenario.database.execute(STALE)

    [point] = await scenario.points()

    assert (point["offered"], point["error"]) == (True, None)
    assert await scenario.released() == []


async def test_a_point_that_was_verified_a_moment_ago_is_not_verified_again(
    scenario: RollbackScenario,
) -> None:
    await scenario.point()
    chosen = {"applicationId": scenario.application_id}

    answer = await scenario.client.post("/api/rollback.verify", json=chosen)

    assert [point["offered"] for point in answer.json()] == [True]
    assert await scenario.released() == []


async def test_a_point_whose_image_has_gone_is_not_offered_once_it_is_verified(
    scenario: RollbackScenario,
) -> None:
    await scenario.point()
    scenario.database.execute(STALE)
    chosen = {"applicationId": scenario.application_id}
    asking = scenario.client.post("/api/rollback.verify", json=chosen)

    async def refute() -> None:
        await scenario.server.fail_next(MISSING)

    answer, _ = await asyncio.gather(asking, refute())

    [point] = answer.json()
    assert (point["offered"], point["error"]["code"]) == (False, "image_not_found")
    await reconcile(scenario.server)
    [again] = await scenario.points()
    assert (again["offered"], again["error"]["code"]) == (False, "image_not_found")


async def test_a_verification_that_did_not_take_place_changes_nothing(
    scenario: RollbackScenario,
) -> None:
    await scenario.point()
    scenario.database.execute(STALE)
    chosen = {"applicationId": scenario.application_id}
    asking = scenario.client.post("/api/rollback.verify", json=chosen)

    async def cancel() -> None:
        waiting = {"kind": "image.verify", "state": "queued"}

        async def is_there() -> bool:
            return bool(await jobs_of(scenario, waiting))

        await wait_until(is_there)
        [job] = await jobs_of(scenario, waiting)
        await scenario.client.post("/api/job.cancel", json={"jobId": job["jobId"]})

    answer, _ = await asyncio.gather(asking, cancel())

    await reconcile(scenario.server)
    for [point] in (answer.json(), await scenario.points()):
        assert (point["offered"], point["error"]) == (True, None)


async def jobs_of(scenario: RollbackScenario, chosen: dict[str, str]) -> list[dict[str, Any]]:
    page = await scenario.client.get("/api/job.all", params=chosen)
    jobs: list[dict[str, Any]] = page.json()["jobs"]
    return jobs


async def test_a_point_is_proved_once_a_day(scenario: RollbackScenario) -> None:
    await scenario.point()
    assert await scenario.released() == []
    scenario.database.execute(A_DAY_LATER)

    [proof] = await scenario.released()

    assert (proof.kind, proof.command["reference"]) == ("image.verify", KEPT)
    await scenario.server.claim(proof)
    reported = {"reference": KEPT, "digest": DIGEST, "blobs": 1, "sizeBytes": 1}
    await scenario.server.finish(proof, "succeeded", result=reported)
    await reconcile(scenario.server)
    assert [point["offered"] for point in await scenario.points()] == [True]
    assert await scenario.released() == []


async def test_a_point_whose_registry_was_removed_is_not_offered(
    scenario: RollbackScenario,
) -> None:
    point = await scenario.point()
    other = await create_registry(scenario.client, registryUrl="other.example", imagePrefix="myorg")
    await scenario.update(rollbackRegistryId=other["registryId"])
    chosen = {"registryId": scenario.application["rollbackRegistryId"], "force": True}
    removed = await scenario.client.post("/api/registry.remove", json=chosen)
    assert removed.status_code == 200, removed.text

    [shown] = await scenario.points()
    answer = await scenario.client.post(
        "/api/rollback.rollback", json={"rollbackId": point["rollbackId"]}
    )

    assert shown["offered"] is False
    assert answer.json()["data"]["cause"]["code"] == "registry_removed"


async def test_points_above_the_limit_go_and_their_bytes_with_them(
    scenario: RollbackScenario,
) -> None:
    await scenario.update(rollbacksToKeep=0)
    await scenario.point()
    kept = await scenario.points()

    deleted = await scenario.run(OTHER)

    assert [point["digest"] for point in kept] == [DIGEST]
    assert deleted == [KEPT]
    assert [point["digest"] for point in await scenario.points()] == [OTHER]
    assert scenario.database.execute("SELECT digest FROM rollback") == [(OTHER,)]


async def test_a_point_that_is_given_up_is_deleted_once_nothing_runs_it(
    scenario: RollbackScenario,
) -> None:
    point = await scenario.point()

    answer = await scenario.drop(point)

    assert (answer.status_code, answer.json()["offered"]) == (200, False)
    assert await scenario.points() == []
    assert await scenario.released() == []
    refused = await scenario.client.post(
        "/api/rollback.rollback", json={"rollbackId": point["rollbackId"]}
    )
    assert refused.status_code == 404
    assert await scenario.run(OTHER) == [KEPT]
    assert scenario.database.execute("SELECT digest FROM rollback") == [(OTHER,)]


async def test_bytes_that_another_point_is_of_stay(scenario: RollbackScenario) -> None:
    point = await scenario.point()
    await scenario.update(healthCheck={"command": ["/up"]})
    await scenario.point()
    await scenario.run(OTHER)

    await scenario.drop(point)

    assert await scenario.released() == []
    assert len(await scenario.points()) == 2


async def test_nothing_is_deleted_while_something_may_yet_run_it(
    scenario: RollbackScenario,
) -> None:
    point = await scenario.point()
    await scenario.run(OTHER)
    await scenario.roll_back(point)
    await scenario.drop(point)

    kinds = [job.kind for job in await scenario.released()]

    assert kinds == ["image.pull"]


@pytest.mark.parametrize(
    ("code", "is_gone"), [("delete_unsupported", True), ("registry_unreachable", False)]
)
async def test_a_registry_that_deletes_nothing_does_not_keep_the_point(
    *, scenario: RollbackScenario, code: str, is_gone: bool
) -> None:
    point = await scenario.point()
    await scenario.run(OTHER)
    await scenario.drop(point)
    [job] = await scenario.released()
    await scenario.server.claim(job)
    await scenario.server.finish(job, "failed", error={**MISSING, "code": code})

    await reconcile(scenario.server)

    left = scenario.database.execute("SELECT 1 FROM rollback WHERE dropped_at IS NOT NULL")
    assert len(left) == (0 if is_gone else 1)
    assert await scenario.released() == []


@pytest.mark.parametrize(("outcome", "is_deleted"), [("deleted", True), ("kept", False)])
async def test_a_build_is_not_deployed_while_its_image_is_deleted_nor_after_that(
    *, scenario: RollbackScenario, outcome: str, is_deleted: bool
) -> None:
    await scenario.update(buildRegistryId=scenario.application["rollbackRegistryId"])
    built = await build(scenario.client, scenario.server, scenario.application_id)
    point = await scenario.point()
    await scenario.run(OTHER)
    await scenario.drop(point)
    [job] = await scenario.released()
    chosen = {"applicationId": scenario.application_id, "buildId": built["buildId"]}

    meanwhile = await scenario.client.post("/api/application.deploy", json=chosen)
    await scenario.server.claim(job)
    reported = {"reference": KEPT, "digest": DIGEST, "wasThere": is_deleted, "outcome": outcome}
    await scenario.server.finish(job, "succeeded", result=reported)
    ended = await scenario.client.post("/api/application.deploy", json=chosen)
    await reconcile(scenario.server)
    afterwards = await scenario.client.post("/api/application.deploy", json=chosen)

    assert meanwhile.json()["data"]["cause"]["code"] == "image_deleted"
    for answer in (ended, afterwards):
        code = None if answer.is_success else answer.json()["data"]["cause"]["code"]
        assert code == ("image_deleted" if is_deleted else None)
    shown = (
        await scenario.client.get("/api/build.one", params={"buildId": built["buildId"]})
    ).json()
    assert shown["state"] == "succeeded"
    assert (shown["imageDeletedAt"] is not None) is is_deleted
