"""PostgreSQL for one machine, as our own child.

```text
DIRECTORY/        0700, locked while the server runs
  data/           the cluster
  passwords.json  0600, one password a role
  socket/         where our own processes connect (a temporary directory if the path does not suit)
  postgres.log
```
"""

import shutil
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from signal import SIGINT
from typing import Self
from urllib.parse import quote

import psycopg
from psycopg import sql

from shared.errors import SetupError
from worker.local.cluster import (
    SUPERUSER,
    find_program,
    make_cluster,
    make_socket_directory,
    require_disk,
    unprivileged,
    wait_for_leftovers,
    write_settings,
)
from worker.local.directory import PrivateDirectory
from worker.local.processes import Child, on_free_port

OWNER = "wharf_owner"
CLIENTS = ("wharf_api", "wharf_control")
GUESTS = (*CLIENTS, "wharf_servers")
"""The roles that may connect to each of our databases, as far as they exist yet."""

DATABASE = "wharf"
SOCKET_PORT = 5432
"""Only a part of the socket's name where nothing listens on TCP."""

READY_WITHIN = timedelta(seconds=30)


@dataclass
class LocalPostgres:
    """One running server; ``address`` is None where it has only its socket."""

    directory: PrivateDirectory
    child: Child
    socket: Path
    address: str | None
    port: int
    passwords: dict[str, str] = field(repr=False)

    @classmethod
    def start(
        cls,
        directory: Path,
        *,
        listen: str | None = None,
        port: int | None = None,
        durable: bool = True,
    ) -> Self:
        """Start the server that keeps its data in ``directory``, made at the first start.

        ``listen`` is an address to serve TCP on too, ``port`` its port (a free one by default).
        Without ``durable`` a crash of the machine may lose data; a killed server loses none.

        Raises:
            SetupError: no binaries, a directory in use, or a server that does not come up.
        """
        private = PrivateDirectory.open(directory)
        try:
            passwords = private.passwords((SUPERUSER, OWNER, *CLIENTS))
            wait_for_leftovers(make_cluster(private, passwords[SUPERUSER], durable=durable))
            start = partial(cls._start, private, passwords, listen, durable=durable)
            if listen is None or port is not None:
                return start(port or SOCKET_PORT)
            return on_free_port(listen, start)
        except BaseException:
            private.close()
            raise

    @classmethod
    def _start(
        cls,
        private: PrivateDirectory,
        passwords: dict[str, str],
        listen: str | None,
        port: int,
        *,
        durable: bool,
    ) -> Self:
        socket = make_socket_directory(private.path)
        write_settings(private, socket, listen, port, durable=durable)
        child = Child.start(
            "postgres",
            [str(find_program("postgres")), "-D", str(private.path / "data")],
            log=private.path / "postgres.log",
            wrapper=unprivileged(),
            # A fast shutdown: SIGTERM would wait until every client has gone.
            stop_signal=SIGINT,
        )
        server = cls(private, child, socket, listen, port, passwords)
        try:
            child.wait_until(server.is_ready, deadline=READY_WITHIN)
            _arrange(server)
        except BaseException as error:
            child.kill()
            _remove_socket(server)
            if isinstance(error, SetupError | psycopg.Error):
                require_disk(private.path)
            raise
        return server

    def url(self, role: str, database: str = DATABASE) -> str:
        """``postgresql://…`` with the role's password, over the private socket."""
        return (
            f"postgresql://{role}:{self.passwords[role]}@/{database}"
            f"?host={quote(str(self.socket))}&port={self.port}"
        )

    def network_url(self, database: str = DATABASE) -> str:
        """``postgresql://ADDRESS:PORT/…`` without a role: the URL for server workers.

        Raises:
            RuntimeError: started without ``listen``.
        """
        if self.address is None:
            raise RuntimeError("this PostgreSQL was started without an address")
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"postgresql://{host}:{self.port}/{database}"

    def administer(self, database: str = "postgres") -> psycopg.Connection:
        """A connection of the superuser, in autocommit; close it."""
        return psycopg.connect(self.url(SUPERUSER, database), autocommit=True, connect_timeout=5)

    def create_database(self, name: str, *, template: str = "template1") -> None:
        """Make a database of `OWNER`, closed to PUBLIC; nobody may be connected to ``template``."""
        # The files are copied: through the log, as is the default, it takes five times as long.
        statement = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {} STRATEGY FILE_COPY")
        with self.administer() as connection:
            connection.execute(statement.format(*map(sql.Identifier, (name, OWNER, template))))
            _close_to_public(connection, name)
            _open_to_guests(connection, name)

    def drop_database(self, name: str) -> None:
        """Drop it if it is there, and end whatever is connected to it."""
        with self.administer() as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )

    def is_ready(self) -> bool:
        """Return whether it accepts connections."""
        try:
            self.administer().close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """Shut down in order: sessions are ended, all is written."""
        self.child.stop()
        _remove_socket(self)
        self.directory.close()

    def kill(self) -> None:
        """End it as a crash would."""
        self.child.kill()
        _remove_socket(self)
        self.directory.close()


def _remove_socket(server: LocalPostgres) -> None:
    if server.socket.parent != server.directory.path:
        shutil.rmtree(server.socket, ignore_errors=True)


def _arrange(server: LocalPostgres) -> None:
    """Make the roles and the database, or bring them to what we know."""
    with server.administer() as connection:
        _put_role(connection, OWNER, server.passwords[OWNER], right="CREATEROLE")
        # The owner makes the others, which gives it the ADMIN option on them.
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(OWNER)))
        for role in CLIENTS:
            _put_role(connection, role, server.passwords[role])
        connection.execute("RESET ROLE")
        for database in ("postgres", "template1"):
            _close_to_public(connection, database)
        _let_owner_limit_files(connection)
        _forbid_large_objects(server, "template1")
        known = connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE])
        is_new = known.rowcount == 0
    if is_new:
        server.create_database(DATABASE)
    _forbid_large_objects(server, DATABASE)


def _let_owner_limit_files(connection: psycopg.Connection) -> None:
    """A server's role may fill only so much of the disk: a superuser's limit, set by the owner."""
    statement = sql.SQL("GRANT SET ON PARAMETER temp_file_limit TO {}")
    connection.execute(statement.format(sql.Identifier(OWNER)))


def _forbid_large_objects(server: LocalPostgres, database: str) -> None:
    """Any role may make large objects, which no table right limits: not in our databases."""
    makers = (
        "lo_creat(integer), lo_create(oid), lo_from_bytea(oid, bytea), lo_put(oid, bigint, bytea)"
    )
    with server.administer(database) as connection:
        connection.execute(f"REVOKE EXECUTE ON FUNCTION {makers} FROM PUBLIC".encode())


def _put_role(
    connection: psycopg.Connection, role: str, password: str, *, right: str = "NOCREATEROLE"
) -> None:
    name = sql.Identifier(role)
    known = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [role])
    if known.rowcount == 0:
        connection.execute(sql.SQL("CREATE ROLE {}").format(name))
    statement = sql.SQL("ALTER ROLE {} LOGIN {} PASSWORD {}")
    verifier = _verifier(connection, role, password)
    connection.execute(statement.format(name, sql.SQL(right), sql.Literal(verifier)))


def _verifier(connection: psycopg.Connection, role: str, password: str) -> str:
    """The SCRAM verifier, made here: the password in clear is in no statement and no log."""
    return connection.pgconn.encrypt_password(
        password.encode(), role.encode(), b"scram-sha-256"
    ).decode()


def _close_to_public(connection: psycopg.Connection, database: str) -> None:
    connection.execute(
        sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(database))
    )


def _open_to_guests(connection: psycopg.Connection, database: str) -> None:
    query = "SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)"
    for (role,) in connection.execute(query, [list(GUESTS)]).fetchall():
        statement = sql.SQL("GRANT CONNECT ON DATABASE {} TO {}")
        connection.execute(statement.format(sql.Identifier(database), sql.Identifier(role)))
