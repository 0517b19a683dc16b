"""The API of the tests on a socket."""

from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette

from tests.api.events.reading import serving


@pytest.fixture
async def url(app: Starlette) -> AsyncIterator[str]:
    async with serving(app) as (_, url):
        yield url
