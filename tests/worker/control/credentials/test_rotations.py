"""Control carries out a rotation step by step, with replicas, and although it dies."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from shared.credentials.ecr import EcrSource
from shared.credentials.kinds import source_context
from shared.credentials.slots import StoredLogin, StoredSource
from shared.database import Connection, Pool, open_pool
from shared.ids import make_id
from shared.jobs.commands import ImagePull, RegistryTest
from shared.jobs.store.release import Released
from shared.networks import parse_networks
from shared.vault import SealContext
from tests.fakes import ecr
from tests.fakes.certificates import Authority
from tests.fakes.named import open_named
from tests.worker.control.credentials.sealing import seal_grants
from tests.worker.control.credentials.test_minting import SOURCE, WRONG
from tests.world import HOST, PASSWORD, EnrolledServer, World
from worker.control.credentials.rotations import BUSY_SECONDS, DUE, IDLE_SECONDS, Rotations, _step
from worker.control.providers.mint import Mint
from worker.control.providers.provider import HttpClient
from worker.oci.transport.settings import ConnectionSettings

NEW = "the new password"
BAD = {"code": "auth_bad_credentials", "message": "refused", "remedy": "Check it."}


AUDITED = "SELECT action FROM audit_event WHERE action LIKE 'registry.%%'"


@dataclass
class Scenario:
    """A registry with a login, and control's service, run by hand."""

    world: World
    pool: Pool
    registry_id: str
    rotations: Rotations
    servers: list[EnrolledServer] = field(default_factory=list)

    async def add_server(self) -> EnrolledServer:
        server = await self.world.add_server()
        self.servers.append(server)
        return server

    async def allow(self, *servers: EnrolledServer) -> None:
        await self.world.owner.execute(
            "UPDATE registry SET allowed_servers = %s", ([each.server_id for each in servers],)
        )

    def password(self) -> StoredLogin:
        organization_id = self.world.organization_id
        context = SealContext("credential", organization_id, self.registry_id, HOST, "bob")
        return StoredLogin(
            username="bob",
            password=self.world.vault.public.seal(NEW, context),
            password_changed_at=datetime.now(UTC),
            login_revision=make_id(),
        )

    def source(self, source: EcrSource) -> StoredLogin:
        context = source_context(self.world.organization_id, self.registry_id, ecr.HOST)
        sealed = StoredSource(
            kind=source.kind,
            shown=source.shown(),
            sealed=self.world.vault.public.seal(source.to_sealable_json(), context),
            revision=make_id(),
        )
        return StoredLogin(
            username=source.USERNAME,
            password_changed_at=datetime.now(UTC),
            login_revision=make_id(),
            source=sealed,
        )

    async def stage(
        self, login: StoredLogin | None = None, *, forced: bool = False, keep_hours: int = 24
    ) -> str:
        """Stage a new login, by default a password, as the API does."""
        login = login or self.password()
        rotation_id, organization_id = make_id(), self.world.organization_id
        command = RegistryTest(
            host=HOST if login.source is None else ecr.HOST,
            username=login.username,
            repository="team/app",
            registry_id=self.registry_id,
            rotation_id=rotation_id,
        )
        await self.world.api.execute(
            "INSERT INTO rotation (rotation_id, organization_id, registry_id, state, slot, command,"
            " forced, keep_hours) VALUES (%s, %s, %s, 'testing', %s, %s, %s, %s)",
            (
                rotation_id,
                organization_id,
                self.registry_id,
                Jsonb(login.model_dump(mode="json")),
                Jsonb(command.model_dump(mode="json")),
                forced,
                keep_hours,
            ),
        )
        return rotation_id

    async def step(self) -> float:
        return await self.rotations.carry_out(self.pool)

    async def rotation(self, rotation_id: str) -> dict[str, Any]:
        [row] = await self.world.rows("SELECT * FROM rotation WHERE rotation_id = %s", rotation_id)
        return row

    async def findings(self, rotation_id: str) -> list[str]:
        return [test["finding"] for test in (await self.rotation(rotation_id))["tests"] or []]

    async def username(self) -> str:
        [row] = await self.world.rows("SELECT username FROM registry")
        return str(row["username"])

    async def end_tests(self, *, error: dict[str, Any] | None = None) -> list[Released]:
        """Release the tests that wait, and have each end well, or with this error."""
        jobs = await self.world.release()
        by_id = {server.server_id: server for server in self.servers}
        for job in jobs:
            server, chosen = by_id[job.server_id], {"job_id": job.job_id, "attempt": job.attempt}
            assert (await server.call("claim", "first", **chosen))["status"] == "claimed"
            outcome = {"outcome": "failed", "error": error} if error else GOOD
            await server.call("finish", "first", **chosen, **outcome)
        return jobs


GOOD: dict[str, Any] = {"outcome": "succeeded", "result": {}}


@pytest.fixture
async def scenario(world: World) -> AsyncIterator[Scenario]:
    client = HttpClient(ConnectionSettings(parse_networks("")))
    async with open_pool(world.database.url("wharf_control")) as pool:
        registry_id = await world.add_registry()
        yield Scenario(world, pool, registry_id, Rotations(world.keys, Mint(client)))


async def test_one_server_tests_first_then_the_others_and_then_it_switches(
    scenario: Scenario,
) -> None:
    servers = [await scenario.add_server() for _ in range(3)]
    await scenario.allow(*servers)
    rotation_id = await scenario.stage()

    await scenario.step()
    [first] = await scenario.end_tests()
    await scenario.step()
    others = await scenario.end_tests()
    assert await scenario.username() == "alice"
    await scenario.step()

    assert len({first.server_id, *(job.server_id for job in others)}) == 3
    assert await scenario.username() == "bob"
    rotation = await scenario.rotation(rotation_id)
    assert (rotation["state"], rotation["slot"]["username"]) == ("switched", "alice")
    assert await scenario.findings(rotation_id) == ["passed"] * 3
    actions = await scenario.world.rows(AUDITED)
    assert [row["action"] for row in actions] == ["registry.switchCredential"]


async def test_a_test_gets_the_staged_login_and_other_jobs_the_one_in_use(
    scenario: Scenario,
) -> None:
    server = await scenario.add_server()
    rotation_id = await scenario.stage()
    pull = ImagePull(reference=f"{HOST}/team/app:1", registry_id=scenario.registry_id)
    await scenario.world.submit(server, pull, registry_id=scenario.registry_id)
    await scenario.step()

    jobs = {job.kind: job for job in await scenario.world.release()}

    rows = {kind: job.registries[scenario.registry_id] for kind, job in jobs.items()}
    assert rows["image.pull"]["username"] == "alice"
    assert rows["registry.test"]["username"] == "bob"
    assert seal_grants(scenario.world.keys, jobs["registry.test"]) is not None
    staged = (await scenario.rotation(rotation_id))["slot"]["password"]
    assert rows["registry.test"]["password"] == staged


async def test_a_test_that_is_released_after_the_end_of_its_rotation_gets_no_login(
    scenario: Scenario,
) -> None:
    await scenario.add_server()
    rotation_id = await scenario.stage()
    await scenario.step()
    await scenario.world.api.execute(
        "UPDATE rotation SET state = 'cancelled', slot = NULL, finished_at = now()"
    )

    [job] = await scenario.world.release()

    assert job.registries[scenario.registry_id]["password"] is None
    assert (await scenario.rotation(rotation_id))["state"] == "cancelled"


async def test_a_wrong_login_is_tried_from_one_server_and_refused(scenario: Scenario) -> None:
    servers = [await scenario.add_server() for _ in range(3)]
    await scenario.allow(*servers)
    rotation_id = await scenario.stage()

    await scenario.step()
    await scenario.end_tests(error=BAD)
    await scenario.step()

    rotation = await scenario.rotation(rotation_id)
    assert (rotation["state"], rotation["error"]["code"]) == ("refused", "auth_bad_credentials")
    assert rotation["slot"] is None
    assert await scenario.findings(rotation_id) == ["failed", "waiting", "waiting"]
    assert await scenario.username() == "alice"
    assert await scenario.world.release() == []


async def test_a_forced_rotation_switches_although_the_test_failed(scenario: Scenario) -> None:
    await scenario.add_server()
    rotation_id = await scenario.stage(forced=True)

    await scenario.step()
    await scenario.end_tests(error=BAD)
    await scenario.step()

    assert (await scenario.rotation(rotation_id))["state"] == "switched"
    assert await scenario.username() == "bob"


async def test_a_server_that_goes_offline_holds_nothing_up(scenario: Scenario) -> None:
    servers = [await scenario.add_server() for _ in range(2)]
    await scenario.allow(*servers)
    rotation_id = await scenario.stage()
    await scenario.step()
    await scenario.world.make_offline(servers[0])
    await scenario.world.owner.execute("UPDATE job SET deadline_at = now() - interval '1 second'")
    await scenario.world.sweep()

    await scenario.step()
    await scenario.end_tests()
    await scenario.step()

    assert await scenario.findings(rotation_id) == ["not_reached", "passed"]
    assert await scenario.username() == "bob"


async def test_a_rotation_without_an_online_server_is_refused(scenario: Scenario) -> None:
    await scenario.world.make_offline(await scenario.add_server())
    rotation_id = await scenario.stage()

    await scenario.step()

    rotation = await scenario.rotation(rotation_id)
    assert (rotation["state"], rotation["error"]["code"]) == ("refused", "no_server")


async def test_only_servers_that_use_the_registry_test_it(scenario: Scenario) -> None:
    await scenario.add_server()
    user = await scenario.add_server()
    pull = ImagePull(reference=f"{HOST}/team/app:1", registry_id=scenario.registry_id)
    await scenario.world.submit(user, pull, registry_id=scenario.registry_id)
    rotation_id = await scenario.stage()

    await scenario.step()

    [test] = (await scenario.rotation(rotation_id))["tests"]
    assert test["server_id"] == user.server_id


async def test_replicas_submit_each_test_once(scenario: Scenario) -> None:
    servers = [await scenario.add_server() for _ in range(3)]
    await scenario.allow(*servers)
    rotation_id = await scenario.stage()

    await asyncio.gather(*(scenario.step() for _ in range(4)))
    assert len(await scenario.end_tests()) == 1
    await asyncio.gather(*(scenario.step() for _ in range(4)))
    assert len(await scenario.end_tests()) == 2
    await asyncio.gather(*(scenario.step() for _ in range(4)))

    assert (await scenario.rotation(rotation_id))["state"] == "switched"
    assert len(await scenario.world.rows(AUDITED)) == 1


class KilledError(Exception):
    """Control died."""


@dataclass
class Dying:
    """A connection of control, which dies before its statement of this number."""

    connection: Connection
    left: int

    async def execute(self, *arguments: Any) -> Any:
        if self.left == 0:
            raise KilledError
        self.left -= 1
        return await self.connection.execute(*arguments)

    def cursor(self, **options: Any) -> Any:
        return self.connection.cursor(**options)


async def die_everywhere(scenario: Scenario) -> int:
    """Do the next step once; before that, die at each of its statements. Return their number."""
    for statements in range(100):
        async with scenario.pool.connection() as connection:
            [due] = await (await connection.execute(DUE.whole)).fetchall()
            try:
                async with connection.transaction():
                    await _step(Dying(connection, statements), due)  # type: ignore[arg-type]
            except KilledError:
                continue
            return statements
    raise AssertionError("the step has no end")


async def test_control_may_die_at_each_statement_of_each_step(scenario: Scenario) -> None:
    servers = [await scenario.add_server() for _ in range(2)]
    await scenario.allow(*servers)
    rotation_id = await scenario.stage(keep_hours=0)

    died = 0
    for tests in (1, 1, 0, 0):
        died += await die_everywhere(scenario)
        assert len(await scenario.end_tests()) == tests
    assert (await scenario.rotation(rotation_id))["settled_at"] is not None
    assert await scenario.username() == "bob"
    died += await die_everywhere(scenario)

    assert died > 20
    rotation = await scenario.rotation(rotation_id)
    assert (rotation["state"], rotation["slot"]) == ("dropped", None)
    assert len(await scenario.world.rows("SELECT FROM job")) == 2


async def test_the_old_login_is_dropped_when_its_time_is_over_and_no_job_has_it(
    scenario: Scenario,
) -> None:
    server = await scenario.add_server()
    pull = ImagePull(reference=f"{HOST}/team/app:1", registry_id=scenario.registry_id)
    job_id = await scenario.world.run(server, command=pull, registry_id=scenario.registry_id)
    rotation_id = await scenario.stage(keep_hours=0)
    await scenario.step()
    await scenario.end_tests()
    for _ in range(3):
        await scenario.step()
    assert (await scenario.rotation(rotation_id))["state"] == "switched"

    await server.call("finish", "first", job_id=job_id, attempt=1, **GOOD)
    await scenario.step()

    assert (await scenario.rotation(rotation_id))["state"] == "dropped"


async def test_a_later_switch_drops_what_the_earlier_one_kept(scenario: Scenario) -> None:
    await scenario.add_server()
    ids = []
    for _ in range(2):
        ids.append(await scenario.stage())
        await scenario.step()
        await scenario.end_tests()
        await scenario.step()

    states = [(await scenario.rotation(each))["state"] for each in ids]

    assert states == ["dropped", "switched"]


async def test_a_rotation_that_is_tested_is_looked_at_often_and_others_are_not(
    scenario: Scenario,
) -> None:
    assert await scenario.step() == IDLE_SECONDS
    await scenario.add_server()
    await scenario.stage()
    assert await scenario.step() == BUSY_SECONDS
    await scenario.end_tests()
    await scenario.step()
    assert await scenario.step() == IDLE_SECONDS


async def test_a_registry_has_one_rotation_in_test_and_a_slot_with_nothing_unsealed(
    scenario: Scenario,
) -> None:
    await scenario.stage()

    with pytest.raises(psycopg.errors.UniqueViolation):
        await scenario.stage()
    with pytest.raises(psycopg.errors.CheckViolation):
        await scenario.world.api.execute(
            "UPDATE rotation SET slot = slot || %s", (Jsonb({"password": PASSWORD}),)
        )


@pytest.fixture
async def at_ecr(scenario: Scenario, tmp_path: Path) -> AsyncIterator[Scenario]:
    """The scenario with a registry of ECR, and AWS as a fake."""
    aws = ecr.Aws()
    await scenario.world.owner.execute("DELETE FROM registry")
    registry_id = await scenario.world.add_registry(host=ecr.HOST)
    async with open_named(Authority(tmp_path), {ecr.API: aws.api, ecr.STS: aws.sts}) as named:
        rotations = Rotations(scenario.world.keys, Mint(named.client))
        yield replace(scenario, registry_id=registry_id, rotations=rotations)


async def test_a_staged_source_gives_a_login_that_is_tested_before_it_is_used(
    at_ecr: Scenario,
) -> None:
    await at_ecr.add_server()
    rotation_id = await at_ecr.stage(at_ecr.source(SOURCE))

    await at_ecr.step()
    [job] = await at_ecr.end_tests()
    await at_ecr.step()

    assert job.registries[at_ecr.registry_id]["username"] == "AWS"
    assert job.registries[at_ecr.registry_id]["password"].startswith("v1.")
    [row] = await at_ecr.world.rows(
        "SELECT r.username, r.password_expires_at > now() AS lives, s.kind"
        " FROM registry r JOIN credential_source s USING (registry_id)"
    )
    assert row == {"username": "AWS", "lives": True, "kind": "ecr"}
    rotation = await at_ecr.rotation(rotation_id)
    assert (rotation["state"], rotation["slot"]["username"]) == ("switched", "alice")
    assert rotation["slot"]["source"] is None


async def test_a_source_that_its_provider_refuses_is_refused_before_any_test(
    at_ecr: Scenario,
) -> None:
    await at_ecr.add_server()
    rotation_id = await at_ecr.stage(at_ecr.source(WRONG))

    await at_ecr.step()

    rotation = await at_ecr.rotation(rotation_id)
    assert (rotation["state"], rotation["error"]["code"]) == ("refused", "credential_refused")
    assert await at_ecr.world.rows("SELECT FROM job") == []
    assert await at_ecr.username() == "alice"


async def test_a_source_that_is_forced_is_used_although_its_provider_refuses(
    at_ecr: Scenario,
) -> None:
    rotation_id = await at_ecr.stage(at_ecr.source(WRONG), forced=True)

    await at_ecr.step()

    assert (await at_ecr.rotation(rotation_id))["state"] == "switched"
    [row] = await at_ecr.world.rows("SELECT username, password FROM registry")
    assert row == {"username": "AWS", "password": None}


async def test_nothing_goes_on_after_a_restore_before_an_operator_resumes(
    scenario: Scenario,
) -> None:
    await scenario.add_server()
    await scenario.stage()
    await scenario.world.owner.execute("UPDATE organization SET held_at = now()")

    await scenario.step()
    held = await scenario.world.rows("SELECT FROM job")
    await scenario.world.owner.execute("UPDATE organization SET held_at = NULL")
    await scenario.step()

    assert held == []
    assert len(await scenario.world.rows("SELECT FROM job")) == 1
