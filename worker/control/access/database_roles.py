"""Create and drop the database roles of servers, and end sessions that exceed their limits."""

import time
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

import structlog

from shared.database import Connection
from shared.set_aside import Row, Rows, each
from worker.control.service import Service

SERVICE = "database_roles"
# A role can change its own password and settings, so they are set again every hour.
PENDING = Rows(
    SERVICE,
    "server.server_id",
    """
SELECT server_id AS row_id FROM server JOIN server_enrolment USING (server_id)
 WHERE removed_at IS NULL AND {rows}
   AND (role_ready_at IS NULL OR role_ready_at < now() - interval '1 hour')
 ORDER BY role_ready_at NULLS FIRST LIMIT 100
""",
)
MADE = "UPDATE server SET role_ready_at = now() WHERE server_id = %s"
GONE = Rows(
    SERVICE,
    "gone.row_id",
    """
SELECT row_id, coalesce(rolcanlogin, false) AS is_open FROM (
  SELECT server_id FROM server WHERE removed_at IS NOT NULL AND role_ready_at IS NOT NULL
  UNION ALL SELECT server_roles_unknown()
) AS gone (row_id) LEFT JOIN pg_roles ON rolname = ('wharf_server_' || row_id)::name
 WHERE {rows}
""",
)
DROPPED = "UPDATE server SET role_ready_at = NULL WHERE server_id = %s"
# One replica at a time: a lock on a row that no server's role can lock.
GATE = "SELECT gate FROM release_gate FOR UPDATE"
SESSIONS = "SELECT server_id, reason FROM server_sessions_end(%s)"

LONGEST_STATEMENT = timedelta(seconds=6)
"""The limit of statements and transactions; longer than the worker's own limit."""

QUIET_SECONDS = 60.0
"""At most one log line about one server's sessions in this time."""

log = structlog.get_logger()


@dataclass
class DatabaseRoles:
    """The service that manages the database roles of servers."""

    _logged: dict[str, float] = field(default_factory=dict)

    def service(self) -> Service:
        return Service.with_connection(SERVICE, self.reconcile)

    async def reconcile(self, connection: Connection) -> None:
        """Make the roles match the servers; idempotent, safe in replicas."""
        await self._end_sessions(connection)
        await each(connection, PENDING, partial(_change, connection, "server_role_create", MADE))
        closed: list[Row] = []
        await each(connection, GONE, partial(_remove, connection, closed))
        if closed:
            await each(connection, GONE, partial(_remove, connection, closed))

    async def _end_sessions(self, connection: Connection) -> None:
        rows = await (await connection.execute(SESSIONS, (LONGEST_STATEMENT,))).fetchall()
        for row in rows:
            server_id, now = row["server_id"], time.monotonic()
            if row["reason"] == "session_too_long" or now < self._logged.get(server_id, now):
                continue
            self._logged[server_id] = now + QUIET_SECONDS
            log.warning("server_session_ended", server=server_id, reason=row["reason"])


async def _remove(connection: Connection, closed: list[Row], server: Row) -> None:
    """Revoke the login first and commit that: dropping the role may fail."""
    if server["is_open"]:
        await _change(connection, "server_role_close", None, server)
        closed.append(server)
    else:
        await _change(connection, "server_role_drop", DROPPED, server)


async def _change(connection: Connection, function: str, done: str | None, server: Row) -> None:
    await connection.execute(GATE)
    await connection.execute(f"SELECT {function}(%s)", (server["row_id"],))
    if done is not None:
        await connection.execute(done, (server["row_id"],))
    log.info(function, server=server["row_id"])
