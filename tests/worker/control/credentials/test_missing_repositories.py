"""A repository of ECR that a push does not find is created by control, if its registry says so."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from shared.credentials.ecr import EcrSource
from shared.database import Pool, open_pool
from shared.faults import FaultCode
from shared.jobs.commands import Command, ImageCopy, ImagePull, ImagePush
from tests.fakes import ecr
from tests.fakes.certificates import Authority
from tests.fakes.named import NamedHosts, open_named
from tests.waiting import wait_until
from tests.world import EnrolledServer, World
from worker.control.credentials.missing_repositories import MissingRepositories
from worker.control.providers.mint import Mint
from worker.oci.providers.remedies import find_remedy

KEYS = {"kind": "ecr", "accessKeyId": ecr.KEY_ID, "secretAccessKey": ecr.SECRET}
CREATES = EcrSource.model_validate({**KEYS, "createRepository": True})
CREATES_NOT = EcrSource.model_validate(KEYS)
REFERENCE = f"{ecr.HOST}/team/new:1"
MISSING = {
    "code": "repo_missing",
    "message": f"cannot push {REFERENCE}: the repository does not exist",
    "remedy": "Create it.",
    "retryable": False,
}


@dataclass
class Scenario:
    world: World
    server: EnrolledServer
    pool: Pool
    aws: ecr.Aws
    named: NamedHosts
    replicas: list[MissingRepositories] = field(default_factory=list)

    async def run(self, source: EcrSource, make: Callable[[str], Command]) -> str:
        """Submit and claim a job at a registry with this source."""
        registry_id = await self.world.add_source(source, host=ecr.HOST)
        await self.world.owner.execute(
            "UPDATE registry SET password = 'v1.x', password_expires_at = now() + interval '1 day'"
        )
        job_id = await self.world.submit(self.server, make(registry_id), registry_id=registry_id)
        await self.claim(1)
        return job_id

    async def claim(self, attempt: int) -> None:
        [job] = await self.world.release()
        values = {"job_id": job.job_id, "attempt": attempt}
        assert (await self.server.call("claim", "first", **values))["status"] == "claimed"

    async def fail(self, job_id: str, attempt: int = 1, **changes: Any) -> str:
        """Report that the repository is missing; return the job's state."""
        answer = await self.server.call(
            "finish",
            "first",
            job_id=job_id,
            attempt=attempt,
            outcome="failed",
            error={**MISSING, **changes},
        )
        return str(answer["state"])

    async def create(self) -> None:
        """Run control's service once."""
        replica = MissingRepositories(self.pool, self.world.keys, Mint(self.named.client))
        self.replicas.append(replica)
        await replica.begin(self.pool)
        await wait_until(lambda: not replica.tasks.running, seconds=20)

    async def is_due(self, job_id: str) -> bool:
        [row] = await self.world.rows(
            "SELECT run_at <= now() AS is_due FROM job WHERE job_id = %s", job_id
        )
        return bool(row["is_due"])


@pytest.fixture
async def scenario(world: World, tmp_path: Path) -> AsyncIterator[Scenario]:
    aws = ecr.Aws(repositories={"team/there"})
    server = await world.add_server()
    async with (
        open_named(Authority(tmp_path), {ecr.API: aws.api, ecr.STS: aws.sts}) as named,
        open_pool(world.database.url("wharf_control")) as pool,
    ):
        yield Scenario(world, server, pool, aws, named)


def push(registry_id: str) -> ImagePush:
    return ImagePush(source="app:1", reference=REFERENCE, registry_id=registry_id)


def copy(registry_id: str) -> ImageCopy:
    return ImageCopy(source="registry.example/app:1", reference=REFERENCE, registry_id=registry_id)


@pytest.mark.parametrize("make", [push, copy])
async def test_a_push_that_found_no_repository_goes_on_when_control_has_created_it(
    scenario: Scenario, make: Callable[[str], Command]
) -> None:
    job_id = await scenario.run(CREATES, make)

    assert await scenario.fail(job_id) == "queued"
    waiting = await scenario.world.job(job_id)
    assert not await scenario.is_due(job_id)
    await scenario.create()

    assert scenario.aws.repositories == {"team/there", "team/new"}
    assert (waiting["failures"], waiting["error"]["code"]) == (0, "repo_missing")
    assert "wharf control creates" in waiting["error"]["remedy"]
    await scenario.claim(2)
    assert await scenario.world.state(job_id) == "running"


async def test_a_push_to_a_registry_that_does_not_ask_for_it_fails(scenario: Scenario) -> None:
    job_id = await scenario.run(CREATES_NOT, push)

    assert await scenario.fail(job_id) == "failed"
    await scenario.create()

    assert (await scenario.world.job(job_id))["error"] == MISSING
    assert scenario.aws.creations == []


async def test_a_pull_creates_no_repository(scenario: Scenario) -> None:
    job_id = await scenario.run(
        CREATES, lambda registry_id: ImagePull(reference=REFERENCE, registry_id=registry_id)
    )

    assert await scenario.fail(job_id) == "failed"


async def test_another_failure_of_a_push_creates_no_repository(scenario: Scenario) -> None:
    job_id = await scenario.run(CREATES, push)

    assert await scenario.fail(job_id, code="push_denied") == "failed"


async def test_a_repository_that_exists_already_is_a_success(scenario: Scenario) -> None:
    job_id = await scenario.run(CREATES, push)
    await scenario.fail(job_id)
    assert scenario.aws.repositories is not None
    scenario.aws.repositories.add("team/new")

    await asyncio.gather(scenario.create(), scenario.create())

    assert await scenario.is_due(job_id)
    assert await scenario.world.rows("SELECT FROM set_aside") == []


async def test_keys_that_may_not_create_it_fail_the_push_with_the_permission_to_grant(
    scenario: Scenario,
) -> None:
    scenario.aws.keys[ecr.KEY_ID].may_create = False
    job_id = await scenario.run(CREATES, push)
    await scenario.fail(job_id)

    await scenario.create()

    job = await scenario.world.job(job_id)
    assert (job["state"], job["error"]["code"]) == ("failed", "credential_denied")
    assert "ecr:CreateRepository" in job["error"]["message"]
    assert ecr.SECRET not in str(job["error"])


async def test_a_push_waits_while_aws_is_down_and_goes_on_afterwards(scenario: Scenario) -> None:
    job_id = await scenario.run(CREATES, push)
    await scenario.fail(job_id)
    scenario.aws.failure = lambda: web.Response(status=503)
    await scenario.create()
    assert await scenario.world.state(job_id) == "queued"
    assert not await scenario.is_due(job_id)
    [row] = await scenario.world.rows("SELECT code FROM set_aside")
    assert row["code"] == "registry_error"

    scenario.aws.failure = None
    await scenario.world.owner.execute("UPDATE set_aside SET next_at = now()")
    await scenario.create()

    assert await scenario.is_due(job_id)


async def test_a_job_that_control_did_not_serve_in_time_comes_back_three_times(
    scenario: Scenario,
) -> None:
    """Control was down: its release is faster than its service for repositories."""
    job_id = await scenario.run(CREATES, push)
    for attempt in (1, 2, 3):
        assert await scenario.fail(job_id, attempt) == "queued"
        await scenario.world.owner.execute("UPDATE job SET run_at = now()")
        await scenario.claim(attempt + 1)

    assert await scenario.fail(job_id, 4) == "failed"


async def test_a_cancelled_push_creates_nothing(scenario: Scenario) -> None:
    job_id = await scenario.run(CREATES, push)
    await scenario.fail(job_id)
    await scenario.world.api.execute(
        "SELECT job_cancel(%s, %s, '{}')", (job_id, scenario.world.organization_id)
    )

    await scenario.create()

    assert await scenario.world.state(job_id) == "cancelled"
    assert scenario.aws.creations == []


def test_the_remedy_of_a_missing_repository_names_the_field() -> None:
    assert "createRepository: true" in find_remedy(ecr.HOST, FaultCode.REPO_MISSING)
