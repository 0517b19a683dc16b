"""Forward entries of the audit log to other places, in their order, each at least once.

For each destination and organization the database has the number of the last entry that was taken.
It is raised after the destination took a batch. So a destination that was away, or a control that
was killed, continues where it was, and may get a batch twice: ``organizationId`` and ``sequence``
name an entry. A destination that does not take entries is tried again after a growing pause; the
others go on. The archive keeps entries that were not forwarded.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import structlog

from shared.audit.store import read_entries
from shared.database import Connection
from shared.set_aside import Rows, caught, set_aside
from worker.control.audit.destinations import Destination
from worker.control.service import Service

SERVICE = "audit_forwarding"
TIMEOUT = timedelta(minutes=2)
BATCH = 500

DUE = Rows(
    SERVICE,
    "destination.name",
    """
SELECT destination.name AS row_id, c.organization_id, coalesce(f.sequence, 0) AS sequence
  FROM unnest(%(names)s::text[]) AS destination (name)
 CROSS JOIN audit_chain c
  LEFT JOIN audit_forwarded f
    ON f.destination = destination.name AND f.organization_id = c.organization_id
 WHERE c.sequence > coalesce(f.sequence, 0) AND {rows}
 ORDER BY destination.name, c.organization_id
""",
)
ADVANCE = """
INSERT INTO audit_forwarded AS f (destination, organization_id, sequence) VALUES (%s, %s, %s)
ON CONFLICT (destination, organization_id) DO UPDATE SET
  sequence = greatest(f.sequence, excluded.sequence), forwarded_at = now()
"""

log = structlog.get_logger()


@dataclass(frozen=True)
class Forwarding:
    """The service. No transaction is open while a destination takes entries."""

    destinations: Sequence[Destination]

    def service(self) -> Service:
        work = Service.with_connection(SERVICE, self.forward_due)
        return replace(work, timeout=TIMEOUT)

    async def forward_due(self, connection: Connection) -> float | None:
        """Send a batch of each log to each destination; return 0 if more entries wait."""
        known = {one.name: one for one in self.destinations}
        rows = await (await connection.execute(DUE.whole, {"names": list(known)})).fetchall()
        failed, more = set[str](), False
        for row in rows:
            name, organization_id = row["row_id"], row["organization_id"]
            if name in failed:
                continue
            entries = await read_entries(
                connection, organization_id, after=row["sequence"], limit=BATCH
            )
            if not entries:
                continue
            error = await caught(known[name].send(entries))
            if error is not None:
                failed.add(name)
                await set_aside(connection, SERVICE, name, error)
                continue
            await connection.execute(ADVANCE, (name, organization_id, entries[-1].sequence))
            more = more or len(entries) == BATCH
        return 0.0 if more else None
