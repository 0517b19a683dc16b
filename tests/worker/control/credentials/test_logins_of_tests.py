"""A test of a registry that is not stored: control exchanges its source, no server gets it."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from shared.credentials.ecr import EcrSource
from shared.credentials.kinds import AnySource, source_context
from shared.database import Pool, open_pool
from shared.ids import make_id
from shared.jobs.accesses import hosts_of
from shared.jobs.commands import RegistryTest
from shared.vault import KeyRing
from tests.fakes.certificates import Authority
from tests.fakes.named import NamedHosts, open_named
from tests.journeys.canary import leaks, spellings
from tests.waiting import wait_until
from tests.worker.control.credentials.sealing import seal_grants
from tests.worker.control.credentials.test_short_logins import dump
from tests.worker.control.providers.cases import CASES, Case
from tests.world import EnrolledServer, World
from worker.control.credentials.logins_of_tests import LoginsOfTests
from worker.control.providers.mint import Mint
from worker.login import Grants, login_context


@dataclass
class Scenario:
    world: World
    server: EnrolledServer
    pool: Pool
    case: Case
    named: NamedHosts
    replicas: list[LoginsOfTests] = field(default_factory=list)

    async def submit(self, source: AnySource | None = None) -> str:
        """Submit a test as the API does."""
        source, job_id = source or self.case.source, make_id()
        command = RegistryTest(
            host=self.case.host,
            username=source.USERNAME,
            repository="connection-test",
            credential=source.kind,
        )
        bound = source_context(self.world.organization_id, job_id, self.case.host)
        sealed = self.world.vault.public.seal(source.to_sealable_json(), bound)
        return await self.world.submit(
            self.server, command, job_id=job_id, sealed={bound.purpose: sealed}
        )

    def replica(self) -> LoginsOfTests:
        made = LoginsOfTests(self.pool, self.world.keys, Mint(self.named.client))
        self.replicas.append(made)
        return made

    async def is_handled(self, job_id: str) -> bool:
        job = await self.world.job(job_id)
        return job["state"] != "queued" or job["command"]["credential"] is None

    async def get_login(self, job_id: str) -> None:
        """Run control's service until the test has a login, or has failed."""
        await self.replica().begin(self.pool)
        await wait_until(lambda: self.is_handled(job_id), seconds=20)

    async def seen_by_server(self, job_id: str) -> tuple[str, str]:
        """Release and claim the test; return what the server gets, and the login it opens."""
        [job] = await self.world.release()
        sealed = seal_grants(self.world.keys, job)
        await self.world.control.execute(
            "INSERT INTO job_secret (job_id, purpose, attempt, sealed) VALUES (%s, 'login', 1, %s)",
            (job_id, sealed),
        )
        claim = await self.server.call("claim", "first", job_id=job_id, attempt=1)
        [secret] = claim["secrets"]
        context = login_context(
            organization_id=self.world.organization_id,
            job_id=job_id,
            attempt=1,
            server_id=self.server.server_id,
            hosts=hosts_of(RegistryTest.model_validate(claim["command"])),
        )
        opened = KeyRing([self.server.key]).open(secret["sealed"], context)
        [grant] = Grants.model_validate_json(opened).grants
        return json.dumps(claim) + opened, grant.login.secret.get_secret_value()


@pytest.fixture(params=sorted(CASES))
async def scenario(
    request: pytest.FixtureRequest, world: World, tmp_path: Path
) -> AsyncIterator[Scenario]:
    case = CASES[request.param]()
    server = await world.add_server()
    async with (
        open_named(Authority(tmp_path), case.hosts) as named,
        open_pool(world.database.url("wharf_control")) as pool,
    ):
        made = Scenario(world, server, pool, case, named)
        yield made
        for replica in made.replicas:
            await replica.tasks.close()


async def test_a_server_tests_with_a_login_that_the_provider_issued(scenario: Scenario) -> None:
    job_id = await scenario.submit()
    assert await scenario.world.release() == []

    await scenario.get_login(job_id)

    seen, login = await scenario.seen_by_server(job_id)
    assert scenario.case.accepts(login)
    assert not [secret for secret in scenario.case.secrets if secret in seen]


async def test_a_source_that_the_provider_refuses_fails_the_test_with_the_reason(
    scenario: Scenario,
) -> None:
    job_id = await scenario.submit(scenario.case.refused)

    await scenario.get_login(job_id)

    job = await scenario.world.job(job_id)
    assert (job["state"], job["error"]["code"]) == ("failed", "credential_refused")
    assert not [secret for secret in scenario.case.secrets if secret in json.dumps(job["error"])]
    assert await scenario.world.rows("SELECT FROM job_secret") == []


async def test_a_provider_that_is_down_fails_the_test_and_nothing_waits_for_it(
    scenario: Scenario,
) -> None:
    scenario.case.fail(lambda: web.Response(status=503))
    job_id = await scenario.submit()

    await scenario.get_login(job_id)

    job = await scenario.world.job(job_id)
    assert job["state"] == "failed"
    assert job["error"]["retryable"] is True


async def test_its_secrets_are_found_in_no_row_no_log_and_nothing_that_the_server_gets(
    scenario: Scenario, capsys: pytest.CaptureFixture[str]
) -> None:
    job_id, refused_id = await scenario.submit(), await scenario.submit(scenario.case.refused)
    await scenario.get_login(job_id)
    await scenario.get_login(refused_id)

    seen, _ = await scenario.seen_by_server(job_id)

    logged = "".join(capsys.readouterr())
    assert "login_of_test_given" in logged and "credential_refused" in logged
    places = {
        "the server": seen.encode(),
        "the log": logged.encode(),
        **await dump(scenario.world),
    }
    for secret in scenario.case.secrets:
        assert leaks(places.items(), spellings(secret, scenario.case.source.USERNAME)) == []


@pytest.fixture
async def of_ecr(world: World, tmp_path: Path) -> AsyncIterator[Scenario]:
    case = CASES["ecr"]()
    server = await world.add_server()
    async with (
        open_named(Authority(tmp_path), case.hosts) as named,
        open_pool(world.database.url("wharf_control")) as pool,
    ):
        yield Scenario(world, server, pool, case, named)


async def test_replicas_that_ask_at_once_give_one_login(of_ecr: Scenario) -> None:
    job_id = await of_ecr.submit()
    first, second = of_ecr.replica(), of_ecr.replica()

    await asyncio.gather(*(one.begin(of_ecr.pool) for one in (first, second, first)))
    await wait_until(lambda: not first.tasks.running and not second.tasks.running, seconds=20)

    rows = await of_ecr.world.rows("SELECT purpose FROM job_secret WHERE job_id = %s", job_id)
    assert sorted(row["purpose"] for row in rows) == ["credential_source", "password"]
    assert await of_ecr.world.rows("SELECT FROM set_aside") == []


async def test_a_source_of_another_job_does_not_open(of_ecr: Scenario) -> None:
    job_id = await of_ecr.submit()
    stolen = await of_ecr.world.rows("SELECT sealed FROM job_secret")
    await of_ecr.world.owner.execute("UPDATE job SET state = 'cancelled'")
    source, other_id = of_ecr.case.source, make_id()
    assert isinstance(source, EcrSource)
    command = RegistryTest(
        host=of_ecr.case.host, username="AWS", repository="x", credential=source.kind
    )
    given: dict[str, Any] = {"credential_source": stolen[0]["sealed"]}
    await of_ecr.world.submit(of_ecr.server, command, job_id=other_id, sealed=given)

    await of_ecr.get_login(other_id)

    assert (await of_ecr.world.job(other_id))["error"]["code"] == "credential_unreadable"
    assert (await of_ecr.world.job(job_id))["state"] == "cancelled"
