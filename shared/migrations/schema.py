"""Bring a database to the newest schema: Alembic, then the functions, then the roles."""

from collections.abc import Mapping
from importlib.resources import files

import psycopg
from alembic import command
from alembic.config import Config
from psycopg import sql
from pydantic import SecretStr
from sqlalchemy import Connection, create_engine

SQL_FILES = ("rules.sql", "webhooks.sql", "restore.sql", "worker.sql", "roles.sql")


def alembic_config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", "shared:migrations")
    config.attributes["connection"] = connection
    return config


def migrate(url: str) -> None:
    """Migrate the database at a ``postgresql://`` URL; its role owns it and has CREATEROLE."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1))
    try:
        with engine.connect() as connection:
            command.upgrade(alembic_config(connection), "head")
            connection.commit()
    finally:
        engine.dispose()
    with psycopg.connect(url, options="-c lock_timeout=5s") as plain:
        for name in SQL_FILES:
            plain.execute(sql_text(name).encode())


def give_passwords(url: str, passwords: Mapping[str, SecretStr]) -> None:
    """Let each role log in with its password.

    The server sees only what proves it, a SCRAM verifier made here: no statement that it may log
    holds the password.
    """
    statement = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}")
    with psycopg.connect(url) as connection:
        for role, password in passwords.items():
            verifier = connection.pgconn.encrypt_password(
                password.get_secret_value().encode(), role.encode(), b"scram-sha-256"
            ).decode()
            connection.execute(statement.format(sql.Identifier(role), sql.Literal(verifier)))


def sql_text(name: str) -> str:
    """The text of one of `SQL_FILES`."""
    return files("shared.migrations").joinpath(name).read_text()
