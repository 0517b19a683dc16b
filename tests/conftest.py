"""What all tests share: a real PostgreSQL, and a fresh migrated database for whoever asks."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.databases import Database, start_postgres
from tests.world import World, open_world
from worker.local.postgres import LocalPostgres


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPostgres]:
    """The embedded server of this test process."""
    server = start_postgres(tmp_path_factory.mktemp("postgres"))
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def own_database(postgres: LocalPostgres) -> Iterator[Database]:
    """An empty, migrated database that nobody else uses."""
    fresh = Database.create(postgres)
    try:
        yield fresh
    finally:
        fresh.drop()


@pytest.fixture
def database(own_database: Database) -> Database:
    """The database of a test; folders of many tests share one instead."""
    return own_database


@pytest.fixture(scope="session")
def shared_database(postgres: LocalPostgres) -> Iterator[Database]:
    """A migrated database that each world leaves empty: five times as fast as one of its own."""
    fresh = Database.create(postgres)
    try:
        yield fresh
    finally:
        fresh.drop()


@pytest.fixture
async def world(shared_database: Database) -> AsyncIterator[World]:
    """An organization in an empty database."""
    async with open_world(shared_database) as opened:
        yield opened
        await opened.empty()
