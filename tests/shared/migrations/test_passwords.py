"""`wharf migrate` as a program: it gives the roles the passwords that it is given."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from shared.migrations.schema import give_passwords
from shared.settings import MigrationSettings, load
from tests.databases import Database
from worker.local.postgres import OWNER

ROLE = "wharf_api"


def migrate(database: Database, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "shared.migrations"],
        env={**os.environ, "WHARF_DATABASE_URL": database.url(OWNER), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def can_log_in(database: Database, password: str) -> bool:
    try:
        psycopg.connect(database.url(ROLE, password), connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def test_a_role_that_could_not_log_in_can_with_the_password_from_a_file(
    database: Database, tmp_path: Path
) -> None:
    password = database.server.passwords[ROLE]
    (tmp_path / "password").write_text(f"{password}\n")
    database.execute(f"ALTER ROLE {ROLE} NOLOGIN PASSWORD NULL")
    assert not can_log_in(database, password)

    done = migrate(database, WHARF_API_DATABASE_PASSWORD_FILE=str(tmp_path / "password"))

    assert (done.returncode, password in done.stdout + done.stderr) == (0, False)
    assert can_log_in(database, password)
    assert not can_log_in(database, f"{password}.")


def test_a_role_whose_password_is_not_given_keeps_its_own(database: Database) -> None:
    done = migrate(database, WHARF_API_DATABASE_PASSWORD="")

    assert done.returncode == 0
    assert can_log_in(database, database.server.passwords[ROLE])


def test_the_passwords_are_those_of_the_roles_they_are_named_after() -> None:
    settings = load(
        MigrationSettings,
        {
            "WHARF_DATABASE_URL": "postgresql://wharf_owner@database/wharf",
            "WHARF_CONTROL_DATABASE_PASSWORD": "of-control",
        },
    )

    given = {role: password.get_secret_value() for role, password in settings.passwords.items()}

    assert given == {"wharf_control": "of-control"}


def test_a_role_that_does_not_exist_is_an_error(database: Database) -> None:
    passwords = load(
        MigrationSettings,
        {
            "WHARF_DATABASE_URL": database.url(OWNER),
            "WHARF_API_DATABASE_PASSWORD": "secret-that-nobody-sees",
        },
    ).passwords

    with pytest.raises(psycopg.errors.UndefinedObject) as caught:
        give_passwords(database.url(OWNER), {"nobody_of_ours": passwords["wharf_api"]})

    assert "secret-that-nobody-sees" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (":wrong-canary@", "PostgreSQL refuses the password. Check user and password"),
        ("/nothing", "PostgreSQL has no such database or role. Create it first"),
        (":1/", "nothing listens at the database's address. Check host and port"),
    ],
)
def test_a_database_that_cannot_be_reached_is_explained(
    database: Database, change: str, text: str
) -> None:
    password = database.server.passwords[OWNER]
    url = database.url(OWNER, password)
    place, name = url.rsplit("/", 1)
    changed = {
        ":wrong-canary@": url.replace(f":{password}@", change),
        "/nothing": f"{place}{change}",
        ":1/": f"{place.rpartition(':')[0]}{change}{name}",
    }[change]

    done = migrate(database, WHARF_DATABASE_URL=changed)

    assert done.returncode == 1
    assert text in done.stderr
    assert "canary" not in done.stderr and password not in done.stderr
