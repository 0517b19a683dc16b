"""The reads of a statement: its plan, or the tables that it read from end to end."""

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

import psycopg
from psycopg.types.string import TextLoader

from shared.database import Connection

Values = Mapping[str, Any] | Sequence[Any]

SCANNED = """
SELECT relname, seq_scan FROM pg_stat_xact_user_tables WHERE seq_scan > 0 AND schemaname = 'public'
"""


async def scanned_by_plan(
    connection: Connection, statement: str, values: Values | None = None
) -> set[str]:
    """The tables that the statement would read from end to end, by its plan."""
    # The values stand in the text: a plan is asked for just these.
    cursor = psycopg.AsyncClientCursor(connection)
    # A plan may be nested more deeply than a document that the product reads.
    cursor.adapters.register_loader("json", TextLoader)
    await cursor.execute(f"EXPLAIN (FORMAT JSON) {statement}".encode(), values)
    row = await cursor.fetchone()
    assert row is not None
    [plan] = json.loads(row["QUERY PLAN"])
    return {
        node["Relation Name"] for node in _nodes(plan["Plan"]) if node["Node Type"] == "Seq Scan"
    }


async def scanned_by_running(
    connection: Connection, run: Callable[[], Awaitable[object]]
) -> set[str]:
    """The tables that were read from end to end, by functions and triggers too; rolled back."""
    # What this session did before has been counted by then, and is not counted as ours.
    await connection.execute("SELECT pg_stat_force_next_flush()")
    async with connection.transaction(force_rollback=True):
        await run()
        rows = await (await connection.execute(SCANNED)).fetchall()
    return {row["relname"] for row in rows}


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)
