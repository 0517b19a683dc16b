"""Bring a database to the newest schema: Alembic, then the functions, then the roles."""

from collections.abc import Mapping
from importlib.resources import files

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from psycopg import sql
from pydantic import SecretStr
from sqlalchemy import Connection, create_engine

from shared.versions.oldest import require_postgres

SQL_FILES = (
    "migrations/sql/documents.sql",
    "jobs/sql/notifications.sql",
    "jobs/sql/availability.sql",
    "jobs/sql/backoff.sql",
    "jobs/sql/attempts.sql",
    "jobs/sql/logins.sql",
    "jobs/sql/login_use.sql",
    "jobs/sql/registry_checks.sql",
    "jobs/sql/application_states.sql",
    "jobs/sql/statistics.sql",
    "jobs/sql/quotas.sql",
    "jobs/sql/audit.sql",
    "jobs/sql/transitions.sql",
    "jobs/sql/needs.sql",
    "jobs/sql/cancellation.sql",
    "jobs/sql/retention.sql",
    "migrations/sql/server_removal.sql",
    "migrations/sql/organizations.sql",
    "migrations/sql/images.sql",
    "migrations/sql/webhooks.sql",
    "migrations/sql/enrolment.sql",
    "migrations/sql/restore.sql",
    "jobs/sql/worker/caller.sql",
    "jobs/sql/worker/register.sql",
    "jobs/sql/worker/claim.sql",
    "jobs/sql/certificates.sql",
    "jobs/sql/worker/heartbeat.sql",
    "jobs/sql/worker/event.sql",
    "jobs/sql/nearest.sql",
    "jobs/sql/image_reports.sql",
    "jobs/sql/worker/finish.sql",
    "jobs/sql/worker/former_names.sql",
    "jobs/sql/queue.sql",
    "jobs/sql/capacity.sql",
    "migrations/sql/people.sql",
    "migrations/sql/audit.sql",
    "migrations/sql/authority.sql",
    "migrations/sql/sign_in.sql",
    "migrations/sql/roles.sql",
    "migrations/sql/server_roles.sql",
)
"""The files that are run after Alembic, in this order: a function stands after those it calls.

Every statement can be run again. Functions name every object with its schema: their search path
holds nothing that a caller can fill.
"""


SET_PROVIDER = """
INSERT INTO sign_in_provider (issuer, proof_hash) VALUES (%s, sha256(%s))
ON CONFLICT (issuer) DO UPDATE SET proof_hash = EXCLUDED.proof_hash
"""

DROP_VIEWS = """
DROP VIEW IF EXISTS public.queued_job, public.server_capacity, public.registry_capacity,
  public.organization_capacity, public.registry_quota_capacity, public.registry_without_login,
  public.former_login_use, public.held_login, public.login_on_trial;
-- Their names before revision 0024.
DROP VIEW IF EXISTS public.server_room, public.registry_room, public.organization_room
"""
"""Alembic changes no column that a view shows; the files of `SQL_FILES` make the views anew."""


def _scripts() -> Config:
    config = Config()
    config.set_main_option("script_location", "shared:migrations")
    config.set_main_option("recursive_version_locations", "true")
    return config


def alembic_config(connection: Connection) -> Config:
    config = _scripts()
    config.attributes["connection"] = connection
    return config


def knows_revision(revision: str) -> bool:
    """Return whether this version can migrate a database of that revision."""
    try:
        return ScriptDirectory.from_config(_scripts()).get_revision(revision) is not None
    except CommandError:
        return False


def migrate(url: str) -> list[str]:
    """Migrate the database at a ``postgresql://`` URL; its role owns it and has CREATEROLE.

    Gives the statements that a superuser has yet to run there, so that the role of a server is
    confined; a role that is one has run them.

    Raises:
        SetupError: PostgreSQL is too old; nothing was changed.
    """
    with psycopg.connect(url) as plain:
        require_postgres(plain)
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1))
    try:
        # One transaction, so that nobody meets a database without its views and functions.
        with engine.begin() as connection:
            _execute(connection, DROP_VIEWS)
            command.upgrade(alembic_config(connection), "head")
            for name in SQL_FILES:
                _execute(connection, sql_text(name))
    finally:
        engine.dispose()
    with psycopg.connect(url, options="-c lock_timeout=5s") as plain:
        _remove_leftovers(plain, url)
        rows = plain.execute("SELECT * FROM public.superuser_statements()").fetchall()
        statements = [statement for (statement,) in rows]
        if not _is_superuser(plain):
            return statements
        for statement in statements:
            plain.execute(statement.encode())
    return []


def _execute(connection: Connection, statements: str) -> None:
    """Run several statements in the transaction of the connection; none has parameters."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)  # noqa: S101 - see the URL
    driver.execute(statements.encode())


def _remove_leftovers(connection: psycopg.Connection, url: str) -> None:
    """Remove what removed servers own in other databases, where it keeps their roles."""
    connection.commit()
    roles = connection.execute(
        "SELECT rolname FROM pg_roles JOIN public.server ON rolname = 'wharf_server_' || server_id"
        " WHERE removed_at IS NOT NULL"
    ).fetchall()
    if not roles:
        return
    databases = connection.execute(
        "SELECT datname FROM pg_database WHERE datallowconn AND datname <> current_database()"
        " AND has_database_privilege(oid, 'CONNECT')"
    ).fetchall()
    for (database,) in databases:
        with psycopg.connect(url, dbname=database, options="-c lock_timeout=5s") as other:
            for (role,) in roles:
                other.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))


def _is_superuser(connection: psycopg.Connection) -> bool:
    row = connection.execute("SELECT current_setting('is_superuser')").fetchone()
    return row == ("on",)


def give_passwords(url: str, passwords: Mapping[str, SecretStr]) -> None:
    """Let each role log in with its password.

    PostgreSQL gets only SCRAM verifiers, which are made here: no statement that it may log holds
    a password.
    """
    statement = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}")
    with psycopg.connect(url) as connection:
        for role, password in passwords.items():
            verifier = connection.pgconn.encrypt_password(
                password.get_secret_value().encode(), role.encode(), b"scram-sha-256"
            ).decode()
            connection.execute(statement.format(sql.Identifier(role), sql.Literal(verifier)))


def set_provider(url: str, issuer: str | None, proof: bytes | None) -> None:
    """Let the API, which has this proof, sign people in for the provider; for no other one."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "DELETE FROM sign_in_provider WHERE issuer IS DISTINCT FROM %s", (issuer,)
        )
        if proof is not None:
            connection.execute(SET_PROVIDER, (issuer, proof))


def sql_text(name: str) -> str:
    """The text of one of `SQL_FILES`."""
    return files("shared").joinpath(name).read_text()
