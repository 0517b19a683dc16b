"""Give new entries of the audit log their places in the chain of their organization.

A change stores its entry without a place, in its own transaction; this service places committed
entries in batches. It locks the chain's one row, reads its number and hash, numbers the waiting
entries from there, and stores the new number and hash in the same transaction. So there is no gap
and no number twice, whatever fails: a rollback takes back both. Organizations do not wait for one
another, and no change waits for the chain. (An entry that took its place in the change's own
transaction would hold that lock until the change commits, and all changes of an organization would
run one after the other.)
"""

from dataclasses import replace
from functools import partial

from shared.audit.entries import GENESIS, Entry
from shared.audit.store import MOMENT
from shared.database import Connection
from shared.set_aside import attempt
from worker.control.service import Service

SERVICE = "audit_chain"
BATCH = 1000

WAITING = """
WITH RECURSIVE one AS (
  (SELECT organization_id FROM audit_event WHERE sequence IS NULL ORDER BY 1 LIMIT 1)
  UNION ALL
  SELECT (SELECT e.organization_id FROM audit_event e
           WHERE e.sequence IS NULL AND e.organization_id > one.organization_id
           ORDER BY 1 LIMIT 1)
    FROM one WHERE one.organization_id IS NOT NULL
)
SELECT organization_id FROM one WHERE organization_id IS NOT NULL
"""
BEGIN = """
INSERT INTO audit_chain (organization_id, hash) VALUES (%s, %s) ON CONFLICT DO NOTHING
"""
LOCK = """
SELECT sequence, encode(hash, 'hex') AS hash FROM audit_chain
 WHERE organization_id = %s FOR UPDATE SKIP LOCKED
"""
READ = f"""
SELECT organization_id, audit_event_id, to_char(at AT TIME ZONE 'UTC', '{MOMENT}') AS at,
       action, object_id, actor_id, data
  FROM audit_event WHERE organization_id = %s AND sequence IS NULL
 ORDER BY audit_event_id LIMIT %s
"""  # noqa: S608 - no input
PLACE_ALL = """
UPDATE audit_event e
   SET sequence = new.sequence, previous_hash = decode(new.previous_hash, 'hex'),
       hash = decode(new.hash, 'hex')
  FROM unnest(%s::text[], %s::bigint[], %s::text[], %s::text[])
    AS new (audit_event_id, sequence, previous_hash, hash)
 WHERE e.audit_event_id = new.audit_event_id AND e.sequence IS NULL
"""
ADVANCE = """
UPDATE audit_chain SET sequence = %s, hash = decode(%s, 'hex') WHERE organization_id = %s
"""


async def chain_entries(connection: Connection) -> float | None:
    """Place waiting entries of every organization; return 0 if more wait."""
    rows = await (await connection.execute(WAITING)).fetchall()
    placed = []
    for row in rows:
        organization_id = row["organization_id"]
        work = partial(_chain, connection, organization_id)
        placed.append(await attempt(connection, SERVICE, organization_id, work))
    return 0.0 if any(number == BATCH for number in placed) else None


async def _chain(connection: Connection, organization_id: str) -> int:
    """Place one batch; return how many entries it has."""
    async with connection.transaction():
        await connection.execute(BEGIN, (organization_id, bytes.fromhex(GENESIS)))
        head = await (await connection.execute(LOCK, (organization_id,))).fetchone()
        if head is None:
            # Another replica places them.
            return 0
        rows = await (await connection.execute(READ, (organization_id, BATCH))).fetchall()
        sequence, last_hash, entries = head["sequence"], head["hash"], list[Entry]()
        for row in rows:
            sequence += 1
            entry = Entry(**row, sequence=sequence, previous_hash=last_hash)
            last_hash = entry.compute_hash()
            entries.append(replace(entry, hash=last_hash))
        if entries:
            places = (
                [entry.audit_event_id for entry in entries],
                [entry.sequence for entry in entries],
                [entry.previous_hash for entry in entries],
                [entry.hash for entry in entries],
            )
            await connection.execute(PLACE_ALL, places)
            await connection.execute(ADVANCE, (sequence, last_hash, organization_id))
    return len(entries)


CHAIN_ENTRIES = Service.with_connection(SERVICE, chain_entries)
