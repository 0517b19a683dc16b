"""One crowded database for all that looks at it: a small one always, the large one when asked."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from tests.databases import Database
from tests.scale.rows import Size, load
from worker.local.cluster import SUPERUSER
from worker.local.postgres import LocalPostgres

SMALL = Size(finished=20_000, waiting=2_000, servers=200)
LARGE = Size(finished=1_000_000)


@dataclass(frozen=True)
class FilledDatabase:
    database: Database
    size: Size


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(SMALL, id="20k"),
        pytest.param(LARGE, id="1M", marks=[pytest.mark.scale, pytest.mark.timeout(1800)]),
    ],
)
def filled(postgres: LocalPostgres, request: pytest.FixtureRequest) -> Iterator[FilledDatabase]:
    size: Size = request.param
    database = Database.create(postgres)
    try:
        asyncio.run(_load(database, size))
        yield FilledDatabase(database, size)
    finally:
        database.drop()


async def _load(database: Database, size: Size) -> None:
    async with await AsyncConnection.connect(
        database.url(SUPERUSER), autocommit=True, row_factory=dict_row
    ) as superuser:
        await load(superuser, size)
