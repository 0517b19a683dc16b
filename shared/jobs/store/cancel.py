"""Cancel a job: an unclaimed one ends at once; a running one with its worker's next heartbeat."""

from psycopg.types.json import Jsonb

from shared.database import Connection
from shared.faults import Fault
from shared.jobs.states import State

CANCEL = "SELECT job_cancel(%s, %s, %s) AS state"


async def cancel(
    connection: Connection, job_id: str, organization_id: str, message: str
) -> State | None:
    """Return the state after the request; ``None`` if there is no such job or it has ended."""
    reason = Fault(code="cancelled", message=message)
    cursor = await connection.execute(
        CANCEL, (job_id, organization_id, Jsonb(reason.model_dump(mode="json")))
    )
    row = await cursor.fetchone()
    return State(row["state"]) if row and row["state"] else None
