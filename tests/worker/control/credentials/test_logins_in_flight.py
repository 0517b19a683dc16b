"""A running attempt gets the logins that control renewed since it began; nobody else does."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from shared.credentials.ecr import EcrSource
from shared.jobs.accesses import hosts_of
from shared.jobs.commands import ImageCopy, ImagePull
from shared.jobs.store.release import give_login
from shared.vault import KeyRing, SealContext
from tests.fakes import ecr
from tests.worker.control.credentials.sealing import seal_grants
from tests.world import EnrolledServer, World
from worker.control.credentials.logins_in_flight import renew_logins
from worker.login import Grants, login_context

SOURCE = EcrSource.model_validate(
    {"kind": "ecr", "accessKeyId": ecr.KEY_ID, "secretAccessKey": ecr.SECRET}
)
HOUR = timedelta(hours=1)


@dataclass
class Scenario:
    """A pull from ECR that runs on a server with the first login, ``first``."""

    world: World
    server: EnrolledServer
    registry_id: str
    command: ImagePull
    job_id: str

    async def mint(self, secret: str, life: timedelta) -> None:
        """Store a login of the registry, as minting does."""
        await store_login(self.world, self.registry_id, secret, life)

    async def heartbeat(self, login: int | None = 1, **changes: Any) -> dict[str, Any]:
        """Return the job's entry in the answer to a heartbeat."""
        job = {"job_id": self.job_id, "attempt": 1, "login": login, **changes}
        answer = await self.server.call("heartbeat", "first", jobs=[job])
        [held] = answer["jobs"]
        return dict(held)

    def open(self, sealed: str, attempt: int = 1) -> list[str]:
        """Open logins with the server's own key."""
        context = login_context(
            organization_id=self.world.organization_id,
            job_id=self.job_id,
            attempt=attempt,
            server_id=self.server.server_id,
            hosts=hosts_of(self.command),
        )
        grants = Grants.model_validate_json(KeyRing([self.server.key]).open(sealed, context))
        return [grant.login.secret.get_secret_value() for grant in grants.grants]

    async def number(self) -> int:
        [row] = await self.world.rows("SELECT number FROM job_secret WHERE purpose = 'login'")
        return int(row["number"])


async def store_login(world: World, registry_id: str, secret: str, life: timedelta) -> None:
    context = SealContext("credential", world.organization_id, registry_id, ecr.HOST, "AWS")
    await world.owner.execute(
        "UPDATE registry SET password = %s, password_expires_at = now() + %s"
        " WHERE registry_id = %s",
        (world.vault.public.seal(secret, context), life, registry_id),
    )


async def run(world: World, server: EnrolledServer, command: ImagePull | ImageCopy) -> str:
    """Submit, release and claim a job, with its login."""
    job_id = await world.submit(server, command, registry_id=command.registry_id)
    [job] = await world.release()
    sealed = seal_grants(world.keys, job)
    assert sealed is not None
    await give_login(world.control, job, sealed)
    claim = await server.call("claim", "first", job_id=job_id, attempt=1)
    assert [secret["number"] for secret in claim["secrets"]] == [1]
    return job_id


@pytest.fixture
async def scenario(world: World) -> Scenario:
    server = await world.add_server()
    registry_id = await world.add_source(SOURCE, host=ecr.HOST)
    await store_login(world, registry_id, "first", HOUR)
    command = ImagePull(reference=f"{ecr.HOST}/team/app:1", registry_id=registry_id)
    return Scenario(world, server, registry_id, command, await run(world, server, command))


async def test_a_renewed_login_comes_with_the_next_heartbeat(scenario: Scenario) -> None:
    await scenario.mint("second", 2 * HOUR)

    await renew_logins(scenario.world.control, scenario.world.keys)

    held = await scenario.heartbeat()
    assert held["login"]["number"] == 2
    assert scenario.open(held["login"]["sealed"]) == ["second"]


async def test_it_is_given_until_the_worker_says_that_it_has_it(scenario: Scenario) -> None:
    await scenario.mint("second", 2 * HOUR)
    await renew_logins(scenario.world.control, scenario.world.keys)

    assert await scenario.heartbeat() == await scenario.heartbeat()
    assert "login" not in await scenario.heartbeat(login=2)


@pytest.mark.parametrize("login", [None, "1", "x", True, {}])
async def test_a_worker_that_does_not_name_its_login_gets_no_other(
    scenario: Scenario, login: Any
) -> None:
    await scenario.mint("second", 2 * HOUR)
    await renew_logins(scenario.world.control, scenario.world.keys)

    held = await scenario.heartbeat(login=login)

    told = {"cancel": False, "hand_back": False}
    assert held == {"job_id": scenario.job_id, "attempt": 1, **told}


async def test_each_login_is_given_once_however_often_control_looks(scenario: Scenario) -> None:
    world = scenario.world
    await renew_logins(world.control, world.keys)
    assert await scenario.number() == 1

    await scenario.mint("second", 2 * HOUR)
    for _ in range(3):
        await renew_logins(world.control, world.keys)
    assert await scenario.number() == 2

    await scenario.mint("third", 3 * HOUR)
    replica = await world.connect("wharf_control")
    await asyncio.gather(renew_logins(world.control, world.keys), renew_logins(replica, world.keys))
    assert await scenario.number() == 3
    assert scenario.open((await scenario.heartbeat())["login"]["sealed"]) == ["third"]


async def test_another_server_gets_none_of_it(scenario: Scenario) -> None:
    other = await scenario.world.add_server("another")
    await scenario.mint("second", 2 * HOUR)
    await renew_logins(scenario.world.control, scenario.world.keys)

    job = {"job_id": scenario.job_id, "attempt": 1, "login": 1}
    answer = await other.call("heartbeat", "another", jobs=[job])

    assert answer["jobs"] == []


async def test_an_attempt_that_has_ended_gets_none(scenario: Scenario) -> None:
    job = {"job_id": scenario.job_id, "attempt": 1}
    await scenario.server.call("finish", "first", outcome="succeeded", result={}, **job)
    await scenario.mint("second", 2 * HOUR)

    await renew_logins(scenario.world.control, scenario.world.keys)

    assert await scenario.world.rows("SELECT FROM job_secret WHERE purpose = 'login'") == []


async def test_a_registry_that_a_server_may_not_use_any_more_gives_it_no_other_login(
    scenario: Scenario,
) -> None:
    await scenario.mint("second", 2 * HOUR)
    await scenario.world.owner.execute("UPDATE registry SET allowed_servers = ARRAY['another']")

    await renew_logins(scenario.world.control, scenario.world.keys)

    assert "login" not in await scenario.heartbeat()
    assert await scenario.world.rows("SELECT FROM set_aside") == []


async def test_a_running_attempt_gets_no_login_of_a_credential_that_replaced_its_own(
    scenario: Scenario,
) -> None:
    await scenario.mint("second", 2 * HOUR)
    await scenario.world.owner.execute("UPDATE registry SET login_revision = 'another'")

    await renew_logins(scenario.world.control, scenario.world.keys)

    assert "login" not in await scenario.heartbeat()


async def test_a_copy_gets_the_logins_of_both_of_its_registries(scenario: Scenario) -> None:
    world = scenario.world
    target_id = await world.add_source(SOURCE, host=ecr.HOST)
    await store_login(world, target_id, "first of the target", HOUR)
    command = ImageCopy(
        source=f"{ecr.HOST}/team/app:1",
        source_registry_id=scenario.registry_id,
        reference=f"{ecr.HOST}/team/copy:1",
        registry_id=target_id,
    )
    scenario.job_id = await run(world, scenario.server, command)
    await scenario.mint("second", 2 * HOUR)
    await store_login(world, target_id, "second of the target", 2 * HOUR)

    await renew_logins(world.control, world.keys)

    held = await scenario.heartbeat()
    assert scenario.open(held["login"]["sealed"]) == ["second", "second of the target"]
