"""Yesterday's copy of the database under workers of today: nothing of it runs until it may."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from shared.ids import make_id
from shared.jobs.store.cancel import cancel
from tests.databases import Database
from tests.worker.control.maintenance.test_automatic_rollback import OTHER, deploy
from tests.worker.control.maintenance.test_completion import DIGEST, add_build
from tests.world import KINDS, TAG, EnrolledServer, World, open_world, speak_for
from worker.control.access.database_roles import DatabaseRoles
from worker.control.maintenance.automatic_rollback import roll_back
from worker.control.maintenance.heartbeat import RAISE_EPOCH
from worker.local.postgres import LocalPostgres

MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class RestoreScenario:
    """The database of today, and a copy of it as it was yesterday; the same server works at both.

    ``later`` is that server once the copy is in the place of the database. ``queued``,
    ``dispatched`` and ``running`` are jobs, as they were yesterday.
    """

    today: World
    yesterday: World
    enrolled: EnrolledServer
    later: EnrolledServer
    queued: str
    dispatched: str
    running: str

    async def newest_mark(self) -> str:
        """Return the last settings that the server got."""
        await raise_counter(self.today)
        return str((await self.enrolled.call("heartbeat", "first"))["mark"])

    async def come_back(self) -> dict[str, object]:
        """Have the worker of today start at the copy, with its last settings."""
        mark = await self.newest_mark()
        await self.yesterday.make_offline(self.enrolled)
        return await self.later.call("register", "second", mark=mark, kinds=KINDS, engine={})


async def raise_counter(world: World) -> None:
    await world.owner.execute("UPDATE database_epoch SET raised_at = raised_at - interval '1 day'")
    await world.control.execute(RAISE_EPOCH)


@pytest.fixture
def copies(postgres: LocalPostgres) -> Iterator[list[Database]]:
    """Databases that are dropped at the end."""
    made = [Database.create(postgres)]
    yield made
    for database in reversed(made):
        database.drop()


@pytest.fixture
async def scenario(copies: list[Database]) -> AsyncIterator[RestoreScenario]:
    [database] = copies
    async with open_world(database) as world:
        enrolled = await world.add_server(quick_limit=3)
        running, dispatched = await world.run(enrolled), await world.dispatch(enrolled)
        queued = await world.submit(enrolled)
        await raise_counter(world)
    name = f"copy_{make_id().replace('-', '')}"
    database.end_sessions()
    database.server.create_database(name, template=database.name)
    copies.append(Database(database.server, name))
    async with AsyncExitStack() as stack:
        today, yesterday = [await stack.enter_async_context(open_world(copy)) for copy in copies]
        for at in (today, yesterday):
            at.organization_id = world.organization_id
            await speak_for(at.api, world.admin_key)
        enrolled, later = [
            replace(enrolled, url=at.database.network_url(), stack=at.stack, _connection=None)
            for at in (today, yesterday)
        ]
        yield RestoreScenario(today, yesterday, enrolled, later, queued, dispatched, running)


async def held_since(world: World) -> object:
    [row] = await world.rows(
        "SELECT held_at FROM organization WHERE organization_id = %s", world.organization_id
    )
    return row["held_at"]


async def test_jobs_of_a_restored_copy_wait_until_they_may_run(scenario: RestoreScenario) -> None:
    await cancel(scenario.today.api, scenario.queued, scenario.today.organization_id, "not wanted")
    world = scenario.yesterday

    answer = await scenario.come_back()
    await world.pass_time(scenario.running, MINUTE)
    await world.sweep()
    before = await world.release()
    states = {
        await world.state(job) for job in (scenario.queued, scenario.dispatched, scenario.running)
    }
    new = await world.submit(scenario.later, TAG)
    released = await world.release()
    [resumed] = await world.rows("SELECT organization_resume(%s) AS many", world.organization_id)
    await world.owner.execute("UPDATE job SET run_at = now()")
    after = await world.release()

    assert answer["status"] == "current"
    assert before == []
    assert states == {"queued"}
    assert [job.job_id for job in released] == [new]
    assert resumed == {"many": 3}
    assert {job.job_id for job in after} <= {scenario.queued, scenario.dispatched, scenario.running}
    assert len(after) == 2  # one of three slots is the new job's


async def test_a_restore_is_noticed_once_and_by_whichever_worker_comes_first(
    scenario: RestoreScenario,
) -> None:
    mark = await scenario.newest_mark()
    newer = await scenario.newest_mark()
    await scenario.come_back()
    first = await held_since(scenario.yesterday)

    for known in (mark, newer):
        await scenario.later.call("heartbeat", "second", mark=known)
    again = await scenario.later.call("heartbeat", "second", mark=None)
    await scenario.later.call("heartbeat", "second", mark=again["mark"])

    assert first is not None
    assert await held_since(scenario.yesterday) == first


async def test_a_server_cannot_stop_others_with_a_mark_of_its_own(
    scenario: RestoreScenario,
) -> None:
    epoch, counter, proof = (await scenario.newest_mark()).split(":")
    higher = str(int(counter) + 1)
    other = f"{'0' * 8}-{epoch[9:]}"
    forged = [
        *(f"{epoch}:{higher}:{proof}", f"{epoch}:{higher}:{'0' * 64}", f"{other}:1:{proof}"),
        *(f"{epoch}:{'9' * 19}:{proof}", f"{epoch}:-1:{proof}", "", ":", "x" * 5000),
    ]

    for mark in forged:
        assert (await scenario.enrolled.call("heartbeat", "first", mark=mark))[
            "status"
        ] == "current"
    shapes: list[object] = [5, {}, [], None]
    for junk in shapes:
        assert (await scenario.enrolled.call("heartbeat", "first", mark=junk))[
            "status"
        ] == "current"

    assert await held_since(scenario.today) is None


async def test_a_worker_stores_the_mark_that_it_gets_and_presents_it(world: World) -> None:
    enrolled, stored = await world.add_server(None), list[str]()
    functions = enrolled.functions("first", keep_mark=stored.append)

    await functions.register({"kinds": KINDS, "engine": {}})
    await raise_counter(world)
    await functions.heartbeat([])
    await functions.heartbeat([])

    counters = [int(mark.split(":")[1]) for mark in stored]
    assert counters == [counters[0], counters[0] + 1]
    assert await held_since(world) is None


@pytest.mark.parametrize("first", ["register", "heartbeat"])
async def test_a_worker_presents_its_last_mark_to_a_copy_before_anything_else(
    scenario: RestoreScenario, first: str
) -> None:
    functions = scenario.later.functions("first", mark=await scenario.newest_mark())

    if first == "register":
        await functions.register({"kinds": KINDS, "engine": {}})
    else:
        await functions.heartbeat([])

    assert await held_since(scenario.yesterday) is not None


async def test_a_deployment_that_failed_before_a_restore_is_rolled_back_after_the_resume(
    world: World,
) -> None:
    enrolled, build_id = await world.add_server(), await add_build(world)
    await deploy(world, enrolled, build_id, MINUTE, (DIGEST, "succeeded"))
    failed = await deploy(world, enrolled, build_id, MINUTE, (OTHER, "failed"))
    await world.owner.execute("SELECT database_restored()")

    await roll_back(world.control)
    before = await world.rows("SELECT rolls_back FROM deployment WHERE rolls_back IS NOT NULL")
    await world.owner.execute("SELECT organization_resume(%s)", (world.organization_id,))
    await roll_back(world.control)

    assert before == []
    after = await world.rows("SELECT rolls_back FROM deployment WHERE rolls_back IS NOT NULL")
    assert after == [{"rolls_back": failed}]


async def test_roles_of_servers_that_the_database_does_not_know_are_dropped(
    world: World, own_database: Database
) -> None:
    known, unknown = await world.add_server(None), await world.add_server(None)
    foreign = f"wharf_server_{make_id()}"
    await world.owner.execute(f'CREATE ROLE "{foreign}"'.encode())
    for table in ("server_enrolment", "server"):
        await world.owner.execute(
            f"DELETE FROM {table} WHERE server_id = %s".encode(), (unknown.server_id,)
        )

    async with open_world(own_database) as other_plane:
        of_another_plane = await other_plane.add_server(None)

        await DatabaseRoles().reconcile(world.control)

        roles = await world.rows(
            "SELECT rolname FROM pg_roles WHERE rolname = ANY (%s)",
            [known.role, unknown.role, foreign, of_another_plane.role],
        )
        await world.owner.execute(f'DROP ROLE "{foreign}"'.encode())
    assert {row["rolname"] for row in roles} == {known.role, foreign, of_another_plane.role}
