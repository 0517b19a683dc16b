"""``wharf migrate``."""

import os
import sys

import psycopg
from sqlalchemy.exc import OperationalError

from shared.errors import SetupError, in_sentences
from shared.migrations.schema import give_passwords, migrate, set_provider
from shared.settings import MigrationSettings, load

WRONG_USER = "Check user and password in WHARF_DATABASE_URL."
ADDRESS = "Check host and port in WHARF_DATABASE_URL, and that PostgreSQL runs."
CAUSES = {
    "password authentication failed": ("PostgreSQL refuses the password", WRONG_USER),
    "no password supplied": ("WHARF_DATABASE_URL has no password", WRONG_USER),
    "pg_hba.conf": ("PostgreSQL's pg_hba.conf does not let this machine in", WRONG_USER),
    "Connection refused": ("nothing listens at the database's address", ADDRESS),
    "could not translate host name": ("the database's host name does not exist", ADDRESS),
    "resolve host": ("the database's host name does not exist", ADDRESS),
    "timeout expired": ("the database's address does not answer", ADDRESS),
    "does not exist": (
        "PostgreSQL has no such database or role",
        "Create it first, or check WHARF_DATABASE_URL.",
    ),
}
"""Causes by words of libpq. Its own text is not shown: it may hold the URL, and so the password."""


def explain(error: Exception) -> tuple[str, str]:
    """Return the cause of a failed connection, and its remedy."""
    text = str(error)
    for words, found in CAUSES.items():
        if words in text:
            return found
    return f"the database cannot be reached: {type(error).__name__}", ADDRESS


if __name__ == "__main__":
    try:
        settings = load(MigrationSettings, os.environ)
        missing = migrate(settings.direct_url)
        give_passwords(settings.direct_url, settings.passwords)
        set_provider(settings.direct_url, settings.oidc_issuer, settings.provider_proof)
        if missing:
            sys.stderr.write(
                "wharf migrate: as a superuser, run in this database what only one may, so that a"
                f" server's role is confined:\n{''.join(f'{line};{chr(10)}' for line in missing)}"
            )
    except (psycopg.OperationalError, OperationalError) as error:
        sys.exit(f"wharf migrate: {in_sentences(*explain(error))}")
    except SetupError as error:
        sys.exit(f"wharf migrate: {in_sentences(error.message, error.remedy)}")
