"""A worker registers, sends heartbeats, obeys cancel requests and stops at its fence."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql
from pydantic import BaseModel

from shared.errors import SetupError
from shared.jobs.commands import Command
from shared.jobs.states import LEASE
from shared.jobs.store.cancel import cancel
from shared.vault import KeyRing
from tests.databases import Database, start_postgres
from tests.proxies import open_proxy
from tests.waiting import wait_until
from tests.world import EnrolledServer, World, open_world
from worker.jobs.attempt import Attempt, AttemptResult, StopReason
from worker.jobs.functions import Functions
from worker.local.postgres import LocalPostgres
from worker.login import Grants
from worker.server.heartbeat import FENCE, PROGRESS, Outage, Presence
from worker.server.runtime import Runtime

ENGINE: dict[str, Any] = {"version": "29"}
SHORT = timedelta(seconds=1.2)
QUICK: dict[str, Any] = {"every": SHORT / 6, "fence": SHORT}


@dataclass
class Server:
    """A worker whose handlers work until they are stopped."""

    world: World
    enrolled: EnrolledServer
    functions: Functions
    runtime: Runtime
    presence: Presence
    superseded: asyncio.Event
    tasks: dict[str, asyncio.Task[AttemptResult | None]] = field(default_factory=dict)

    async def begin(self) -> str:
        """Start a job and return when its work has begun."""
        job_id = await self.world.dispatch(self.enrolled)
        self.tasks[job_id] = asyncio.create_task(self.runtime.run(job_id, 1))
        await wait_until(lambda: job_id in self.busy)
        return job_id

    @property
    def busy(self) -> set[str]:
        """Return the jobs whose handlers have begun."""
        return {job_id for (job_id, _), one in self.runtime.attempts.items() if one.task}

    def attempt(self, job_id: str) -> Attempt:
        return self.runtime.attempts[job_id, 1]

    async def end_of(self, job_id: str, *, seconds: float = 5) -> AttemptResult | None:
        async with asyncio.timeout(seconds):
            return await self.tasks[job_id]


async def work(_: Command, __: Grants, ___: Attempt) -> BaseModel:
    await asyncio.Event().wait()
    raise AssertionError


def make_server(
    world: World,
    enrolled: EnrolledServer,
    *,
    incarnation: str = "first",
    url: str | None = None,
    **options: Any,
) -> Server:
    functions = enrolled.functions(incarnation, url=url)
    runtime = Runtime(enrolled.enrolment, KeyRing([enrolled.key]), functions, work)
    superseded = asyncio.Event()
    presence = Presence(
        enrolled.enrolment, functions, runtime.attempts, runtime.stop_all, superseded.set, **options
    )
    return Server(world, enrolled, functions, runtime, presence, superseded)


@pytest.fixture
async def server(world: World) -> AsyncIterator[Server]:
    made = make_server(world, await world.add_server())
    yield made
    made.runtime.stop_all(StopReason.LEASE_LOST)
    await asyncio.gather(*made.tasks.values(), return_exceptions=True)


# Registration


async def test_a_registration_reports_the_worker_s_kinds(world: World) -> None:
    server = make_server(world, await world.add_server(None))

    await server.presence.register(None, ENGINE)

    [row] = await world.rows("SELECT incarnation, wire_version, kinds, engine FROM server")
    assert (row["incarnation"], row["wire_version"], row["engine"]) == ("first", 1, ENGINE)
    assert set(row["kinds"]) >= {"image.pull@1", "registry.test@1"}


async def test_a_registration_waits_until_control_has_created_the_role(world: World) -> None:
    enrolled = await world.enrol_server()
    server = make_server(world, enrolled)

    waiting = asyncio.create_task(server.presence.register(None, ENGINE))
    ended, _ = await asyncio.wait({waiting}, timeout=0.1)
    assert not ended
    await world.control.execute("SELECT server_role_create(%s)", (enrolled.server_id,))
    await waiting

    assert await world.rows("SELECT 1 FROM server WHERE incarnation = 'first'")


async def test_a_registration_fails_if_the_database_refuses_the_login(world: World) -> None:
    enrolled = await world.enrol_server()
    server = make_server(world, enrolled, patience=timedelta(seconds=0.1))

    with pytest.raises(SetupError, match="refuses the login") as caught:
        await server.presence.register(None, ENGINE)

    assert enrolled.password.get_secret_value() not in str(caught.value.message)


async def test_a_registration_of_a_removed_server_ends_the_worker(world: World) -> None:
    server = make_server(world, await world.add_server())
    await world.api.execute("UPDATE server SET removed_at = now()")

    with pytest.raises(SetupError, match="removed"):
        await server.presence.register(None, ENGINE)


async def test_a_registration_without_a_role_ends_the_worker_if_it_was_removed(
    world: World,
) -> None:
    async def is_removed() -> bool:
        return True

    enrolled = await world.add_server(None)
    await world.owner.execute("UPDATE server SET removed_at = now()")
    await world.control.execute("SELECT server_role_drop(%s)", (enrolled.server_id,))
    server = make_server(world, enrolled, is_removed=is_removed, patience=timedelta(seconds=15))

    with pytest.raises(SetupError) as caught:
        await server.presence.register(None, ENGINE)

    assert caught.value.message == "this server was removed"
    assert "wharf server create" in caught.value.remedy


async def test_a_registration_waits_for_a_worker_that_may_be_alive(world: World) -> None:
    enrolled = await world.add_server("another")
    server = make_server(world, enrolled)

    waiting = asyncio.create_task(server.presence.register(None, ENGINE))
    ended, _ = await asyncio.wait({waiting}, timeout=0.1)
    assert not ended
    await world.make_offline(enrolled)
    await waiting

    assert await world.rows("SELECT 1 FROM server WHERE incarnation = 'first'")


# Heartbeats


async def test_a_cancel_reaches_the_work_within_a_second(world: World, server: Server) -> None:
    async with server.presence.sending_heartbeats():
        job_id = await server.begin()
        begun = time.monotonic()
        await cancel(world.api, job_id, world.organization_id, "not wanted")
        await server.end_of(job_id)

    assert time.monotonic() - begun < 1
    assert await world.state(job_id) == "cancelled"


async def test_a_cancel_without_its_notification_is_found_by_the_next_heartbeat(
    world: World, server: Server
) -> None:
    async with server.presence.sending_heartbeats():
        job_id = await server.begin()
        await world.owner.execute("UPDATE job SET cancel_requested_at = now()")
        await server.end_of(job_id)

    assert await world.state(job_id) == "cancelled"


async def test_a_drain_hands_a_running_transfer_back(world: World, server: Server) -> None:
    async with server.presence.sending_heartbeats():
        job_id = await server.begin()
        await world.owner.execute(
            "UPDATE server SET paused_classes = '{build,quick,transfer}', paused_at = now(),"
            " drain_requested_at = now()"
        )
        await server.end_of(job_id)

    job = await world.job(job_id)
    assert (job["state"], job["failures"]) == ("queued", 0)


async def test_progress_of_interest_is_reported_before_the_next_heartbeat(world: World) -> None:
    server = make_server(world, await world.add_server(), every=timedelta(minutes=1), fence=FENCE)
    await server.presence.register(None, ENGINE)
    server.runtime.on_progress = server.presence.report_soon
    async with server.presence.sending_heartbeats():
        job_id = await server.begin()
        began = time.monotonic()
        for number in range(5):
            server.attempt(job_id).progress = {"done": number}
            server.presence.report_soon()

        async def is_reported() -> bool:
            return bool((await world.job(job_id))["progress"] == {"done": 4})

        await wait_until(is_reported)
        assert time.monotonic() - began < PROGRESS.total_seconds()
        server.runtime.stop_all(StopReason.LEASE_LOST)
        await server.end_of(job_id)


async def test_progress_is_reported_within_two_seconds(world: World, server: Server) -> None:
    async with server.presence.sending_heartbeats():
        job_id = await server.begin()
        server.attempt(job_id).progress = {"done": 1}

        async def is_reported() -> bool:
            return bool((await world.job(job_id))["progress"] == {"done": 1})

        await wait_until(is_reported, seconds=2)
        await wait_until(lambda: not server.attempt(job_id).has_new_progress)


async def test_an_attempt_whose_lease_is_lost_is_stopped(world: World, server: Server) -> None:
    async with server.presence.sending_heartbeats():
        lost, stored = await server.begin(), await server.begin()
        await world.pass_time(lost, timedelta(minutes=1))
        await world.sweep()
        await world.control.execute(
            "SELECT pg_notify('wharf_heartbeat', %s)", (server.enrolled.server_id,)
        )

        assert await server.end_of(lost) is None
        assert server.attempt(stored).stop_reason is None

    assert (await world.job(lost))["failures"] == 1


async def test_a_superseded_worker_stops_all_work_and_leaves(world: World, server: Server) -> None:
    async with server.presence.sending_heartbeats():
        job_id = await server.begin()
        await server.enrolled.register("second", predecessor="first")
        await world.control.execute("SELECT pg_notify('wharf_heartbeat', '')")
        async with asyncio.timeout(5):
            await server.superseded.wait()

        assert await server.end_of(job_id) is None

    assert await world.state(job_id) == "queued"


async def test_an_invalid_notification_stops_nothing(world: World, server: Server) -> None:
    async with server.presence.sending_heartbeats():
        job_id = await server.begin()
        for payload in ("", "'", "x" * 7000, job_id, server.enrolled.server_id):
            await world.control.execute("SELECT pg_notify('wharf_heartbeat', %s)", (payload,))
        ended, _ = await asyncio.wait(server.tasks.values(), timeout=0.2)

        assert not ended
    assert await world.state(job_id) == "running"


# Draining and leaving


async def test_a_drain_is_reported_at_once_and_running_work_continues(
    world: World, server: Server
) -> None:
    await server.presence.register("first", ENGINE)

    async def is_reported() -> bool:
        return bool(await world.rows("SELECT 1 FROM server WHERE draining"))

    async with server.presence.sending_heartbeats():
        job_id = await server.begin()
        server.presence.drain()
        await wait_until(is_reported, seconds=1)
        unsent = await world.submit(server.enrolled)

        assert await world.release() == []
        assert not server.tasks[job_id].done()

    assert await world.state(unsent) == "queued"


async def test_a_leaving_worker_makes_its_server_unavailable_at_once(
    world: World, server: Server
) -> None:
    await server.presence.register("first", ENGINE)

    await server.presence.leave()

    [row] = await world.rows("SELECT incarnation FROM server")
    assert row["incarnation"] is None


async def test_an_unregistered_worker_does_not_report_that_it_leaves(world: World) -> None:
    enrolled = await world.add_server("another")
    server = make_server(world, enrolled, incarnation="another")

    await server.presence.leave()

    assert await world.rows("SELECT 1 FROM server WHERE incarnation = 'another'")


async def test_a_worker_that_cannot_report_its_leaving_raises_nothing(tmp_path: Path) -> None:
    async with mortal_world(tmp_path / "postgres") as (world, postgres):
        server = make_server(world, await world.add_server())
        await server.presence.register("first", ENGINE)
        postgres.kill()

        await server.presence.leave()


# The fence


def test_the_fence_is_well_before_the_end_of_the_lease() -> None:
    assert timedelta(seconds=2) <= LEASE - FENCE


async def test_a_worker_on_a_silent_link_stops_in_time(world: World) -> None:
    enrolled = await world.add_server()
    async with open_proxy(("127.0.0.1", world.database.server.port)) as proxy:
        url = f"postgresql://{proxy.host}/{world.database.name}"
        server = make_server(world, enrolled, url=url, **QUICK)
        async with server.presence.sending_heartbeats():
            job_id = await server.begin()
            await server.functions.heartbeat([])
            proxy.stall_after_bytes = 0
            begun = time.monotonic()
            # Other calls wait before the heartbeat, as when many attempts end at once.
            calls = [asyncio.create_task(server.functions.heartbeat([])) for _ in range(8)]
            assert await server.end_of(job_id) is None
            seconds = time.monotonic() - begun
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

    assert seconds < SHORT.total_seconds() + 0.5
    assert await world.state(job_id) == "running"


@asynccontextmanager
async def mortal_world(directory: Path) -> AsyncIterator[tuple[World, LocalPostgres]]:
    """Open a world with a separate database server, which may be killed."""
    postgres = start_postgres(directory)
    async with AsyncExitStack() as stack:
        stack.callback(postgres.directory.close)
        stack.callback(postgres.child.kill)
        yield (
            await stack.enter_async_context(open_world(Database.create(postgres))),
            postgres,
        )


def is_seen(database: Database) -> bool:
    [(seen,)] = database.execute("SELECT now() - seen_at < interval '500 ms' FROM server")
    return bool(seen)


async def test_a_worker_whose_heartbeats_are_answered_is_not_fenced(world: World) -> None:
    server = make_server(world, await world.add_server(), **QUICK)

    async with server.presence.sending_heartbeats():
        job_id = await server.begin()
        ended, _ = await asyncio.wait(server.tasks.values(), timeout=2 * SHORT.total_seconds())
        assert not ended
        server.runtime.stop_all(StopReason.DRAINED)
        await server.end_of(job_id)


async def test_a_worker_whose_database_is_killed_stops_its_work_and_continues_later(
    tmp_path: Path,
) -> None:
    async with mortal_world(tmp_path / "postgres") as (world, postgres):
        server = make_server(world, await world.add_server(), **QUICK)
        async with server.presence.sending_heartbeats():
            job_id = await server.begin()
            postgres.kill()
            begun = time.monotonic()

            assert await server.end_of(job_id) is None
            assert time.monotonic() - begun < SHORT.total_seconds() + 0.5

            again = LocalPostgres.start(
                tmp_path / "postgres", listen="127.0.0.1", port=postgres.port, durable=False
            )
            try:
                database = replace(world.database, server=again)
                await wait_until(lambda: is_seen(database))
                assert database.execute("SELECT state FROM job") == [("running",)]
            finally:
                again.stop()


# The Engine and the clock


@dataclass
class ComingEngine:
    """An Engine that is unreachable at first."""

    descriptions: list[dict[str, Any]] = field(default_factory=lambda: [{}, {"version": "30"}])

    async def describe(self) -> dict[str, Any]:
        return self.descriptions.pop(0) if len(self.descriptions) > 1 else self.descriptions[0]


async def test_an_engine_that_starts_later_or_is_updated_is_described(world: World) -> None:
    engine = ComingEngine()
    options: dict[str, Any] = {**QUICK, "describe_every": SHORT / 6}
    enrolled = await world.add_server(None)
    server = make_server(world, enrolled, describe=engine.describe, **options)

    async def shows(version: str) -> bool:
        [row] = await world.rows("SELECT engine FROM server")
        return bool(row["engine"] == {"version": version})

    await server.presence.register(None, await engine.describe())
    async with server.presence.sending_heartbeats():
        await wait_until(lambda: shows("30"))
        engine.descriptions = [{"version": "31"}]
        await wait_until(lambda: shows("31"))


async def test_a_heartbeat_reports_the_clock_difference(world: World) -> None:
    enrolled = await world.add_server(None)
    server = make_server(world, enrolled, **QUICK)

    async def is_reported() -> bool:
        [row] = await world.rows("SELECT clock_ahead_seconds AS ahead FROM server")
        return row["ahead"] is not None and abs(row["ahead"]) < 0.5

    await server.presence.register(None, ENGINE)
    async with server.presence.sending_heartbeats():
        await wait_until(is_reported)


# A server that was removed


async def test_a_worker_that_is_refused_asks_the_api_and_ends_if_it_was_removed(
    world: World,
) -> None:
    removed, api_asked = asyncio.Event(), asyncio.Event()

    async def is_removed() -> bool:
        api_asked.set()
        return True

    enrolled = await world.add_server(None)
    server = make_server(world, enrolled, is_removed=is_removed, on_removed=removed.set)
    await server.presence.register(None, ENGINE)
    async with server.presence.sending_heartbeats():
        await world.owner.execute("UPDATE server SET removed_at = now()")
        await world.control.execute("SELECT server_role_drop(%s)", (enrolled.server_id,))

        await asyncio.wait_for(removed.wait(), 10)

    assert api_asked.is_set()
    assert not server.superseded.is_set()


async def test_a_worker_that_is_refused_and_was_not_removed_continues(world: World) -> None:
    api_asked = asyncio.Event()

    async def is_removed() -> bool:
        api_asked.set()
        return False

    enrolled = await world.add_server(None)
    server = make_server(world, enrolled, is_removed=is_removed)
    await server.presence.register(None, ENGINE)
    async with server.presence.sending_heartbeats():
        role = sql.Identifier(enrolled.role)
        await world.owner.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(role))
        await world.owner.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s",
            (enrolled.role,),
        )
        await asyncio.wait_for(api_asked.wait(), 10)
        [before] = await world.rows("SELECT seen_at FROM server")

        await world.owner.execute(sql.SQL("ALTER ROLE {} LOGIN").format(role))

        await wait_until(lambda: _was_seen_after(world, before["seen_at"]))


async def _was_seen_after(world: World, moment: datetime) -> bool:
    return bool(await world.rows("SELECT FROM server WHERE seen_at > %s", moment))


def test_an_outage_is_logged_once_and_the_api_is_asked_at_intervals() -> None:
    outage = Outage()

    removed = [outage.record_failure(now) for now in (0.0, 0.3, 0.6)]
    is_asked = [outage.should_ask(now) for now in (1.0, 3.0, 10.0, 32.9, 33.0)]
    outage.end()

    assert removed == [True, False, False]
    assert is_asked == [False, True, False, False, True]
    assert not outage.should_ask(100.0)
    assert outage.record_failure(100.0)
