"""The pool and the listener, on a database that goes away and comes back."""

import asyncio
from collections.abc import Callable

import psycopg
import pytest
from psycopg import errors

from shared.database import listening, open_pool
from tests.databases import Database
from tests.proxies import open_proxy
from tests.waiting import wait_until
from tests.world import World
from worker.local.postgres import LocalPostgres


class Listener:
    """The notifications that arrived, and a way to wait for them."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []
        self._news = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, channel: str, payload: str) -> None:
        self.heard.append((channel, payload))
        task = asyncio.ensure_future(self._tell())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def until(self, condition: Callable[[list[tuple[str, str]]], bool]) -> None:
        async with asyncio.timeout(10), self._news:
            await self._news.wait_for(lambda: condition(self.heard))

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()


async def end_sessions(postgres: LocalPostgres, role: str) -> None:
    """End what that role has open, as a restart of the server would."""
    with postgres.administer() as superuser:
        superuser.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = %s",
            (role,),
        )


async def test_the_pool_gives_rows_as_dictionaries_and_commits_each_statement(
    database: Database,
) -> None:
    async with open_pool(database.url("wharf_api")) as pool, pool.connection() as connection:
        row = await (await connection.execute("SELECT 1 AS one")).fetchone()
        assert connection.autocommit

    assert row == {"one": 1}


async def test_the_pool_waits_for_nothing_without_end_and_keeps_no_transaction_open(
    database: Database,
) -> None:
    async with open_pool(database.url("wharf_api")) as pool, pool.connection() as connection:
        rows = await (
            await connection.execute(
                "SELECT setting FROM pg_settings"
                " WHERE name IN ('idle_in_transaction_session_timeout', 'lock_timeout',"
                " 'statement_timeout') ORDER BY name"
            )
        ).fetchall()

    assert [row["setting"] for row in rows] == ["5000", "5000", "30000"]


async def test_the_pool_survives_a_restart_of_the_database(
    database: Database, postgres: LocalPostgres
) -> None:
    async with open_pool(database.url("wharf_api")) as pool:
        async with pool.connection() as connection:
            await connection.execute("SELECT 1")
        await end_sessions(postgres, "wharf_api")

        async with pool.connection() as connection:
            assert await (await connection.execute("SELECT 1 AS one")).fetchone() == {"one": 1}


async def test_the_pool_opens_while_the_database_is_away(database: Database) -> None:
    async with open_proxy(("127.0.0.1", database.server.port)) as proxy:
        host = proxy.host
    gone = f"postgresql://wharf_api:x@{host}/wharf"

    async with open_pool(gone) as pool:
        with pytest.raises(psycopg.OperationalError):
            await pool.getconn(timeout=0.2)


async def test_a_listener_first_hears_that_anything_may_have_changed(database: Database) -> None:
    listener = Listener()

    async with listening(database.url("wharf_api"), ("wharf_job",), listener):
        assert listener.heard == [("", "")]


async def test_a_listener_hears_its_channels_and_no_others(world: World) -> None:
    listener = Listener()

    async with listening(
        world.database.url("wharf_api"), ("wharf_job", "wharf_heartbeat"), listener
    ):
        for channel in ("wharf_release", "wharf_heartbeat", "wharf_job"):
            await world.control.execute("SELECT pg_notify(%s, 'x')", (channel,))
        await listener.until(lambda heard: ("wharf_job", "x") in heard)

    assert listener.heard == [("", ""), ("wharf_heartbeat", "x"), ("wharf_job", "x")]


async def test_a_listener_that_was_cut_off_listens_again_and_says_so(
    world: World, postgres: LocalPostgres
) -> None:
    listener = Listener()

    async with listening(world.database.url("wharf_api"), ("wharf_job",), listener):
        await end_sessions(postgres, "wharf_api")
        await listener.until(lambda heard: heard == [("", ""), ("", "")])
        await world.control.execute("SELECT pg_notify('wharf_job', 'again')")
        await listener.until(lambda heard: ("wharf_job", "again") in heard)


async def test_a_listener_leaves_no_session_behind(world: World) -> None:
    async with listening(world.database.url("wharf_control"), ("wharf_job",), Listener()):
        pass

    async def is_alone() -> bool:
        query = "SELECT 1 FROM pg_stat_activity WHERE query = 'LISTEN \"wharf_job\"'"
        return not await world.rows(query)

    await wait_until(is_alone)


async def test_a_statement_of_the_pool_does_not_wait_for_ever_for_a_lock(world: World) -> None:
    await world.submit(await world.add_server())

    async with open_pool(world.database.url("wharf_control")) as pool, pool.connection() as waiting:
        await waiting.execute("SET lock_timeout = '50ms'")
        async with world.owner.transaction():
            await world.owner.execute("LOCK TABLE job")
            with pytest.raises(errors.LockNotAvailable):
                await waiting.execute("SELECT 1 FROM job")
