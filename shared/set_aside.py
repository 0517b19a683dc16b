"""Isolate bad rows: one that cannot be handled is set aside with the cause; the others continue.

A row that is set aside is retried after a growing pause; until then, statements about all rows skip
it. ``/metrics`` and ``wharf doctor`` show its entry, which is deleted when the row no longer fails.
"""

import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import structlog
from psycopg.pq import TransactionStatus
from pydantic import ValidationError

from shared.database import Connection
from shared.errors import WharfError

Row = dict[str, Any]
Result = TypeVar("Result")

SERVICE = ""
"""The row id for a failure of the service itself."""

BUSY = {"08", "25", "40", "53", "55", "57", "58"}
"""SQLSTATE classes not caused by a row: connection, locks, resources, an operator."""

MAX_CHARACTERS = 500

STORE = """
INSERT INTO set_aside (service, row_id, code, message)
VALUES (%(service)s, %(row_id)s, %(code)s, %(message)s)
ON CONFLICT (service, row_id) DO UPDATE SET
  code = excluded.code, message = excluded.message, failures = set_aside.failures + 1,
  next_at = now() + least(interval '2 seconds' * power(2, least(set_aside.failures, 12)),
                          interval '10 minutes')
"""
# Two minutes overdue: the row was handled meanwhile, or is no longer selected.
DELETE_EXPIRED = "DELETE FROM set_aside WHERE next_at < now() - interval '2 minutes'"

ASIDE = """EXISTS (
  SELECT FROM set_aside
   WHERE set_aside.service = '{service}' AND set_aside.row_id = {key} AND set_aside.next_at > now())
"""

log = structlog.get_logger()


@dataclass(frozen=True)
class Cause:
    """The cause why a row was set aside; without values of the row, so without secrets."""

    code: str
    message: str

    @classmethod
    def of(cls, error: Exception) -> "Cause":
        match error:
            case WharfError():
                return cls(error.code, _bounded(error.message))
            case ValidationError():
                found = error.errors(include_url=False, include_context=False, include_input=False)
                issues = [f"{'.'.join(map(str, each['loc']))}: {each['type']}" for each in found]
                return cls("document_unreadable", _bounded("; ".join(issues[:5])))
            case psycopg.Error():
                return cls("database_error", f"{type(error).__name__}, SQLSTATE {error.sqlstate}")
            case ValueError() | TypeError() | LookupError() | AttributeError() | RecursionError():
                return cls("document_unreadable", f"{type(error).__name__} in {_location(error)}")
            case _:
                return cls("internal", f"{type(error).__name__} in {_location(error)}")


@dataclass(frozen=True)
class Rows:
    """A query for the rows that are due; it returns their ids as ``row_id``.

    It contains ``{rows}`` for a condition on ``key``, the SQL expression of that id.
    """

    service: str
    key: str
    due: str

    @property
    def whole(self) -> str:
        """Return the query for all rows that are not set aside."""
        condition = ASIDE.format(service=self.service, key=self.key)
        return self.due.replace("{rows}", f"NOT {condition}")

    @property
    def some(self) -> str:
        """Return the query for the rows whose ids are in ``ids``."""
        return self.due.replace("{rows}", f"{self.key} = ANY (%(ids)s)")


@dataclass(frozen=True)
class Change:
    """A statement that changes all rows that are due; it follows ``WITH due AS (…)``."""

    rows: Rows
    statement: str

    @property
    def whole(self) -> str:
        return f"WITH due AS ({self.rows.whole}){self.statement}"

    @property
    def some(self) -> str:
        return f"WITH due AS ({self.rows.some}){self.statement}"

    @property
    def ids(self) -> str:
        return f"WITH due AS ({self.rows.whole}) SELECT row_id FROM due"  # noqa: S608 - no input


async def change(connection: Connection, statement: Change, values: Row | None = None) -> list[Row]:
    """Change all rows that are due, except those that cannot be changed.

    ``values`` are the statement's other parameters. Return the rows that the statement returns.

    Raises:
        psycopg.Error: the database is unavailable, or the statement fails for every row.
    """
    rows = await caught(_run(connection, statement.whole, values))
    if not isinstance(rows, Exception):
        return rows
    if is_unavailable(rows):
        raise rows
    due = await _run(connection, statement.ids, values)
    return await _divide(connection, statement, [row["row_id"] for row in due], values or {})


async def each(
    connection: Connection, rows: Rows, work: Callable[[Row], Awaitable[object]]
) -> None:
    """Do the work for each row that is due, each in its own transaction."""
    for row in await (await connection.execute(rows.whole)).fetchall():
        await attempt(connection, rows.service, row["row_id"], partial(work, row))


async def attempt(
    connection: Connection, service: str, row_id: str, work: Callable[[], Awaitable[Result]]
) -> Result | None:
    """Do the work for one row in its own transaction; return ``None`` if it was set aside.

    Raises:
        psycopg.Error: the database is unavailable.
    """
    found = await caught(_within(connection, work))
    if not isinstance(found, Exception):
        return found
    if is_unavailable(found):
        raise found
    await set_aside(connection, service, row_id, found)
    return None


async def set_aside(connection: Connection, service: str, row_id: str, error: Exception) -> None:
    """Store and log why a row, or the service itself, failed."""
    cause = Cause.of(error)
    log.error("set_aside", service=service, row=row_id, code=cause.code, message=cause.message)
    values = {"service": service, "row_id": row_id, "code": cause.code, "message": cause.message}
    await connection.execute(STORE, values)


async def caught(work: Awaitable[Result]) -> Result | Exception:
    """Return the result of the work, or its exception.

    The one broad ``except`` of control: a bad row may cause any exception, but must neither end the
    process nor block other rows.
    """
    try:
        return await work
    except Exception as error:  # noqa: BLE001 - see above
        return error


def is_unavailable(error: Exception) -> bool:
    """Return whether the database is unavailable or busy, so that no row caused the error."""
    if not isinstance(error, psycopg.Error) or isinstance(error, psycopg.errors.PipelineAborted):
        return False
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return error.sqlstate[:2] in BUSY


async def _divide(
    connection: Connection, statement: Change, ids: Sequence[str], values: Row
) -> list[Row]:
    """Change these rows; on an error divide them into halves, down to the single row."""
    if not ids:
        return []
    rows = await caught(_run(connection, statement.some, {**values, "ids": ids}))
    if not isinstance(rows, Exception):
        return rows
    if is_unavailable(rows):
        raise rows
    if len(ids) == 1:
        await set_aside(connection, statement.rows.service, ids[0], rows)
        return []
    half = len(ids) // 2
    first = await _divide(connection, statement, ids[:half], values)
    return [*first, *await _divide(connection, statement, ids[half:], values)]


async def _run(connection: Connection, query: str, values: Row | None = None) -> list[Row]:
    if connection.info.transaction_status is TransactionStatus.IDLE:
        return await _execute(connection, query, values)  # a transaction by itself
    async with connection.transaction():
        return await _execute(connection, query, values)


async def _execute(connection: Connection, query: str, values: Row | None) -> list[Row]:
    cursor = await connection.execute(query, values)
    return await cursor.fetchall() if cursor.description else []


async def _within(connection: Connection, work: Callable[[], Awaitable[Result]]) -> Result:
    async with connection.transaction():
        return await work()


def _bounded(text: str) -> str:
    """Bound the length and remove control characters: it may come from a stored document."""
    return "".join(char if char.isprintable() else "?" for char in text)[:MAX_CHARACTERS]


def _location(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).stem}:{frames[-1].lineno}" if frames else "?"
