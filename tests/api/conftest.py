"""The application on a real database, asked in process."""

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest
from starlette.applications import Starlette

from api.main import create_app
from shared.settings import ApiSettings
from shared.vault import KeyRing, PrivateKey
from tests.api.asking import ADMIN_KEY, open_client
from tests.api.fleet import TestServer, open_server
from tests.databases import Database


@pytest.fixture(scope="session")
def vault_key() -> PrivateKey:
    return PrivateKey.generate()


@pytest.fixture
def vault(vault_key: PrivateKey) -> KeyRing:
    return KeyRing([vault_key])


@pytest.fixture
def database(shared_database: Database) -> Iterator[Database]:
    """The database that the tests of the API share: each leaves it empty.

    A test that changes tables, or rights on them, takes `own_database`.
    """
    yield shared_database
    shared_database.empty()


@pytest.fixture
def settings(database: Database, vault_key: PrivateKey, tmp_path: Path) -> ApiSettings:
    return ApiSettings.model_validate(
        {
            "database_url": database.url("wharf_api"),
            "vault_public_key": str(vault_key.public),
            "admin_key": ADMIN_KEY,
            "server_database_url": database.network_url(),
            "server_broker_url": "redis://127.0.0.1:6379/0",
            "data_dir": tmp_path / "data",
        }
    )


@pytest.fixture
async def app(settings: ApiSettings) -> AsyncIterator[Starlette]:
    """The running application; a request waits ten seconds for a job."""
    app = create_app(settings, patience=timedelta(seconds=10))
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def client(app: Starlette) -> AsyncIterator[httpx2.AsyncClient]:
    """A client with the admin key."""
    async with open_client(app, ADMIN_KEY) as client:
        yield client


@pytest.fixture
async def stranger(app: Starlette, database: Database) -> AsyncIterator[httpx2.AsyncClient]:
    """A client with the admin key of another organization."""
    async with open_client(app, add_organization(database)) as client:
        yield client


@pytest.fixture
async def member(app: Starlette, client: httpx2.AsyncClient) -> AsyncIterator[httpx2.AsyncClient]:
    """A client whose key may use things and not change them."""
    created = (await client.post("/api/apiKey.create", json={"name": "pipeline"})).json()
    async with open_client(app, created["key"]) as client_of_member:
        yield client_of_member


@pytest.fixture
async def server(client: httpx2.AsyncClient, database: Database) -> AsyncIterator[TestServer]:
    """An online server of the client's organization."""
    async with open_server(client, database) as server:
        yield server


def add_organization(database: Database) -> str:
    """Another organization; gives its admin key."""
    key = "another organization's admin key 0123456789"
    database.execute("INSERT INTO organization VALUES ('org-2', 'second')")
    database.execute(
        "INSERT INTO api_key (api_key_id, organization_id, name, role, start, key_hash)"
        " VALUES ('key-2', 'org-2', 'second', 'admin', '', sha256(sha256(%s::bytea)))",
        key.encode(),
    )
    return key
