"""``wharf migrate``."""

import os
import sys

import psycopg
from sqlalchemy.exc import OperationalError

from shared.errors import SetupError
from shared.migrations.schema import give_passwords, migrate
from shared.settings import MigrationSettings, load

if __name__ == "__main__":
    try:
        settings = load(MigrationSettings, os.environ)
        missing = migrate(settings.direct_url)
        give_passwords(settings.direct_url, settings.passwords)
        if missing:
            sys.stderr.write(
                "wharf migrate: as a superuser, run in this database what only one may, so that a"
                f" server's role is confined:\n{''.join(f'{line};{chr(10)}' for line in missing)}"
            )
    except (psycopg.OperationalError, OperationalError) as error:
        # Its text may hold the URL, and so the password.
        sys.exit(f"wharf migrate: the database cannot be reached: {type(error).__name__}")
    except SetupError as error:
        sys.exit(f"wharf migrate: {error.message}. {error.remedy}".rstrip())
