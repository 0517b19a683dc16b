"""The three kinds of PostgreSQL that the product is run with."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.databases import Database, Server
from tests.outside import OutsidePostgres
from tests.world import World, open_world
from worker.local.cluster import find_program
from worker.local.compose import OWNER_SQL
from worker.local.postgres import DATABASE, OWNER, LocalPostgres

Make = Callable[[Path], OutsidePostgres]


def make_composed(directory: Path) -> OutsidePostgres:
    """As the image of PostgreSQL is started by compose.yaml: a superuser runs owner.sql in it."""
    server = OutsidePostgres.start(directory, programs=find_program)
    with server.administer() as superuser:
        superuser.execute(f"DROP ROLE {OWNER}".encode())
        superuser.execute(f"CREATE DATABASE {DATABASE}".encode())
    with server.administer(DATABASE) as superuser:
        superuser.execute(OWNER_SQL.format(password=server.passwords[OWNER]).encode())
    assert server.migrate(DATABASE) == []
    return server


def make_outside(directory: Path) -> OutsidePostgres:
    """As the pages ask for one, with what ``wharf migrate`` then asks of a superuser."""
    server = OutsidePostgres.start(directory)
    server.create_database(DATABASE)
    requested = server.migrate(DATABASE)
    assert [statement.split(" ON ")[0] for statement in requested] == [
        *["REVOKE CONNECT, TEMPORARY"] * 2,
        "REVOKE EXECUTE",
        "GRANT SET",
    ]
    with server.administer(DATABASE) as superuser:
        for statement in requested:
            superuser.execute(statement.encode())
    assert server.migrate(DATABASE) == []
    return server


@pytest.fixture(scope="module", params=["embedded", "compose", "outside"])
def kind(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    """The database of each kind in turn."""
    if request.param == "embedded":
        embedded: LocalPostgres = request.getfixturevalue("postgres")
        database = Database.create(embedded)
        yield database
        database.drop()
        return
    make: Make = make_composed if request.param == "compose" else make_outside
    server = make(tmp_path_factory.mktemp(request.param))
    database = Database(server, DATABASE)
    try:
        yield database
    finally:
        database.end_sessions()
        server.stop()


@pytest.fixture
def kind_server(kind: Database) -> Server:
    return kind.server


@pytest.fixture
async def world(kind: Database) -> AsyncIterator[World]:
    async with open_world(kind) as opened:
        yield opened
        await opened.empty()
