import re
import signal
import subprocess
import sys
from base64 import b64decode
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from shared.errors import SetupError
from tests.databases import Database
from worker.server.identity import Enrolment, StateDirectory, scram_verifier

HOLDS_THE_LOCK = """
import sys
from pathlib import Path
from worker.server.identity import StateDirectory
state = StateDirectory.open(Path(sys.argv[1]))
state.replace_incarnation("killed")
print("held", flush=True)
sys.stdin.read()
"""
ENROLLED = Enrolment(
    server_id="server", organization_id="organization", database_url="postgresql://d/wharf"
)


def test_all_files_are_private_to_their_owner(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.mkdir(mode=0o755)
    state = StateDirectory.open(path)
    state.public_key()
    state.database_password()
    state.broker_password()
    state.save_enrolment(ENROLLED)
    state.replace_incarnation("first")
    state.close()

    modes = {file.name: file.stat().st_mode & 0o777 for file in path.iterdir()}

    assert path.stat().st_mode & 0o777 == 0o700
    assert modes == dict.fromkeys(modes, 0o600)
    assert len(modes) == 6


def test_keys_and_passwords_are_created_once(tmp_path: Path) -> None:
    first = StateDirectory.open(tmp_path)
    key, password = first.public_key(), first.database_password()
    broker_password = first.broker_password()
    assert first.enrolment is None
    first.save_enrolment(ENROLLED)
    first.close()

    second = StateDirectory.open(tmp_path)

    assert second.public_key().key_id == key.key_id
    assert second.database_password() == password
    assert second.broker_password() == broker_password
    assert second.enrolment == ENROLLED
    second.close()


def test_two_servers_have_different_keys_and_passwords(tmp_path: Path) -> None:
    one, two = StateDirectory.open(tmp_path / "one"), StateDirectory.open(tmp_path / "two")

    assert one.public_key().key_id != two.public_key().key_id
    passwords = [s() for d in (one, two) for s in (d.database_password, d.broker_password)]
    assert len({password.get_secret_value() for password in passwords}) == 4
    one.close()
    two.close()


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    state = StateDirectory.open(tmp_path)
    password = state.database_password()

    assert password.get_secret_value() not in f"{state!r} {password!r} {state.key_ring()!r}"
    state.close()


def test_a_second_worker_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    first = StateDirectory.open(tmp_path)

    with pytest.raises(SetupError, match="another worker runs"):
        StateDirectory.open(tmp_path)

    first.close()
    StateDirectory.open(tmp_path).close()


def test_a_killed_worker_leaves_its_lock_and_its_incarnation(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", HOLDS_THE_LOCK, str(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"held\n"
        with pytest.raises(SetupError):
            StateDirectory.open(tmp_path)
        worker.send_signal(signal.SIGKILL)
        worker.wait()

        state = StateDirectory.open(tmp_path)

    assert state.replace_incarnation("next") == "killed"
    assert state.replace_incarnation("after") == "next"
    state.close()


def test_a_first_worker_has_no_predecessor(tmp_path: Path) -> None:
    state = StateDirectory.open(tmp_path)

    assert state.replace_incarnation("first") is None
    state.close()


def test_an_incomplete_write_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "server.json.new").write_text('{"server_id": "half')
    state = StateDirectory.open(tmp_path)

    before = state.enrolment
    state.save_enrolment(ENROLLED)

    assert (before, state.enrolment) == (None, ENROLLED)
    state.close()


def test_a_path_that_is_not_a_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(SetupError, match="file") as caught:
        StateDirectory.open(tmp_path / "file")

    assert "WHARF_STATE_DIR" in caught.value.remedy


@pytest.mark.parametrize("password", ["simple", "A-b_0" * 20, "with space and 'quotes'"])
def test_the_verifier_matches_that_of_postgresql(database: Database, password: str) -> None:
    with psycopg.connect(database.url("wharf_api")) as connection:
        theirs = connection.pgconn.encrypt_password(
            password.encode(), b"anybody", b"scram-sha-256"
        ).decode()
    parts = re.fullmatch(r"SCRAM-SHA-256\$(\d+):([^$]+)\$.*", theirs)
    assert parts is not None

    assert scram_verifier(password, b64decode(parts[2]), int(parts[1])) == theirs


def test_postgresql_accepts_the_verifier_and_its_password(
    database: Database,
) -> None:
    verifier = scram_verifier("the-password", b"0123456789abcdef")
    with database.server.administer() as superuser:
        superuser.execute(
            sql.SQL("CREATE ROLE visitor LOGIN PASSWORD {} IN ROLE wharf_servers").format(
                sql.Literal(verifier)
            )
        )
        try:
            [fault_document] = superuser.execute(
                "SELECT rolpassword FROM pg_authid WHERE rolname = 'visitor'"
            ).fetchall()
            url = database.network_url()
            psycopg.connect(url, user="visitor", password="the-password").close()
            with pytest.raises(psycopg.OperationalError, match="authentication failed"):
                psycopg.connect(url, user="visitor", password="another")
        finally:
            superuser.execute("DROP ROLE visitor")

    assert fault_document == (verifier,)
