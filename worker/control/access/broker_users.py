"""Create a broker user for each enrolled server, and delete those of removed servers.

A broker loses users when it restarts, because ``ACL SETUSER`` does not write a file. So missing
users are created every second, and all users are set again every minute.
"""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta

import redis.asyncio
import structlog
from redis.exceptions import RedisError

from shared.database import Connection
from shared.set_aside import Rows, set_aside
from worker.broker_users import server_rules, server_user
from worker.control.access.broker_state import TIMEOUT
from worker.control.service import Service

SET_AGAIN = timedelta(minutes=1)

OLD_KEYS = ("unacked", "unacked_index", "unacked_mutex")

SERVICE = "broker_users"
SERVERS = Rows(
    SERVICE,
    "server.server_id",
    """
SELECT server_id, broker_hash, removed_at IS NOT NULL AS removed
  FROM server JOIN server_enrolment USING (server_id)
 WHERE broker_hash IS NOT NULL AND {rows}
""",
)

log = structlog.get_logger()


@dataclass(frozen=True)
class ServerUser:
    """A server with its own broker user, also a removed one."""

    server_id: str
    broker_hash: str
    removed: bool

    @property
    def name(self) -> str:
        return server_user(self.server_id)

    @property
    def command(self) -> tuple[str, ...]:
        """Return the command that sets the whole user at once; its connections stay open."""
        rules = server_rules(self.server_id).split()
        return ("ACL SETUSER", self.name, "reset", "on", f"#{self.broker_hash}", *rules)


async def read_servers(connection: Connection) -> list[ServerUser]:
    """Read all servers that sent a password hash when they enrolled."""
    return [ServerUser(**row) for row in await (await connection.execute(SERVERS.whole)).fetchall()]


@dataclass
class BrokerUsers:
    """The users at one broker, managed with its administrator's connection."""

    client: "redis.asyncio.Redis"
    set_again_at: float = 0.0
    _away: bool = field(default=False)

    def service(self) -> Service:
        return Service.with_connection(SERVICE, self.reconcile_all)

    async def reconcile_all(self, connection: Connection) -> None:
        """Create or delete the user of each server in the database; set aside those that fail."""
        refused = await self.reconcile(await read_servers(connection))
        for server_id, error in refused.items():
            await set_aside(connection, SERVICE, server_id, error)

    async def reconcile(self, servers: Iterable[ServerUser]) -> dict[str, RedisError]:
        """Make the broker's users match ``servers``; without an answer it is retried.

        Users of unknown servers do not change: they may belong to another control plane. Return the
        servers whose user could not be changed, with the broker's error.
        """
        try:
            async with asyncio.timeout(TIMEOUT.total_seconds()):
                refused = await self._reconcile(list(servers))
        except (RedisError, OSError) as error:
            if not self._away:
                log.warning("broker_users_not_reconciled", error=type(error).__name__)
            self._away, self.set_again_at = True, 0.0
            return {}
        self._away = False
        return refused

    async def _reconcile(self, servers: list[ServerUser]) -> dict[str, RedisError]:
        known = {_text(name) for name in await self.client.acl_users()}
        sets_all = time.monotonic() >= self.set_again_at
        due = [s for s in servers if not s.removed and (sets_all or s.name not in known)]
        removed = [s for s in servers if s.removed and s.name in known]
        async with self.client.pipeline(transaction=False) as pipeline:
            for server in due:
                pipeline.execute_command(*server.command)
            for server in removed:
                # This closes its connections too.
                pipeline.execute_command("ACL DELUSER", server.name)
            for server in due:
                # Keys of older workers.
                pipeline.unlink(*(f"{key}.{server.server_id}" for key in OLD_KEYS))
            for server in removed:
                pipeline.unlink(f"server.{server.server_id}")
            answers = await pipeline.execute(raise_on_error=False)
        refused = {}
        for server, answer in zip([*due, *removed], answers, strict=False):
            if isinstance(answer, RedisError):
                refused[server.server_id] = answer
            elif server.name not in known or server.removed:
                log.info("broker_user_changed", server=server.server_id, removed=server.removed)
        if sets_all:
            self.set_again_at = time.monotonic() + SET_AGAIN.total_seconds()
        return refused


def _text(name: bytes | str) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else name
