"""Both clients, on a socket of the real API."""

from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette

from tests.api.client.pipeline import Pipeline, open_pipeline
from tests.api.events.reading import serving


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def url(app: Starlette) -> AsyncIterator[str]:
    async with serving(app) as (_, url):
        yield url


@pytest.fixture
async def pipeline(kind: str, url: str) -> AsyncIterator[Pipeline]:
    async with open_pipeline(kind, url) as pipeline:
        yield pipeline
