"""Read the audit log as it is exported: entries of a chain in order, and what control signed."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from shared.audit.checkpoints import Checkpoint, Segment, VerifyingKey
from shared.audit.entries import GENESIS, Entry
from shared.audit.lines import End, Line
from shared.database import Connection

MOMENT = 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
"""The format of ``at`` in what is hashed."""

PAGE = 1000

ENTRIES = f"""
SELECT organization_id, sequence, audit_event_id,
       to_char(at AT TIME ZONE 'UTC', '{MOMENT}') AS at, action, object_id, actor_id, data,
       encode(previous_hash, 'hex') AS previous_hash, encode(hash, 'hex') AS hash
  FROM audit_event
 WHERE organization_id = %(organization_id)s AND sequence > %(after)s
 ORDER BY sequence LIMIT %(limit)s
"""  # noqa: S608 - no input
CHECKPOINTS = """
SELECT organization_id, number, sequence, encode(hash, 'hex') AS hash, at, key_id, signature
  FROM audit_checkpoint
 WHERE organization_id = %(organization_id)s
   AND (%(after)s = 0 OR sequence > %(after)s)
   AND (%(until)s::bigint IS NULL OR sequence <= %(until)s)
 ORDER BY number
"""
SEGMENTS = """
SELECT organization_id, first_sequence, last_sequence,
       encode(previous_hash, 'hex') AS previous_hash, encode(last_hash, 'hex') AS last_hash,
       checkpoint, file, file_sha256, at, key_id, signature
  FROM audit_segment WHERE organization_id = %(organization_id)s ORDER BY first_sequence
"""
KEYS = "SELECT public_key FROM audit_key ORDER BY created_at"
END = """
SELECT sequence, encode(hash, 'hex') AS hash, checkpoint FROM audit_chain
 WHERE organization_id = %(organization_id)s
"""


@dataclass(frozen=True)
class LogPage:
    """A part of a log. ``keys`` and ``segments`` are in the first one, ``end`` in the last one."""

    keys: Sequence[VerifyingKey]
    segments: Sequence[Segment]
    checkpoints: Sequence[Checkpoint]
    entries: Sequence[Entry]
    end: End | None

    def lines(self) -> list[Line]:
        """Return the lines in their order."""
        end = [] if self.end is None else [self.end]
        return [*self.keys, *self.segments, *self.checkpoints, *self.entries, *end]


async def read_page(
    connection: Connection, organization_id: str, *, after: int = 0, limit: int = PAGE
) -> LogPage:
    """Return the part of the log after an entry, as it is at one moment.

    ``after`` is 0 for the first part, then the last entry's sequence number.
    """
    values: dict[str, Any] = {
        "organization_id": organization_id,
        "after": after,
        "limit": limit,
        "until": None,
    }
    async with connection.transaction():
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        entries = [Entry(**row) for row in await _rows(connection, ENTRIES, values)]
        is_last = len(entries) < limit
        values["until"] = None if is_last else entries[-1].sequence
        checkpoints = await _rows(connection, CHECKPOINTS, values)
        keys = await _rows(connection, KEYS, {}) if after == 0 else []
        segments = await _rows(connection, SEGMENTS, values) if after == 0 else []
        ends = await _rows(connection, END, values) if is_last else []
    end = End(**ends[0]) if ends else End(0, GENESIS, 0)
    return LogPage(
        [VerifyingKey.parse(row["public_key"]) for row in keys],
        [Segment(**row) for row in segments],
        [Checkpoint(**row) for row in checkpoints],
        entries,
        end if is_last else None,
    )


async def read_entries(
    connection: Connection, organization_id: str, *, after: int, limit: int
) -> list[Entry]:
    """Return the next entries after the one with this number."""
    values = {"organization_id": organization_id, "after": after, "limit": limit}
    return [Entry(**row) for row in await _rows(connection, ENTRIES, values)]


async def read_log(connection: Connection, organization_id: str) -> AsyncIterator[Line]:
    """Yield all lines of the log."""
    after = 0
    while True:
        page = await read_page(connection, organization_id, after=after)
        for line in page.lines():
            yield line
        if page.end is not None:
            return
        after = page.entries[-1].sequence


async def _rows(
    connection: Connection, statement: str, values: dict[str, Any]
) -> list[dict[str, Any]]:
    return await (await connection.execute(statement, values)).fetchall()
