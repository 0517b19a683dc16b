"""Every attack is made on the embedded PostgreSQL and on one as others run it."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.api.conftest import app, client, settings, vault, vault_key
from tests.databases import TEMPLATE, Database, Server
from tests.outside import OutsidePostgres
from tests.world import World, open_world
from worker.local.postgres import LocalPostgres

__all__ = ["app", "client", "settings", "vault", "vault_key"]
"""The API's fixtures, which use the database from here."""


@pytest.fixture(scope="session")
def outside_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OutsidePostgres]:
    """A server with the migrated template in it, and nothing else of ours."""
    server = OutsidePostgres.start(tmp_path_factory.mktemp("outside"))
    try:
        server.create_database(TEMPLATE)
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session", params=["embedded", "outside"])
def attacked_server(request: pytest.FixtureRequest) -> Server:
    """Each kind of PostgreSQL in turn."""
    if request.param == "outside":
        outside: OutsidePostgres = request.getfixturevalue("outside_postgres")
        return outside
    embedded: LocalPostgres = request.getfixturevalue("postgres")
    return embedded


@pytest.fixture(scope="session")
def attacked_database(attacked_server: Server) -> Iterator[Database]:
    """A migrated database that each world leaves empty."""
    fresh = Database.create(attacked_server)
    try:
        yield fresh
    finally:
        fresh.drop()


@pytest.fixture
def database(attacked_server: Server) -> Iterator[Database]:
    """An empty, migrated database that nobody else uses."""
    fresh = Database.create(attacked_server)
    try:
        yield fresh
    finally:
        fresh.drop()


@pytest.fixture
async def world(attacked_database: Database) -> AsyncIterator[World]:
    """An organization in an empty database."""
    async with open_world(attacked_database) as opened:
        yield opened
        await opened.empty()
