"""Give enrolled servers their database role, take it from removed ones, end overlong sessions."""

from datetime import timedelta

import psycopg
import structlog

from shared.database import Connection

PENDING = """
SELECT server_id FROM server JOIN server_enrolment USING (server_id)
 WHERE role_ready_at IS NULL AND removed_at IS NULL
"""
MADE = "UPDATE server SET role_ready_at = now() WHERE server_id = %s"
REMOVED = """
SELECT server_id FROM server WHERE removed_at IS NOT NULL AND role_ready_at IS NOT NULL
"""
DROPPED = "UPDATE server SET role_ready_at = NULL WHERE server_id = %s"
# Replicas come one at a time, behind a row that no server's role can lock.
GATE = "SELECT gate FROM release_gate FOR UPDATE"

LONGEST_TRANSACTION = timedelta(seconds=10)

log = structlog.get_logger()


async def tend_roles(connection: Connection) -> None:
    """Bring the database roles in line with the servers; idempotent, any replica may do it."""
    await connection.execute("SELECT server_sessions_end(%s)", (LONGEST_TRANSACTION,))
    for row in await (await connection.execute(PENDING)).fetchall():
        await _change(connection, "server_role_create", MADE, row["server_id"])
    for row in await (await connection.execute(REMOVED)).fetchall():
        await _change(connection, "server_role_drop", DROPPED, row["server_id"])


async def _change(connection: Connection, function: str, done: str, server_id: str) -> None:
    """Change one role; one that cannot be changed stands in no other's way."""
    try:
        async with connection.transaction():
            await connection.execute(GATE)
            await connection.execute(f"SELECT {function}(%s)", (server_id,))
            await connection.execute(done, (server_id,))
    except psycopg.Error as error:
        log.warning("role_not_changed", server=server_id, error=type(error).__name__)
    else:
        log.info(function, server=server_id)
