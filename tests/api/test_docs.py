"""The documentation as the whole application serves it."""

from starlette.applications import Starlette

from tests.api.asking import open_client


async def test_the_documentation_needs_no_key(app: Starlette) -> None:
    async with open_client(app, None) as nobody:
        answers = [await nobody.get(path) for path in ("/docs", "/docs/quickstart", "/docs/api")]

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert "registry.create" in answers[2].text
