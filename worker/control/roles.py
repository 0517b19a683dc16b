"""Give enrolled servers their database role, take it from removed ones, end overlong sessions."""

from datetime import timedelta
from functools import partial

import structlog

from shared.database import Connection
from shared.set_aside import Row, Rows, each

SERVICE = "roles"
PENDING = Rows(
    SERVICE,
    "server.server_id",
    """
SELECT server_id AS row_id FROM server JOIN server_enrolment USING (server_id)
 WHERE role_ready_at IS NULL AND removed_at IS NULL AND {rows}
""",
)
MADE = "UPDATE server SET role_ready_at = now() WHERE server_id = %s"
GONE = Rows(
    SERVICE,
    "gone.row_id",
    """
SELECT row_id FROM (
  SELECT server_id FROM server WHERE removed_at IS NOT NULL AND role_ready_at IS NOT NULL
  UNION ALL SELECT server_roles_unknown()
) AS gone (row_id) WHERE {rows}
""",
)
DROPPED = "UPDATE server SET role_ready_at = NULL WHERE server_id = %s"
# Replicas come one at a time, behind a row that no server's role can lock.
GATE = "SELECT gate FROM release_gate FOR UPDATE"

LONGEST_TRANSACTION = timedelta(seconds=10)

log = structlog.get_logger()


async def tend_roles(connection: Connection) -> None:
    """Bring the database roles in line with the servers; idempotent, any replica may do it."""
    await connection.execute("SELECT server_sessions_end(%s)", (LONGEST_TRANSACTION,))
    await each(connection, PENDING, partial(_change, connection, "server_role_create", MADE))
    await each(connection, GONE, partial(_change, connection, "server_role_drop", DROPPED))


async def _change(connection: Connection, function: str, done: str, server: Row) -> None:
    await connection.execute(GATE)
    await connection.execute(f"SELECT {function}(%s)", (server["row_id"],))
    await connection.execute(done, (server["row_id"],))
    log.info(function, server=server["row_id"])
