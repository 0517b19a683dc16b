"""PostgreSQL is frozen: its connections stay open, and no byte of it arrives."""

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest
from psycopg.conninfo import conninfo_to_dict

from api.main import create_app
from shared.settings import ApiSettings
from tests.api.asking import ADMIN_KEY, open_client
from tests.databases import Database
from tests.proxies import Proxy, open_proxy


@pytest.fixture
async def proxy(database: Database) -> AsyncIterator[Proxy]:
    async with open_proxy(("127.0.0.1", database.server.port)) as proxy:
        yield proxy


@pytest.fixture
async def proxied(
    settings: ApiSettings, proxy: Proxy, database: Database
) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of an API that reaches PostgreSQL through the proxy."""
    password = conninfo_to_dict(database.url("wharf_api"))["password"]
    url = f"postgresql://wharf_api:{password}@{proxy.host}/{database.name}"
    app = create_app(ApiSettings.model_validate({**settings.model_dump(), "database_url": url}))
    async with app.router.lifespan_context(app):
        async with open_client(app, ADMIN_KEY) as client:
            yield client
        proxy.stall_after_bytes = None
        proxy.reset()


@pytest.mark.parametrize(
    ("path", "seconds"), [("/readyz", 5), ("/metrics", 7), ("/api/registry.all", 12)]
)
async def test_a_request_is_answered_503_while_the_database_is_frozen(
    proxied: httpx2.AsyncClient, proxy: Proxy, path: str, seconds: int
) -> None:
    """The first request is answered, and leaves an open connection in the pool."""
    assert (await proxied.get("/api/registry.all")).status_code == 200
    proxy.stall_after_bytes = 0

    async with asyncio.timeout(seconds):
        frozen = await proxied.get(path)

    proxy.stall_after_bytes = None
    proxy.reset()
    async with asyncio.timeout(20):
        while (await proxied.get("/api/registry.all")).status_code != 200:
            pass
    assert frozen.status_code == 503
