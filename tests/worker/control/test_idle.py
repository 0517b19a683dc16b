"""The queries of control and a worker while there is nothing to do."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from shared.jobs.commands import Command
from shared.vault import KeyRing
from tests.databases import Database
from tests.worker.control.plane import Plane
from tests.world import World, open_world
from worker.jobs.attempt import Attempt
from worker.local.cluster import SUPERUSER
from worker.login import Grants
from worker.server.heartbeat import Presence
from worker.server.runtime import Runtime

SECONDS = 4
CONTROL_PER_SECOND = 20
WORKER_PER_SECOND = 1


@pytest.fixture
async def world(own_database: Database) -> AsyncIterator[World]:
    """An organization in a database whose settings the test changes: for new sessions only."""
    async with open_world(own_database) as opened:
        yield opened


async def test_idle_processes_ask_little(plane: Plane) -> None:
    """Counted by PostgreSQL's own log: every statement, those that begin and end included."""
    world = plane.world
    enrolled = await world.add_server(None)
    superuser = await world.connect(SUPERUSER)
    name, log = world.database.name, world.database.server.child.log
    functions = enrolled.functions("first")
    runtime = Runtime(enrolled.enrolment, KeyRing([enrolled.key]), functions, _no_work)
    presence = Presence(enrolled.enrolment, functions, {}, runtime.stop_all, lambda: None)
    await superuser.execute(f"ALTER DATABASE {name} SET log_statement = 'all'".encode())
    try:
        async with plane.open_control():
            await presence.register(None, {})
            async with presence.sending_heartbeats():
                await asyncio.sleep(1)  # what is done once, at the start, is not idling
                begun = log.stat().st_size
                await asyncio.sleep(SECONDS)
                requested = count(log, begun, name)
    finally:
        await superuser.execute(f"ALTER DATABASE {name} RESET log_statement".encode())

    assert 0 < requested["wharf_control"] <= CONTROL_PER_SECOND * SECONDS, requested
    # A heartbeat every three seconds, and a word on the other connection every five.
    assert 0 < requested[enrolled.role] <= WORKER_PER_SECOND * SECONDS, requested


def count(log: Path, begun: int, database: str) -> Counter[str]:
    """How many statements each role sent since then."""
    with log.open("rb") as lines:
        lines.seek(begun)
        text = lines.read().decode(errors="replace")
    found = re.findall(rf"(\S+)@{database} LOG:  (?:statement|execute [^:]*):", text)
    return Counter(found)


async def _no_work(_: Command, __: Grants, ___: Attempt) -> BaseModel:
    raise AssertionError
