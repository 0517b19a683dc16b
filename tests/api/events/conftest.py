from collections.abc import AsyncIterator

import httpx2
import pytest
from starlette.applications import Starlette

from tests.api.events.reading import serving
from tests.api.fleet import TestServer


@pytest.fixture
async def url(app: Starlette) -> AsyncIterator[str]:
    """The application on a socket."""
    async with serving(app) as (_, url):
        yield url


@pytest.fixture
async def job_id(client: httpx2.AsyncClient, server: TestServer) -> str:
    """A queued pull."""
    found: str = (await client.post("/api/image.pull", json={"image": "nginx"})).json()["jobId"]
    return found
