"""Rows of which the first one stands, whoever stores it."""

from typing import Any

from shared.database import Pool


async def insert_or_read(pool: Pool, statement: str, values: dict[str, Any]) -> dict[str, Any]:
    """The row that ``statement`` inserts, or reads where somebody has stored it before."""
    while True:
        async with pool.connection() as connection:
            row = await (await connection.execute(statement, values)).fetchone()
        if row is not None:
            return row
        # Somebody else's row was stored while ours was tried: now it is there to be read.
