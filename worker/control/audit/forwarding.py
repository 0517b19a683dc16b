"""Forward entries of the audit log to other places, in their order, each at least once.

For each destination and organization the database has the number of the last entry that was taken.
It is raised after the destination took a batch. So a destination that was away, or a control that
was killed, continues where it was, and may get a batch twice: ``organizationId`` and ``sequence``
name an entry. A replica claims an organization's log for the time of one batch, so that two of them
do not send it at once. Destinations do not wait for one another; one that does not take entries is
tried again after a growing pause. The archive keeps entries that were not forwarded.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from shared.audit.store import read_entries
from shared.database import Pool
from shared.set_aside import Rows, caught, set_aside
from worker.control.audit.destinations import Destination, NotForwardedError
from worker.control.service import Service

SERVICE = "audit_forwarding"
TIMEOUT = timedelta(minutes=2)
ATTEMPT = timedelta(seconds=15)
LEASE = timedelta(seconds=60)
"""Much longer than the limit of an attempt."""

BATCH = 500

DUE = Rows(
    SERVICE,
    "destination.name",
    """
SELECT destination.name AS row_id, c.organization_id
  FROM unnest(%(names)s::text[]) AS destination (name)
 CROSS JOIN audit_chain c
  LEFT JOIN audit_forwarded f
    ON f.destination = destination.name AND f.organization_id = c.organization_id
 WHERE c.sequence > coalesce(f.sequence, 0) AND {rows}
 ORDER BY c.organization_id
""",
)
CLAIM = """
INSERT INTO audit_forwarded AS f (destination, organization_id, sequence, claimed_until)
VALUES (%(name)s, %(organization_id)s, 0, now() + %(lease)s)
ON CONFLICT (destination, organization_id) DO UPDATE SET claimed_until = excluded.claimed_until
 WHERE f.claimed_until IS NULL OR f.claimed_until < now()
RETURNING sequence
"""
RECORD = """
UPDATE audit_forwarded
   SET sequence = greatest(sequence, %(sequence)s), claimed_until = NULL,
       forwarded_at = CASE WHEN %(sequence)s > sequence THEN now() ELSE forwarded_at END
 WHERE destination = %(name)s AND organization_id = %(organization_id)s
"""


@dataclass(frozen=True)
class Forwarding:
    """The service; safe in replicas. No connection is held while a destination takes entries.

    ``attempt`` is the limit for one batch.
    """

    destinations: Sequence[Destination]
    attempt: timedelta = ATTEMPT

    def service(self) -> Service:
        return replace(Service(SERVICE, self.forward_due), timeout=TIMEOUT)

    async def forward_due(self, pool: Pool) -> float | None:
        """Send a batch of each log to each destination; return 0 if more entries wait.

        Raises:
            psycopg.Error: the database is unavailable.
        """
        names = {"names": [one.name for one in self.destinations]}
        async with pool.connection() as connection:
            rows = await (await connection.execute(DUE.whole, names)).fetchall()
        due = {
            one: [row["organization_id"] for row in rows if row["row_id"] == one.name]
            for one in self.destinations
        }
        async with asyncio.TaskGroup() as group:
            sent = [group.create_task(self._forward(pool, *item)) for item in due.items()]
        return 0.0 if any(task.result() for task in sent) else None

    async def _forward(
        self, pool: Pool, destination: Destination, organizations: Sequence[str]
    ) -> bool:
        """Send a batch of each log; stop at the first failure. Return whether more entries wait."""
        more = False
        for organization_id in organizations:
            values = {"name": destination.name, "organization_id": organization_id}
            async with pool.connection() as connection:
                claim = await connection.execute(CLAIM, values | {"lease": LEASE})
                claimed = await claim.fetchone()
                if claimed is None:
                    # Another replica sends it.
                    continue
                after = claimed["sequence"]
                entries = await read_entries(connection, organization_id, after=after, limit=BATCH)
            error = await caught(self._send(destination, entries)) if entries else None
            if error is None and entries:
                after = entries[-1].sequence
            await self._record(pool, values | {"sequence": after}, error)
            if error is not None:
                return False
            more = more or len(entries) == BATCH
        return more

    async def _send(self, destination: Destination, entries: Any) -> None:
        try:
            async with asyncio.timeout(self.attempt.total_seconds()):
                await destination.send(entries)
        except TimeoutError:
            raise NotForwardedError(
                f"{destination.name} did not take entries of the audit log in time"
            ) from None

    async def _record(self, pool: Pool, values: dict[str, Any], error: Exception | None) -> None:
        async with pool.connection() as connection:
            await connection.execute(RECORD, values)
            if error is not None:
                await set_aside(connection, SERVICE, values["name"], error)
