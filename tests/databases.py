"""Databases for tests: one embedded server a test process, one migrated template, copies of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.rows import dict_row

from shared.database import Connection
from shared.ids import make_id
from shared.migrations.schema import migrate
from shared.models import METADATA
from worker.local.postgres import OWNER, LocalPostgres
from worker.local.processes import Child

TEMPLATE = "wharf_template"
KEPT = {"release_gate", "database_epoch"}
EMPTY_AUDIT_LOG = sql.SQL("""
DO $$ BEGIN
  IF EXISTS (SELECT FROM audit_event)
     OR EXISTS (SELECT FROM pg_trigger WHERE tgname = 'audit_event_keep' AND tgenabled = 'D') THEN
    ALTER TABLE audit_event DISABLE TRIGGER USER;
    DELETE FROM audit_event;
    ALTER TABLE audit_event ENABLE TRIGGER USER;
  END IF;
END $$
""")
"""Entries are only added, also by the owner, as long as it leaves the triggers on."""

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


@dataclass(frozen=True)
class Database:
    """One database of its own; everything in it is the test's.

    ``owners`` is the owner's session, if one is open: the first time that it is emptied.
    """

    server: Server
    name: str
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
        """Run one statement as the owner; gives its rows, if it has any.

        In the session that is open: it stays so, and PostgreSQL has read its catalog in it.
        """
        if self.owners:
            return _run(self._owner(), statement, values)
        with psycopg.connect(self.url(OWNER), autocommit=True) as connection:
            return _run(connection, statement, values)

    def __del__(self) -> None:
        self.end_sessions()

    @asynccontextmanager
    async def session(self, role: str) -> AsyncIterator[Connection]:
        """Give an autocommit session of a role, with dict rows, for the block."""
        connection = await AsyncConnection.connect(
            self.url(role), autocommit=True, row_factory=dict_row
        )
        try:
            yield connection
        finally:
            await connection.close()

    def end_sessions(self) -> None:
        """End the owner's session."""
        while self.owners:
            self.owners.pop().close()

    def empty(self) -> None:
        """Delete all rows, and the login roles of the servers that enrolled in it."""
        connection = self._owner()
        roles = connection.execute(SERVER_ROLES).fetchall()
        drops = [sql.SQL("DROP ROLE {}").format(sql.Identifier(role)) for (role,) in roles]
        deletes = [sql.SQL("DELETE FROM {}").format(sql.Identifier(name)) for name in TABLES]
        connection.execute(sql.SQL("; ").join([EMPTY_AUDIT_LOG, *drops, *deletes]))

    def _owner(self) -> psycopg.Connection:
        """Return a session of the owner, which stays open: a new one plans all statements anew."""
        if self.owners:
            try:
                self.owners[0].execute("SELECT 1")
            except psycopg.OperationalError:
                self.owners.pop().close()
        if not self.owners:
            # Not prepared: a test may change the tables meanwhile.
            session = psycopg.connect(self.url(OWNER), autocommit=True, prepare_threshold=None)
            self.owners.append(session)
        return self.owners[0]

    def drop(self) -> None:
        """Drop it, and the login roles of the servers that enrolled in it."""
        self.end_sessions()
        roles = self.execute(SERVER_ROLES)
        self.server.drop_database(self.name)
        with self.server.administer() as connection:
            for (role,) in roles:
                connection.execute(f'DROP ROLE "{role}"'.encode())


def _run(
    connection: psycopg.Connection, statement: str, values: tuple[object, ...]
) -> list[tuple[object, ...]]:
    cursor = connection.execute(statement.encode(), values or None)
    return cursor.fetchall() if cursor.description else []


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
