"""Statements that a session's transaction sends on together."""

from collections.abc import Sequence

import psycopg
import pytest

from api.procedure.sessions import Sessions, open_sessions, pipeline_of
from tests.databases import Database
from worker.local.postgres import OWNER

ADD = "INSERT INTO organization (organization_id, name) VALUES (%s, 'name')"


async def add(sessions: Sessions, ids: Sequence[str]) -> None:
    async with sessions.begin() as session, pipeline_of(session) as connection:
        await connection.execute(ADD, ids[:1])
        await connection.cursor().executemany(ADD, [[each] for each in ids[1:]])


def stored(database: Database) -> list[object]:
    return [each for (each,) in database.execute("SELECT organization_id FROM organization")]


async def test_statements_of_a_pipeline_are_stored_with_the_sessions_transaction(
    database: Database,
) -> None:
    async with open_sessions(database.url(OWNER)) as sessions:
        await add(sessions, ["one", "two", "three"])

    assert sorted(map(str, stored(database))) == ["one", "three", "two"]


async def test_a_failed_statement_of_a_pipeline_is_raised_and_nothing_is_stored(
    database: Database,
) -> None:
    async with open_sessions(database.url(OWNER)) as sessions:
        with pytest.raises(psycopg.errors.UniqueViolation):
            await add(sessions, ["one", "one", "two"])
        assert stored(database) == []

        await add(sessions, ["three"])

    assert stored(database) == ["three"]
