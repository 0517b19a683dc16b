"""Give enrolled servers their database role, take it from removed ones, end their bad sessions."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import psycopg
import structlog

from shared.database import Connection

# A role can change its own password and settings: it gets them anew each hour.
PENDING = """
SELECT server_id FROM server JOIN server_enrolment USING (server_id)
 WHERE removed_at IS NULL
   AND (role_ready_at IS NULL OR role_ready_at < now() - interval '1 hour')
 ORDER BY role_ready_at NULLS FIRST LIMIT 100
"""
MADE = "UPDATE server SET role_ready_at = now() WHERE server_id = %s"
REMOVED = """
SELECT server_id FROM server WHERE removed_at IS NOT NULL AND role_ready_at IS NOT NULL
"""
DROPPED = "UPDATE server SET role_ready_at = NULL WHERE server_id = %s"
# Replicas come one at a time, behind a row that no server's role can lock.
GATE = "SELECT gate FROM release_gate FOR UPDATE"
SESSIONS = "SELECT server_id, reason FROM server_sessions_end(%s)"

LONGEST_STATEMENT = timedelta(seconds=6)
"""Longer than the worker's own limit; also of a transaction."""

FIRST_PAUSE, LONGEST_PAUSE = 2.0, 600.0
"""Seconds between two attempts at a change that fails, doubled each time."""

QUIET_SECONDS = 60.0
"""So long nothing more is logged about one server's sessions."""

log = structlog.get_logger()


@dataclass
class _Failed:
    """A change that failed: when it is tried again, and the pause after that."""

    again_at: float
    pause: float


@dataclass
class Roles:
    """The database roles of servers, as one control process looks after them."""

    clock: Callable[[], float] = time.monotonic
    _failed: dict[str, _Failed] = field(default_factory=dict)
    _logged: dict[str, float] = field(default_factory=dict)

    async def tend(self, connection: Connection) -> None:
        """Bring the roles in line with the servers; idempotent, any replica may do it."""
        await self._end_sessions(connection)
        await connection.execute("SELECT server_objects_remove()")
        for server_id in await _server_ids(connection, PENDING):
            await self._change(connection, ("server_role_create",), MADE, server_id)
        for server_id in await _server_ids(connection, REMOVED):
            # The login goes first, for good: what follows may fail as long as it likes.
            steps = ("server_role_close", "server_role_drop")
            await self._change(connection, steps, DROPPED, server_id)

    async def _end_sessions(self, connection: Connection) -> None:
        rows = await (await connection.execute(SESSIONS, (LONGEST_STATEMENT,))).fetchall()
        for row in rows:
            server_id, now = row["server_id"], self.clock()
            if row["reason"] == "session_too_long" or now < self._logged.get(server_id, now):
                continue
            self._logged[server_id] = now + QUIET_SECONDS
            log.warning("server_session_ended", server=server_id, reason=row["reason"])

    async def _change(
        self, connection: Connection, steps: tuple[str, ...], done: str, server_id: str
    ) -> None:
        """Change one role; one that cannot be changed stands in no other's way."""
        failed = self._failed.get(server_id)
        if failed is not None and self.clock() < failed.again_at:
            return
        try:
            for step in steps:
                async with connection.transaction():
                    await connection.execute(GATE)
                    await connection.execute(f"SELECT {step}(%s)", (server_id,))
                    if step == steps[-1]:
                        await connection.execute(done, (server_id,))
        except psycopg.Error as error:
            pause = failed.pause if failed is not None else FIRST_PAUSE
            self._failed[server_id] = _Failed(self.clock() + pause, min(pause * 2, LONGEST_PAUSE))
            log.warning(
                "role_not_changed",
                server=server_id,
                step=step,
                error=type(error).__name__,
                again_in_seconds=pause,
            )
        else:
            self._failed.pop(server_id, None)
            log.info(steps[-1], server=server_id)


async def _server_ids(connection: Connection, query: str) -> list[str]:
    return [row["server_id"] for row in await (await connection.execute(query)).fetchall()]
