"""Logins of registries are got from their providers, renewed in time, and given to jobs."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from shared.credentials.ecr import EcrSource
from shared.database import Pool, open_pool
from shared.errors import WharfError
from shared.jobs.commands import (
    BaseRegistry,
    Command,
    ComposeImage,
    ComposePull,
    ImageBuild,
    ImageCopy,
    ImagePull,
)
from shared.jobs.sources import GitSource
from shared.set_aside import change
from shared.vault import SealContext
from tests.fakes import ecr
from tests.fakes.certificates import Authority
from tests.fakes.named import NamedHosts, open_named
from tests.waiting import wait_until
from tests.worker.control.credentials.sealing import seal_grants
from tests.world import EnrolledServer, World
from worker.control.credentials.minting import (
    IDLE_SECONDS,
    LEASE,
    LONGEST_PAUSE,
    TAKE,
    Due,
    Minting,
)
from worker.control.providers.mint import Mint

SOURCE = EcrSource.model_validate(
    {"kind": "ecr", "accessKeyId": ecr.KEY_ID, "secretAccessKey": ecr.SECRET}
)
WRONG = EcrSource.model_validate(
    {"kind": "ecr", "accessKeyId": ecr.KEY_ID, "secretAccessKey": "not the secret"}
)
PULL = ImagePull(reference=f"{ecr.HOST}/team/app:1")


@dataclass
class Scenario:
    """Control's renewal, run by hand, with AWS as a fake."""

    world: World
    pool: Pool
    aws: ecr.Aws
    named: NamedHosts
    replicas: list[Minting] = field(default_factory=list)

    def minting(self, jitter: float = 0.0, **changes: Any) -> Minting:
        mint = Mint(self.named.client)
        made = Minting(self.pool, self.world.keys, mint, lambda: jitter, **changes)
        self.replicas.append(made)
        return made

    async def renew(self) -> None:
        """Renew what is due, until the attempts have ended."""
        minting = self.minting()
        await minting.renew(self.pool)
        await minting.settle()

    async def claim(self) -> Due:
        """Claim the one source that is due, and do nothing with it."""
        async with self.pool.connection() as connection:
            [row] = await change(connection, TAKE, {"room": 1, "lease": LEASE})
        return Due(**row)

    async def row(self, registry_id: str) -> dict[str, Any]:
        [row] = await self.world.rows(
            "SELECT s.*, r.password, r.username, r.password_expires_at - now() AS life,"
            " s.renew_at - now() AS pause, s.claimed_until > now() AS is_claimed"
            " FROM credential_source s JOIN registry r USING (registry_id)"
            " WHERE registry_id = %s",
            registry_id,
        )
        return row

    async def token(self, registry_id: str) -> str:
        """Return the stored login's secret."""
        row = await self.row(registry_id)
        context = SealContext(
            "credential", self.world.organization_id, registry_id, ecr.HOST, row["username"]
        )
        return self.world.keys.open(row["password"], context)

    async def pass_time(self, registry_id: str, time: timedelta) -> None:
        values = {"time": time, "registry_id": registry_id}
        await self.world.owner.execute(
            "UPDATE credential_source SET renew_at = renew_at - %(time)s,"
            " claimed_until = claimed_until - %(time)s WHERE registry_id = %(registry_id)s",
            values,
        )
        await self.world.owner.execute(
            "UPDATE registry SET password_expires_at = password_expires_at - %(time)s"
            " WHERE registry_id = %(registry_id)s",
            values,
        )

    async def submit(self, server: EnrolledServer, registry_id: str) -> str:
        """Submit a pull from the registry."""
        pull = PULL.model_copy(update={"registry_id": registry_id})
        return await self.world.submit(server, pull, registry_id=registry_id)

    def break_down(self, failure: Callable[[], web.Response] | None = None) -> None:
        self.aws.failure = failure or (lambda: web.Response(status=503))

    def repair(self) -> None:
        self.aws.failure = None


@pytest.fixture
async def scenario(world: World, tmp_path: Path) -> AsyncIterator[Scenario]:
    aws = ecr.Aws()
    hosts = {ecr.API: aws.api, ecr.STS: aws.sts}
    async with (
        open_pool(world.database.url("wharf_control")) as pool,
        open_named(Authority(tmp_path), hosts) as named,
    ):
        found = Scenario(world, pool, aws, named)
        yield found
        for replica in found.replicas:
            await replica.close()


async def test_a_new_source_gets_its_first_login(scenario: Scenario) -> None:
    registry_id = await scenario.world.add_source(SOURCE, host=ecr.HOST)

    await scenario.renew()

    row = await scenario.row(registry_id)
    assert await scenario.token(registry_id) in scenario.aws.tokens
    assert timedelta(hours=11, minutes=59) < row["life"] < timedelta(hours=12)
    assert timedelta(hours=5, minutes=59) < row["pause"] < timedelta(hours=6)
    assert (row["failures"], row["error"], row["is_claimed"]) == (0, None, None)


async def test_a_login_is_renewed_after_half_of_its_life_and_not_before(
    scenario: Scenario,
) -> None:
    registry_id = await scenario.world.add_source(SOURCE, host=ecr.HOST)
    await scenario.renew()
    await scenario.pass_time(registry_id, timedelta(hours=5, minutes=50))
    await scenario.renew()
    assert scenario.aws.logins == 1

    await scenario.pass_time(registry_id, timedelta(minutes=20))
    await scenario.renew()

    assert scenario.aws.logins == 2
    assert (await scenario.row(registry_id))["life"] > timedelta(hours=11)


async def test_replicas_ask_once_for_one_login(scenario: Scenario) -> None:
    await scenario.world.add_source(SOURCE, host=ecr.HOST)
    replicas = [scenario.minting() for _ in range(5)]

    await asyncio.gather(*(each.renew(scenario.pool) for each in replicas))
    for each in replicas:
        await each.settle()

    assert scenario.aws.logins == 1


async def test_another_replica_goes_on_after_one_that_died_while_it_asked(
    scenario: Scenario,
) -> None:
    registry_id = await scenario.world.add_source(SOURCE, host=ecr.HOST)
    await scenario.claim()
    await scenario.renew()
    assert scenario.aws.logins == 0

    await scenario.pass_time(registry_id, timedelta(minutes=2))
    await scenario.renew()

    assert scenario.aws.logins == 1
    assert (await scenario.row(registry_id))["password"]


async def test_the_claim_of_a_dead_replica_ends_before_the_old_login_does(
    scenario: Scenario,
) -> None:
    scenario.aws.life = timedelta(seconds=13)
    await scenario.world.add_source(SOURCE, host=ecr.HOST)
    await scenario.renew()
    await scenario.world.owner.execute("UPDATE credential_source SET renew_at = now()")

    due = await scenario.claim()

    assert timedelta(seconds=3) < due.lease <= timedelta(seconds=6.5)


async def test_control_that_stops_leaves_its_sources_to_others(scenario: Scenario) -> None:
    async def never(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        return web.Response()

    scenario.named.hosts[ecr.API] = never
    registry_id = await scenario.world.add_source(SOURCE, host=ecr.HOST)
    minting = scenario.minting()
    await minting.renew(scenario.pool)
    await wait_until(lambda: bool(scenario.named.requests))

    await minting.close()

    assert not (await scenario.row(registry_id))["is_claimed"]


async def test_the_old_login_stays_while_the_provider_is_down(scenario: Scenario) -> None:
    registry_id = await scenario.world.add_source(SOURCE, host=ecr.HOST)
    await scenario.renew()
    before = await scenario.token(registry_id)
    await scenario.pass_time(registry_id, timedelta(hours=7))
    scenario.break_down()

    await scenario.renew()

    row = await scenario.row(registry_id)
    assert await scenario.token(registry_id) == before
    assert row["life"] > timedelta(hours=4)
    assert (row["failures"], row["error"]["code"]) == (1, "registry_error")
    scenario.repair()
    await scenario.pass_time(registry_id, timedelta(seconds=5))
    await scenario.renew()
    row = await scenario.row(registry_id)
    assert (row["failures"], row["error"]) == (0, None)
    assert await scenario.token(registry_id) != before


async def test_the_pause_grows_with_each_failure_up_to_its_limit(scenario: Scenario) -> None:
    registry_id = await scenario.world.add_source(SOURCE, host=ecr.HOST)
    scenario.break_down()
    pauses = []
    for _ in range(11):
        await scenario.renew()
        pause = (await scenario.row(registry_id))["pause"]
        pauses.append(pause)
        await scenario.pass_time(registry_id, pause + timedelta(seconds=1))

    seconds = [round(pause.total_seconds()) for pause in pauses]
    assert seconds == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert pauses[-1] <= LONGEST_PAUSE


async def test_a_provider_that_asks_for_a_pause_gets_it(scenario: Scenario) -> None:
    registry_id = await scenario.world.add_source(SOURCE, host=ecr.HOST)
    scenario.break_down(lambda: web.Response(status=429, headers={"Retry-After": "600"}))

    await scenario.renew()

    assert (await scenario.row(registry_id))["pause"] > timedelta(minutes=9)


async def test_the_login_of_a_source_that_was_replaced_meanwhile_is_not_stored(
    scenario: Scenario,
) -> None:
    registry_id = await scenario.world.add_source(SOURCE, host=ecr.HOST)
    minting = scenario.minting()
    due = await scenario.claim()
    minted = await minting._mint(due)
    await scenario.world.owner.execute("UPDATE credential_source SET revision = 'another'")

    await minting._record(due, minted)

    assert (await scenario.row(registry_id))["password"] is None


async def test_a_source_that_is_sealed_for_another_host_is_not_opened(
    scenario: Scenario,
) -> None:
    registry_id = await scenario.world.add_source(SOURCE, host=ecr.HOST)
    other = ecr.HOST.replace("1", "2", 1)
    await scenario.world.owner.execute("UPDATE registry SET host = %s", (other,))

    await scenario.renew()

    assert (await scenario.row(registry_id))["error"]["code"] == "credential_unreadable"
    assert scenario.named.requests == []


async def test_a_slow_provider_does_not_hold_up_the_next_registry(scenario: Scenario) -> None:
    gate, answer = asyncio.Event(), scenario.aws.api

    async def wait_once(request: web.Request) -> web.StreamResponse:
        scenario.named.hosts[ecr.API] = answer
        await gate.wait()
        return await answer(request)

    scenario.named.hosts[ecr.API] = wait_once
    slow_id = await scenario.world.add_source(SOURCE, host=ecr.HOST)
    minting = scenario.minting()
    await minting.renew(scenario.pool)
    await wait_until(lambda: bool(scenario.named.requests))

    quick_id = await scenario.world.add_source(SOURCE, host=ecr.HOST)
    await scenario.renew()

    assert (await scenario.row(quick_id))["password"]
    assert (await scenario.row(slow_id))["password"] is None
    gate.set()
    await minting.settle()
    assert (await scenario.row(slow_id))["password"]


@pytest.fixture
async def server(world: World) -> EnrolledServer:
    return await world.add_server()


async def test_a_job_waits_for_the_first_login_and_gets_it(
    scenario: Scenario, server: EnrolledServer
) -> None:
    registry_id = await scenario.world.add_source(SOURCE, host=ecr.HOST)
    await scenario.submit(server, registry_id)
    assert await scenario.world.release() == []

    await scenario.renew()

    [job] = await scenario.world.release()
    sealed = seal_grants(scenario.world.keys, job)
    assert sealed


@pytest.mark.parametrize("kind", ["copy", "compose", "build"])
async def test_a_job_waits_for_every_login_that_it_needs(
    scenario: Scenario, server: EnrolledServer, kind: str
) -> None:
    ours = await scenario.world.add_registry()
    cloud = await scenario.world.add_source(SOURCE, host=ecr.HOST)
    image = ComposeImage(services=("web",), reference=PULL.reference, registry_id=cloud)
    commands: dict[str, Command] = {
        "copy": ImageCopy(
            source=PULL.reference,
            source_registry_id=cloud,
            reference="registry.example/team/app:1",
            registry_id=ours,
        ),
        "compose": ComposePull(compose="services: {}", images=(image,)),
        "build": ImageBuild(
            reference="registry.example/team/app:1",
            application_id="app-1",
            source=GitSource(url="https://git.example/app.git", branch="main"),
            bases=(BaseRegistry(registry_id=cloud, host=ecr.HOST),),
        ),
    }
    await scenario.world.submit(server, commands[kind])
    assert await scenario.world.release() == []

    await scenario.renew()

    assert len(await scenario.world.release()) == 1


async def test_a_job_of_another_registry_does_not_wait(
    scenario: Scenario, server: EnrolledServer
) -> None:
    await scenario.world.add_source(SOURCE, host=ecr.HOST)
    ours = await scenario.world.add_registry()
    pull = ImagePull(reference="registry.example/team/app:1", registry_id=ours)
    await scenario.world.submit(server, pull)

    assert len(await scenario.world.release()) == 1


async def test_a_job_waits_while_the_only_login_has_ended_and_the_provider_is_down(
    scenario: Scenario, server: EnrolledServer
) -> None:
    registry_id = await scenario.world.add_source(SOURCE, host=ecr.HOST)
    await scenario.renew()
    await scenario.pass_time(registry_id, timedelta(hours=13))
    scenario.break_down()
    await scenario.renew()
    await scenario.submit(server, registry_id)
    assert await scenario.world.release() == []

    scenario.repair()
    await scenario.pass_time(registry_id, timedelta(seconds=5))
    await scenario.renew()

    assert len(await scenario.world.release()) == 1


async def test_a_job_fails_with_the_reason_if_the_provider_refuses_the_source(
    scenario: Scenario, server: EnrolledServer
) -> None:
    registry_id = await scenario.world.add_source(WRONG, host=ecr.HOST)
    await scenario.renew()
    await scenario.submit(server, registry_id)

    [job] = await scenario.world.release()

    with pytest.raises(WharfError) as caught:
        seal_grants(scenario.world.keys, job)
    assert caught.value.code == "credential_refused"
    assert ecr.KEY_ID in caught.value.message
    assert caught.value.remedy


async def test_a_login_that_is_still_good_is_used_though_the_source_is_refused_now(
    scenario: Scenario, server: EnrolledServer
) -> None:
    registry_id = await scenario.world.add_source(SOURCE, host=ecr.HOST)
    await scenario.renew()
    await scenario.pass_time(registry_id, timedelta(hours=7))
    scenario.aws.keys.clear()
    await scenario.renew()
    assert (await scenario.row(registry_id))["error"]["code"] == "credential_refused"
    await scenario.submit(server, registry_id)

    [job] = await scenario.world.release()

    assert seal_grants(scenario.world.keys, job)


async def test_no_row_and_no_job_holds_the_secret_in_clear(
    scenario: Scenario, server: EnrolledServer
) -> None:
    registry_id = await scenario.world.add_source(SOURCE, host=ecr.HOST)
    wrong_id = await scenario.world.add_source(WRONG, host=ecr.HOST)
    await scenario.renew()
    for chosen in (registry_id, wrong_id):
        await scenario.submit(server, chosen)
    tokens = list(scenario.aws.tokens)
    found = [
        await scenario.world.rows(f"SELECT * FROM {table}")
        for table in ("registry", "credential_source", "job", "job_event", "set_aside")
    ]

    text = json.dumps(found, default=str)

    assert not [secret for secret in (ecr.SECRET, "not the secret", *tokens) if secret in text]


async def test_the_next_run_is_when_the_next_login_is_due(scenario: Scenario) -> None:
    scenario.aws.life = timedelta(seconds=12)
    await scenario.world.add_source(SOURCE, host=ecr.HOST)
    assert await scenario.minting().renew(scenario.pool) <= IDLE_SECONDS
    await scenario.replicas[0].settle()

    seconds = await scenario.minting().renew(scenario.pool)

    # Half of eleven seconds: a Date header is exact to one.
    assert 4 < seconds < 6
