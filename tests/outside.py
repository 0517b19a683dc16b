"""A PostgreSQL of somebody else's, as the pages ask for one: Debian's, with its own defaults.

Nothing of ours is arranged in it but what "On to many machines" names: a role with CREATEROLE that
owns the database. Everybody may connect to ``postgres`` and ``template1``, as initdb leaves it.
"""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from secrets import token_urlsafe
from signal import SIGINT
from typing import Self

import psycopg
from psycopg import sql
from pydantic import SecretStr

from shared.migrations.schema import give_passwords, migrate
from worker.local.cluster import find_program, unprivileged
from worker.local.postgres import CLIENTS, OWNER
from worker.local.processes import Child, free_port

SUPERUSER = "postgres"
READY_WITHIN = timedelta(seconds=30)
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "fsync": "off",
    "full_page_writes": "off",
    "timezone": "UTC",
}

Programs = Callable[[str], Path]


@dataclass
class OutsidePostgres:
    """One running server; its clients come over TCP, with SCRAM."""

    child: Child
    port: int
    passwords: dict[str, str] = field(repr=False)

    @classmethod
    def start(cls, directory: Path, *, programs: Programs | None = None) -> Self:
        """A new cluster in ``directory``, and the role of the owner in it.

        ``programs`` finds its programs; Debian's by default.
        """
        find = programs or program
        passwords = {role: token_urlsafe(16) for role in (SUPERUSER, OWNER, *CLIENTS)}
        port, data = free_port(), directory / "data"
        _initdb(find("initdb"), directory, data, passwords[SUPERUSER])
        settings = {**SETTINGS, "port": str(port), "unix_socket_directories": ""}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        child = Child.start(
            "postgres",
            [str(find("postgres")), "-D", str(data), *options],
            log=directory / "postgres.log",
            wrapper=unprivileged(),
            stop_signal=SIGINT,
        )
        server = cls(child, port, passwords)
        try:
            child.wait_until(server.is_ready, deadline=READY_WITHIN)
            server.add_owner()
        except BaseException:
            child.kill()
            raise
        return server

    def add_owner(self) -> None:
        with self.administer() as connection:
            connection.execute(
                sql.SQL("CREATE ROLE {} LOGIN CREATEROLE PASSWORD {}").format(
                    sql.Identifier(OWNER), sql.Literal(self.passwords[OWNER])
                )
            )

    def url(self, role: str, database: str) -> str:
        """``postgresql://…`` with the role's password."""
        return f"postgresql://{role}:{self.passwords[role]}@127.0.0.1:{self.port}/{database}"

    def network_url(self, database: str) -> str:
        """The same without a role."""
        return f"postgresql://127.0.0.1:{self.port}/{database}"

    def administer(self, database: str = "postgres") -> psycopg.Connection:
        """A connection of the superuser, in autocommit; close it."""
        return psycopg.connect(self.url(SUPERUSER, database), autocommit=True, connect_timeout=5)

    def create_database(self, name: str, *, template: str = "template1") -> None:
        """Make a database of `OWNER`, and migrate it as ``wharf migrate`` does."""
        statement = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {} STRATEGY FILE_COPY")
        with self.administer() as connection:
            connection.execute(statement.format(*map(sql.Identifier, (name, OWNER, template))))
        self.migrate(name)

    def migrate(self, name: str) -> list[str]:
        """Do what ``wharf migrate`` does; return what a superuser still has to do."""
        left = migrate(self.url(OWNER, name))
        give_passwords(
            self.url(OWNER, name), {role: SecretStr(self.passwords[role]) for role in CLIENTS}
        )
        return left

    def drop_database(self, name: str) -> None:
        """Drop it, and end whatever is connected to it."""
        with self.administer() as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )

    def is_ready(self) -> bool:
        try:
            self.administer().close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        self.child.stop()


def program(name: str) -> Path:
    """A program of Debian's newest PostgreSQL, or of the embedded one where there is none."""
    found = sorted(
        Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4])
    )
    return found[-1] if found else find_program(name)


def _initdb(initdb: Path, directory: Path, data: Path, password: str) -> None:
    password_file = directory / "superuser"
    password_file.write_text(password)
    argv = [
        *unprivileged(),
        str(initdb),
        f"--pgdata={data}",
        f"--username={SUPERUSER}",
        f"--pwfile={password_file}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--no-sync",
    ]
    subprocess.run(argv, check=True, capture_output=True)
