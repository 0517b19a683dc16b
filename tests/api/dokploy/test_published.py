"""The table of Dokploy's procedures, compared with what the API really answers."""

import re

import httpx2
import pytest
from starlette.applications import Starlette

from api.http.published import DIFFERENCES, DIFFERS, REASONS, WORKS, read_published
from api.routers import PROCEDURES
from tests.api.asking import open_client

ROWS = read_published()
REFUSED = sorted(name for name, row in ROWS.items() if not row.is_offered)


def test_the_table_has_every_published_procedure_once_in_order() -> None:
    assert len(ROWS) == 604
    assert list(ROWS) == sorted(ROWS)
    assert {row.kind for row in ROWS.values()} == {"query", "mutation"}


def test_exactly_the_procedures_that_are_here_are_offered_with_their_kind() -> None:
    assert {name for name, row in ROWS.items() if row.is_offered} == ROWS.keys() & PROCEDURES.keys()
    kinds = {name: PROCEDURES[name].kind for name, row in ROWS.items() if row.is_offered}
    assert {name for name, kind in kinds.items() if ROWS[name].kind != kind} == set()


def test_every_difference_and_every_reason_is_said_once_and_used() -> None:
    verdicts = {row.verdict for row in ROWS.values()}

    assert {name for name, row in ROWS.items() if row.verdict == DIFFERS} == set(DIFFERENCES)
    assert verdicts - {WORKS, DIFFERS} == set(REASONS)


async def test_what_is_not_offered_says_why_and_is_not_a_404(client: httpx2.AsyncClient) -> None:
    for name in REFUSED:
        by_get = await client.get(f"/api/{name}")
        by_post = await client.post(f"/api/trpc/{name}", json={"json": {"id": "x"}})

        body, shape = by_get.json(), by_post.json()["error"]["json"]
        assert (by_get.status_code, body["code"]) == (501, "NOT_IMPLEMENTED"), name
        assert body["data"]["cause"]["code"] == "not_offered"
        assert re.fullmatch(rf"{re.escape(name)} is not offered: .+", body["message"])
        assert (by_post.status_code, shape["code"]) == (501, -32603), name
        assert shape["message"] == body["message"]


async def test_a_name_that_dokploy_does_not_have_either_is_a_404(
    client: httpx2.AsyncClient,
) -> None:
    assert (await client.get("/api/mariadb.drop")).status_code == 404
    assert (await client.get("/api/trpc/mariadb.drop")).status_code == 404


@pytest.mark.parametrize("name", ["mariadb.create", "domain.all"])
async def test_a_caller_without_a_key_learns_nothing_of_it(app: Starlette, name: str) -> None:
    async with open_client(app, None) as nobody:
        assert (await nobody.post(f"/api/{name}", json={})).status_code == 401


async def test_what_is_offered_is_found(client: httpx2.AsyncClient) -> None:
    for name in sorted(ROWS.keys() & PROCEDURES.keys()):
        method = PROCEDURES[name].method
        answer = await client.request(method, f"/api/{name}")

        assert answer.status_code not in {404, 405, 501}, name
