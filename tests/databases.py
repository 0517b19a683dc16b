"""Databases for tests: one embedded server a test process, one migrated template, copies of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row

from shared.database import Connection
from shared.ids import make_id
from shared.migrations.schema import migrate
from shared.models import METADATA
from worker.local.postgres import OWNER, LocalPostgres
from worker.local.processes import Child

TEMPLATE = "wharf_template"
KEPT = {"release_gate", "database_epoch"}
TABLES = [table.name for table in reversed(METADATA.sorted_tables) if table.name not in KEPT]
"""The tables that a test fills, in an order in which they can be emptied."""

SERVER_ROLES = "SELECT rolname FROM pg_roles JOIN server ON rolname = 'wharf_server_' || server_id"


class Server(Protocol):
    """A PostgreSQL that the tests started: the embedded one, or one as others run it."""

    child: Child
    port: int
    passwords: dict[str, str]

    def url(self, role: str, database: str) -> str: ...
    def network_url(self, database: str) -> str: ...
    def administer(self, database: str = "postgres") -> psycopg.Connection: ...
    def create_database(self, name: str, *, template: str) -> None: ...
    def drop_database(self, name: str) -> None: ...


RESET = "RESET SESSION AUTHORIZATION; RESET ALL; UNLISTEN *; CLOSE ALL; DISCARD TEMP"


@dataclass(frozen=True)
class Database:
    """One database of its own; everything in it is the test's.

    ``idle`` are sessions by role; ``owners`` is the owner's one, which empties the tables.
    """

    server: Server
    name: str
    idle: dict[str, list[Connection]] = field(default_factory=dict, compare=False, repr=False)
    owners: list[psycopg.Connection] = field(default_factory=list, compare=False, repr=False)

    @classmethod
    def create(cls, server: Server) -> Self:
        """A fresh copy of the migrated template, with the grants on it."""
        name = f"test_{make_id().replace('-', '')}"
        server.create_database(name, template=TEMPLATE)
        return cls(server, name)

    def url(self, role: str, password: str | None = None) -> str:
        """``postgresql://…`` for one of our roles, or for another one with its password."""
        if password is None:
            return self.server.url(role, self.name)
        return f"{self.network_url().replace('://', f'://{role}:{password}@')}"

    def network_url(self) -> str:
        """Return the URL for a server worker: address, port and name, no role."""
        return self.server.network_url(self.name)

    def execute(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        """Run one statement as the owner; gives its rows, if it has any."""
        with psycopg.connect(self.url(OWNER), autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def __del__(self) -> None:
        self.end_sessions()

    @asynccontextmanager
    async def session(self, role: str) -> AsyncIterator[Connection]:
        """Give an autocommit session of a role, with dict rows, for the block.

        An earlier block may have used it: PostgreSQL plans the statements of each new session anew,
        which takes longer than to run them.
        """
        connection = await self._idle(role) or await AsyncConnection.connect(
            self.url(role), autocommit=True, row_factory=dict_row
        )
        is_reset = False
        try:
            yield connection
        finally:
            try:
                is_reset = await _is_reset(connection)
            finally:
                if is_reset:
                    self.idle.setdefault(role, []).append(connection)
                else:
                    connection.pgconn.finish()

    async def _idle(self, role: str) -> Connection | None:
        """Return an idle session that is still open."""
        idle = self.idle.get(role, [])
        while idle:
            connection = idle.pop()
            is_open = False
            try:
                await connection.execute("SELECT 1")
                is_open = True
            except psycopg.OperationalError:
                continue
            finally:
                if not is_open:
                    connection.pgconn.finish()
            return connection
        return None

    def end_sessions(self) -> None:
        """End the idle sessions."""
        while self.owners:
            self.owners.pop().close()
        while self.idle:
            for connection in self.idle.popitem()[1]:
                connection.pgconn.finish()

    def empty(self) -> None:
        """Delete all rows, and the login roles of the servers that enrolled in it."""
        connection = self._owner()
        roles = connection.execute(SERVER_ROLES).fetchall()
        drops = [sql.SQL("DROP ROLE {}").format(sql.Identifier(role)) for (role,) in roles]
        deletes = [sql.SQL("DELETE FROM {}").format(sql.Identifier(name)) for name in TABLES]
        connection.execute(sql.SQL("; ").join([*drops, *deletes]))

    def _owner(self) -> psycopg.Connection:
        """Return a session of the owner, which stays open: a new one plans all statements anew."""
        if self.owners:
            try:
                self.owners[0].execute("SELECT 1")
            except psycopg.OperationalError:
                self.owners.pop().close()
        if not self.owners:
            self.owners.append(psycopg.connect(self.url(OWNER), autocommit=True))
        return self.owners[0]

    def drop(self) -> None:
        """Drop it, and the login roles of the servers that enrolled in it."""
        self.end_sessions()
        roles = self.execute(SERVER_ROLES)
        self.server.drop_database(self.name)
        with self.server.administer() as connection:
            for (role,) in roles:
                connection.execute(f'DROP ROLE "{role}"'.encode())


async def _is_reset(connection: Connection) -> bool:
    """Reset a session for the next block, if it can be used again."""
    if connection.closed or not connection.autocommit or connection.lock.locked():
        return False
    if connection.info.transaction_status != TransactionStatus.IDLE:
        return False
    try:
        await connection.execute(RESET)
    except psycopg.Error:
        return False
    connection.lock = asyncio.Lock()  # the one that it has belongs to the loop of this test
    return True


def start_postgres(directory: Path) -> LocalPostgres:
    """A server with the migrated template in it, on loopback and on its socket."""
    server = LocalPostgres.start(directory, listen="127.0.0.1", durable=False)
    try:
        _shorten_logins(server)
        server.create_database(TEMPLATE)
        migrate(server.url(OWNER, TEMPLATE))
    except BaseException:
        server.stop()
        raise
    return server


def _shorten_logins(server: LocalPostgres) -> None:
    """Hash the passwords once instead of 4,096 times: a test opens ten connections and more."""
    with server.administer() as connection:
        connection.execute("SET scram_iterations = 1")
        for role, password in server.passwords.items():
            verifier = connection.pgconn.encrypt_password(
                password.encode(), role.encode(), b"scram-sha-256"
            )
            statement = sql.SQL("ALTER ROLE {} PASSWORD {}")
            connection.execute(
                statement.format(sql.Identifier(role), sql.Literal(verifier.decode()))
            )
