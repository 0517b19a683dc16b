"""Compare queries with a million finished jobs to queries with none."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from tests.bench.measure import Figure
from tests.bench.scene import Scene
from tests.databases import Database, start_postgres
from tests.scale.clock import Clock
from tests.scale.conftest import LARGE
from tests.scale.rows import load, load_finished
from worker.local.cluster import SUPERUSER

Times = dict[str, float]


def measure(scene: Scene) -> Iterator[Figure]:
    postgres = start_postgres(scene.directory / "million")
    try:
        database = Database.create(postgres)
        before, after = asyncio.run(_times(database))
    finally:
        postgres.stop()
    for name, milliseconds in after.items():
        what = f"{name}, {LARGE.finished:,} ended jobs"
        yield Figure(what, "ms", milliseconds, before[name], "none ended", "flat")


async def _times(database: Database) -> tuple[Times, Times]:
    async with await AsyncConnection.connect(
        database.url(SUPERUSER), autocommit=True, row_factory=dict_row
    ) as superuser:
        await load(superuser, replace(LARGE, finished=0))
        before = await Clock(superuser).all()
        await load_finished(superuser, LARGE)
        return before, await Clock(superuser).all()
