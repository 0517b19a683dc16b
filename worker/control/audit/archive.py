"""Close old segments of the audit log: export them to files, and only then remove their entries.

A segment ends at a checkpoint. Its file is written, read again and verified before control signs
the statement that closes the segment and the database removes the entries, in one transaction. The
statement stays: the chain continues from its last hash.
"""

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import structlog
from psycopg.types.json import Jsonb

from shared.audit.checkpoints import Checkpoint, Segment
from shared.audit.entries import Entry
from shared.audit.lines import End, Line, parse_line, write_line
from shared.audit.store import read_log
from shared.audit.verification import Verification
from shared.database import Connection
from shared.set_aside import caught, is_unavailable, set_aside
from shared.vault import KeyRing
from worker.control.audit.signing import open_signing_key, show_now
from worker.control.service import Service

SERVICE = "audit_archive"
INTERVAL = timedelta(minutes=10)
TIMEOUT = timedelta(minutes=5)
MAX_ENTRIES = 50_000
"""The entries of one file, about; more are closed in the next rounds."""

DUE = """
SELECT c.organization_id, max(c.number) AS number, max(c.sequence) AS sequence
  FROM audit_checkpoint c JOIN audit_event e USING (organization_id, sequence)
  CROSS JOIN LATERAL (SELECT coalesce(max(s.last_sequence), 0) AS closed FROM audit_segment s
                       WHERE s.organization_id = c.organization_id) former
 WHERE e.at < now() - %(age)s AND c.sequence <= former.closed + %(limit)s
   AND NOT EXISTS (
     SELECT FROM unnest(%(destinations)s::text[]) AS destination (name)
       LEFT JOIN audit_forwarded f
         ON f.destination = destination.name AND f.organization_id = c.organization_id
      WHERE c.sequence > coalesce(f.sequence, 0))
 GROUP BY c.organization_id
"""
CLOSE = "SELECT audit_segment_close(%s) AS removed"

log = structlog.get_logger()


@dataclass(frozen=True)
class Archive:
    """The service that closes segments of entries older than ``age`` into ``directory``.

    It closes what all ``destinations`` have, which are names of `destinations.Destination`.
    """

    vault: KeyRing
    directory: Path
    age: timedelta
    destinations: Sequence[str] = ()

    def service(self) -> Service:
        work = Service.with_connection(SERVICE, self.close_due, INTERVAL)
        return replace(work, timeout=TIMEOUT)

    async def close_due(self, connection: Connection) -> None:
        """Close a segment of each log that has entries of this age."""
        values = {"age": self.age, "limit": MAX_ENTRIES, "destinations": list(self.destinations)}
        rows = await (await connection.execute(DUE, values)).fetchall()
        for row in rows:
            until = End(row["sequence"], "", row["number"])
            # Not in one transaction: the log is read as it is at one moment for each part.
            error = await caught(self._close(connection, row["organization_id"], until))
            if error is not None and is_unavailable(error):
                raise error
            if error is not None:
                await set_aside(connection, SERVICE, row["organization_id"], error)

    async def _close(self, connection: Connection, organization_id: str, until: End) -> None:
        lines = [line async for line in _read_until(connection, organization_id, until)]
        entries = [line for line in lines if isinstance(line, Entry)]
        first, last = entries[0], entries[-1]
        name = f"audit-{organization_id}-{first.sequence:012}-{last.sequence:012}.jsonl"
        digest, verification = await asyncio.to_thread(_write, self.directory / name, lines)
        for found in verification.findings:
            log.error(
                "audit_not_verified",
                organization=organization_id,
                code=found.code,
                sequence=found.sequence,
            )
        if verification.findings:
            # Nothing is removed from a log that was changed: it is the evidence.
            return
        key = await open_signing_key(connection, self.vault)
        segment = Segment(
            organization_id=organization_id,
            first_sequence=first.sequence,
            last_sequence=last.sequence,
            previous_hash=first.previous_hash,
            last_hash=last.hash,
            checkpoint=until.checkpoint,
            file=name,
            file_sha256=digest,
            at=show_now(),
            key_id=key.public.key_id,
        )
        stored = vars(replace(segment, signature=key.sign(segment))) | {
            "previous_hash": f"\\x{segment.previous_hash}",
            "last_hash": f"\\x{segment.last_hash}",
        }
        await connection.execute(CLOSE, (Jsonb(stored),))
        log.info("audit_segment_closed", organization=organization_id, file=name)


async def _read_until(
    connection: Connection, organization_id: str, until: End
) -> AsyncIterator[Line]:
    """Yield the lines of the log up to a checkpoint, and its end there."""
    last_hash = ""
    async for line in read_log(connection, organization_id):
        match line:
            case Checkpoint() if line.number > until.checkpoint:
                continue
            case Entry() if line.sequence > until.sequence:
                break
            case Entry():
                last_hash = line.hash
            case End():
                break
        yield line
    yield replace(until, hash=last_hash)


def _write(path: Path, lines: Sequence[Line]) -> tuple[str, Verification]:
    """Write the file durably, readable only by its owner, then read it again and verify it."""
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.writelines(write_line(line) for line in lines)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    content = path.read_bytes()
    verification = Verification()
    verification.add_all(parse_line(json.loads(line)) for line in content.splitlines())
    return hashlib.sha256(content).hexdigest(), verification
