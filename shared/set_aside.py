"""Isolate rows: one that cannot be handled is set aside with the cause, and the others go on.

A row that is set aside is tried again after a pause, which grows. So it is left out of statements
about all rows until then. Its entry is shown by ``/metrics`` and ``wharf doctor``, and goes when
the row is not tried in vain any more.
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
"""In place of a row's id: the service itself failed."""

BUSY = {"08", "25", "40", "53", "55", "57", "58"}
"""Classes of SQLSTATE that say nothing about a row: connection, locks, resources, an operator."""

MOST_SIGNS = 500

KEEP = """
INSERT INTO set_aside (service, row_id, code, message)
VALUES (%(service)s, %(row_id)s, %(code)s, %(message)s)
ON CONFLICT (service, row_id) DO UPDATE SET
  code = excluded.code, message = excluded.message, failures = set_aside.failures + 1,
  next_at = now() + least(interval '2 seconds' * power(2, least(set_aside.failures, 12)),
                          interval '10 minutes')
"""
# Not tried again although it is time: it is not due any more, or it was handled.
FORGET = "DELETE FROM set_aside WHERE next_at < now() - interval '2 minutes'"

ASIDE = """EXISTS (
  SELECT FROM set_aside
   WHERE set_aside.service = '{service}' AND set_aside.row_id = {key} AND set_aside.next_at > now())
"""

log = structlog.get_logger()


@dataclass(frozen=True)
class Cause:
    """Why a row was set aside: no value of the row, so no secret."""

    code: str
    message: str

    @classmethod
    def of(cls, error: Exception) -> "Cause":
        match error:
            case WharfError():
                return cls(error.code, _bounded(error.message))
            case ValidationError():
                found = error.errors(include_url=False, include_context=False, include_input=False)
                places = [f"{'.'.join(map(str, each['loc']))}: {each['type']}" for each in found]
                return cls("document_unreadable", _bounded("; ".join(places[:5])))
            case psycopg.Error():
                return cls("database_error", f"{type(error).__name__}, SQLSTATE {error.sqlstate}")
            case ValueError() | TypeError() | LookupError() | AttributeError() | RecursionError():
                return cls("document_unreadable", f"{type(error).__name__} in {_location(error)}")
            case _:
                return cls("internal", f"{type(error).__name__} in {_location(error)}")


@dataclass(frozen=True)
class Rows:
    """A query for the rows that are due; it gives their ids as ``row_id``.

    It holds ``{rows}`` where a condition on ``key`` belongs, which is the expression of that id.
    """

    service: str
    key: str
    due: str

    @property
    def whole(self) -> str:
        """For all rows but those that are set aside."""
        condition = ASIDE.format(service=self.service, key=self.key)
        return self.due.replace("{rows}", f"NOT {condition}")

    @property
    def some(self) -> str:
        """For those rows whose ids are in ``ids``."""
        return self.due.replace("{rows}", f"{self.key} = ANY (%(ids)s)")


@dataclass(frozen=True)
class Change:
    """A statement that changes all rows that are due: what follows on ``WITH due AS (…)``."""

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
        return f"WITH due AS ({self.rows.whole}) SELECT row_id FROM due"  # noqa: S608 - ours


async def change(connection: Connection, what: Change, values: Row | None = None) -> list[Row]:
    """Change all rows that are due, if need be without those that cannot be changed.

    ``values`` are those of the statement's other parameters. Gives the rows that it returns.

    Raises:
        psycopg.Error: the database is away, or the statement fails for every row.
    """
    rows = await caught(_run(connection, what.whole, values))
    if not isinstance(rows, Exception):
        return rows
    if is_away(rows):
        raise rows
    due = await _run(connection, what.ids, values)
    return await _divide(connection, what, [row["row_id"] for row in due], values or {})


async def each(
    connection: Connection, rows: Rows, work: Callable[[Row], Awaitable[object]]
) -> None:
    """Do the work for each row that is due, in a transaction of its own."""
    for row in await (await connection.execute(rows.whole)).fetchall():
        await attempt(connection, rows.service, row["row_id"], partial(work, row))


async def attempt(
    connection: Connection, service: str, row_id: str, work: Callable[[], Awaitable[Result]]
) -> Result | None:
    """Do the work for one row in a transaction of its own; ``None`` where it was set aside.

    Raises:
        psycopg.Error: the database is away.
    """
    found = await caught(_within(connection, work))
    if not isinstance(found, Exception):
        return found
    if is_away(found):
        raise found
    await set_aside(connection, service, row_id, found)
    return None


async def set_aside(connection: Connection, service: str, row_id: str, error: Exception) -> None:
    """Keep why a row, or the service itself, failed."""
    cause = Cause.of(error)
    log.error("set_aside", service=service, row=row_id, code=cause.code, message=cause.message)
    values = {"service": service, "row_id": row_id, "code": cause.code, "message": cause.message}
    await connection.execute(KEEP, values)


async def caught(work: Awaitable[Result]) -> Result | Exception:
    """The result of the work, or the error that it ended with.

    The one broad ``except`` of control: a stored row may make any code raise anything, and may
    neither end the process nor keep other rows from being handled.
    """
    try:
        return await work
    except Exception as error:  # noqa: BLE001 - see above
        return error


def is_away(error: Exception) -> bool:
    """Return whether the database is away or busy, so that no row caused the error."""
    if not isinstance(error, psycopg.Error) or isinstance(error, psycopg.errors.PipelineAborted):
        return False
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return error.sqlstate[:2] in BUSY


async def _divide(
    connection: Connection, what: Change, ids: Sequence[str], values: Row
) -> list[Row]:
    """Change these rows, in halves where some cannot be changed, down to the single row."""
    if not ids:
        return []
    rows = await caught(_run(connection, what.some, {**values, "ids": ids}))
    if not isinstance(rows, Exception):
        return rows
    if is_away(rows):
        raise rows
    if len(ids) == 1:
        await set_aside(connection, what.rows.service, ids[0], rows)
        return []
    half = len(ids) // 2
    first = await _divide(connection, what, ids[:half], values)
    return [*first, *await _divide(connection, what, ids[half:], values)]


async def _run(connection: Connection, query: str, values: Row | None = None) -> list[Row]:
    if connection.info.transaction_status is TransactionStatus.IDLE:
        return await _ask(connection, query, values)  # a transaction by itself
    async with connection.transaction():
        return await _ask(connection, query, values)


async def _ask(connection: Connection, query: str, values: Row | None) -> list[Row]:
    cursor = await connection.execute(query, values)
    return await cursor.fetchall() if cursor.description else []


async def _within(connection: Connection, work: Callable[[], Awaitable[Result]]) -> Result:
    async with connection.transaction():
        return await work()


def _bounded(text: str) -> str:
    """Of printable signs only, and not long: some of it may come from a stored document."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)[:MOST_SIGNS]


def _location(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).stem}:{frames[-1].lineno}" if frames else "?"
