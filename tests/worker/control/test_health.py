"""A container's question to control: is anybody there who sweeps?"""

import os
import subprocess
import sys

import pytest

from tests.databases import Database

SEEN = "INSERT INTO control (control_id, version, seen_at) VALUES ('c', '1', now() - %s::interval)"


def ask(database: Database, **environment: str) -> "subprocess.CompletedProcess[str]":
    settings = {
        "WHARF_DATABASE_URL": database.url("wharf_control"),
        "WHARF_BROKER_URL": "redis://unused/0",
        "WHARF_VAULT_PRIVATE_KEY": "unused",
    }
    return subprocess.run(
        [sys.executable, "-m", "worker.control.health"],
        env={**os.environ, **settings, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("ago", "status"), [("2 seconds", 0), ("1 minute", 1)])
def test_control_is_healthy_while_it_sweeps(database: Database, ago: str, status: int) -> None:
    database.execute(SEEN, ago)

    assert ask(database).returncode == status


def test_control_that_never_swept_is_not_healthy(database: Database) -> None:
    answer = ask(database)

    assert answer.returncode == 1
    assert "no control process had a heartbeat" in answer.stderr


def test_an_unavailable_database_is_not_healthy_and_its_password_is_not_shown(
    database: Database,
) -> None:
    away = "postgresql://wharf_control:secret-that-nobody-sees@127.0.0.1:1/wharf"

    answer = ask(database, WHARF_DATABASE_URL=away)

    assert answer.returncode == 1
    assert "secret-that-nobody-sees" not in answer.stdout + answer.stderr
