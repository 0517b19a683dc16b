"""The cost of queries with no finished jobs and with a million."""

from collections.abc import AsyncIterator
from dataclasses import replace

import psycopg
import pytest
from psycopg.rows import dict_row

from shared.database import Connection
from tests.databases import Database
from tests.scale.clock import Clock
from tests.scale.conftest import LARGE
from tests.scale.rows import load, load_finished
from worker.local.cluster import SUPERUSER

pytestmark = [pytest.mark.scale, pytest.mark.timeout(1800)]


@pytest.fixture
async def superuser(database: Database) -> AsyncIterator[Connection]:
    async with await psycopg.AsyncConnection.connect(
        database.url(SUPERUSER), autocommit=True, row_factory=dict_row
    ) as connection:
        yield connection


async def test_ended_jobs_cost_waiting_ones_next_to_nothing(
    superuser: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    await load(superuser, replace(LARGE, finished=0))
    before = await Clock(superuser).all()
    await load_finished(superuser, LARGE)
    after = await Clock(superuser).all()

    with capsys.disabled():
        print(f"\n{LARGE.waiting} waiting on {LARGE.servers} servers, p50 in ms:")  # noqa: T201
        for name, milliseconds in after.items():
            ratio = milliseconds / before[name]
            line = f"  {name}: {before[name]:.2f} with nothing ended, {milliseconds:.2f}"
            print(f"{line} with {LARGE.finished} ended, ratio {ratio:.2f}")  # noqa: T201
    # Ten times would be a scan; the machine's mood is far below that.
    assert all(milliseconds < 10 * before[name] for name, milliseconds in after.items()), after
