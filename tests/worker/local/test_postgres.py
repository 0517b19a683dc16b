import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from sqlalchemy import create_engine, text

from shared.errors import SetupError
from tests.small_disks import open_small_disk
from tests.worker.local.conditions import wait_until
from worker.local.cluster import SUPERUSER
from worker.local.postgres import LocalPostgres
from worker.local.processes import free_port, is_listening

MEBIBYTE = 1024**2

STARTS_A_SERVER = """
import sys
from collections.abc import Iterator
from pathlib import Path
from worker.local.postgres import LocalPostgres
server = LocalPostgres.start(Path(sys.argv[1]), durable=False)
print(server.child.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPostgres]:
    running = LocalPostgres.start(
        tmp_path_factory.mktemp("postgres"), listen="127.0.0.1", durable=False
    )
    yield running
    running.stop()


def over_network(server: LocalPostgres, role: str) -> str:
    return make_conninfo(
        server.network_url(),
        user=role,
        password=server.passwords[role],
        require_auth="scram-sha-256",
    )


def make_note(server: LocalPostgres, words: str) -> None:
    with psycopg.connect(server.url("wharf_owner")) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS note (words text)")
        connection.execute("INSERT INTO note VALUES (%s)", [words])


def read_notes(server: LocalPostgres, database: str = "wharf") -> list[str]:
    with psycopg.connect(server.url("wharf_owner", database)) as connection:
        return [words for (words,) in connection.execute("SELECT words FROM note")]


@pytest.mark.parametrize("role", ["wharf_owner", "wharf_api", "wharf_control"])
def test_each_role_connects_through_the_socket_and_none_is_a_superuser(
    server: LocalPostgres, role: str
) -> None:
    with psycopg.connect(server.url(role)) as connection:
        row = connection.execute(
            "SELECT current_user, rolsuper, rolcreaterole, inet_server_addr()"
            " FROM pg_roles WHERE rolname = current_user"
        ).fetchone()

    assert row == (role, False, role == "wharf_owner", None)


def test_the_server_is_postgresql_18_and_the_owner_owns_the_database(server: LocalPostgres) -> None:
    with psycopg.connect(server.url("wharf_api")) as connection:
        owner = connection.execute(
            "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'wharf'"
        ).fetchone()

        assert owner == ("wharf_owner",)
        assert connection.info.server_version // 10000 == 18


def test_sqlalchemy_reads_the_url(server: LocalPostgres) -> None:
    engine = create_engine(server.url("wharf_api").replace("://", "+psycopg://", 1))
    try:
        with engine.connect() as connection:
            assert connection.scalar(text("SELECT current_user")) == "wharf_api"
    finally:
        engine.dispose()


def test_nobody_gets_in_without_a_password(server: LocalPostgres) -> None:
    wrong = server.url("wharf_owner").replace(server.passwords["wharf_owner"], "wrong")

    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)


def test_a_role_proves_its_password_over_the_network(server: LocalPostgres) -> None:
    with psycopg.connect(over_network(server, "wharf_control")) as connection:
        row = connection.execute("SELECT current_user").fetchone()

    assert row == ("wharf_control",)


def test_the_superuser_comes_through_the_socket_only(server: LocalPostgres) -> None:
    with pytest.raises(psycopg.OperationalError, match=r"pg_hba\.conf rejects"):
        psycopg.connect(over_network(server, SUPERUSER))


@pytest.mark.parametrize("database", ["wharf", "postgres", "template1", "another"])
def test_a_stranger_may_not_enter_any_database(server: LocalPostgres, database: str) -> None:
    server.create_database("another")
    with server.administer() as connection:
        connection.execute("CREATE ROLE stranger LOGIN PASSWORD 'known'")

    try:
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(
                make_conninfo(server.url("wharf_api", database), user="stranger", password="known")
            )
    finally:
        server.drop_database("another")
        with server.administer() as connection:
            connection.execute("DROP ROLE stranger")


@pytest.mark.parametrize("role", ["wharf_api", "wharf_control"])
def test_our_roles_may_connect_and_make_no_temporary_tables(
    server: LocalPostgres, role: str
) -> None:
    server.create_database("fresh")

    try:
        for database in ("wharf", "fresh"):
            with (
                psycopg.connect(server.url(role, database)) as connection,
                pytest.raises(psycopg.errors.InsufficientPrivilege),
            ):
                connection.execute("CREATE TEMP TABLE mine (id int)")
    finally:
        server.drop_database("fresh")


def test_the_owner_rules_over_the_roles_that_it_was_given(server: LocalPostgres) -> None:
    with psycopg.connect(server.url("wharf_owner")) as connection:
        connection.execute("CREATE ROLE group_of_mine NOLOGIN")
        connection.execute("GRANT group_of_mine TO wharf_api")
        connection.rollback()


def test_a_database_is_copied_from_a_template(server: LocalPostgres) -> None:
    make_note(server, "from the template")
    server.create_database("copy", template="wharf")

    try:
        assert read_notes(server, "copy") == ["from the template"]
        with psycopg.connect(server.url("wharf_api", "copy")) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        server.drop_database("copy")


def test_a_database_in_use_is_dropped_too(server: LocalPostgres) -> None:
    server.create_database("busy")
    with psycopg.connect(server.url("wharf_owner", "busy"), autocommit=True) as connection:
        server.drop_database("busy")

        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    server.drop_database("busy")


def test_no_password_is_in_the_log_or_the_settings(server: LocalPostgres) -> None:
    texts = [repr(server), server.child.log.read_text()]
    texts += [file.read_text() for file in (server.directory.path / "data").glob("*.conf")]

    assert not [word for word in server.passwords.values() if any(word in t for t in texts)]


def test_without_an_address_there_is_only_the_socket(directory: Path) -> None:
    server = LocalPostgres.start(directory, durable=False)
    try:
        with server.administer() as connection:
            assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
        with pytest.raises(RuntimeError, match="without an address"):
            server.network_url()
        assert stat.S_IMODE(server.socket.stat().st_mode) == 0o700
    finally:
        server.stop()


def test_a_killed_server_comes_back_with_what_it_had_confirmed(directory: Path) -> None:
    server = LocalPostgres.start(directory, durable=False)
    for number in range(20):
        make_note(server, str(number))
    with psycopg.connect(server.url("wharf_owner")):  # a session that outlives its postmaster
        server.kill()

        again = LocalPostgres.start(directory, durable=False)

    try:
        assert len(read_notes(again)) == 20
        assert again.passwords == server.passwords
    finally:
        again.stop()


def test_a_server_that_may_lose_nothing_writes_through(directory: Path) -> None:
    server = LocalPostgres.start(directory)
    try:
        with server.administer() as connection:
            names = ("fsync", "synchronous_commit", "full_page_writes", "data_checksums")
            settings = [connection.execute(f"SHOW {name}").fetchone() for name in names]
        assert settings == [("on",)] * 4
    finally:
        server.stop()


def test_a_running_server_keeps_a_second_one_away(directory: Path) -> None:
    server = LocalPostgres.start(directory, durable=False)
    try:
        with pytest.raises(SetupError, match="in use by another process"):
            LocalPostgres.start(directory, durable=False)
        assert server.is_ready()
    finally:
        server.stop()


def test_a_server_ends_with_the_process_that_started_it_and_starts_again(directory: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTS_A_SERVER, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
    ) as parent:
        assert parent.stdout is not None
        postmaster = int(parent.stdout.readline())
        parent.kill()

    server = LocalPostgres.start(directory, durable=False)

    try:
        wait_until(lambda: not Path(f"/proc/{postmaster}/cwd").exists())
        assert server.is_ready()
    finally:
        server.stop()


def test_a_process_id_that_now_belongs_to_another_program_is_no_obstacle(directory: Path) -> None:
    server = LocalPostgres.start(directory, durable=False)
    lock_file = directory / "data" / "postmaster.pid"
    lines = lock_file.read_text().splitlines()
    server.kill()
    lock_file.write_text("\n".join([str(os.getppid()), *lines[1:]]) + "\n")

    again = LocalPostgres.start(directory, durable=False)

    assert again.is_ready()
    again.stop()


def test_a_first_start_that_was_cut_off_begins_anew(directory: Path) -> None:
    (directory / "data.partial").mkdir(parents=True)
    (directory / "data.partial" / "PG_VERSION").write_text("18")

    server = LocalPostgres.start(directory, durable=False)

    assert server.is_ready()
    server.stop()


def test_a_cluster_that_cannot_be_made_is_reported_and_leaves_no_password(directory: Path) -> None:
    directory.mkdir()
    (directory / "data.partial").write_text("in the way")

    with pytest.raises(SetupError, match="initdb failed"):
        LocalPostgres.start(directory, durable=False)

    assert not (directory / "superuser").exists()


@pytest.mark.parametrize("name", ["long" * 30, "with, 'odd' \"signs\" \\"])
def test_a_path_that_does_not_suit_a_socket_gets_another_that_goes_with_the_server(
    tmp_path: Path, name: str
) -> None:
    server = LocalPostgres.start(tmp_path / name, durable=False)
    try:
        assert len(str(server.socket)) < 80
        assert stat.S_IMODE(server.socket.stat().st_mode) == 0o700
        assert server.is_ready()
    finally:
        server.stop()
    assert not server.socket.exists()


def test_directories_above_stay_as_closed_as_they_were(tmp_path: Path) -> None:
    above = tmp_path / "above"
    above.mkdir(mode=0o700)

    LocalPostgres.start(above / "server", durable=False).stop()

    assert stat.S_IMODE(above.stat().st_mode) == 0o700
    assert stat.S_IMODE((above / "server").stat().st_mode) == 0o700
    assert stat.S_IMODE((above / "server" / "data").stat().st_mode) == 0o700


def test_a_port_in_use_is_reported_and_nothing_is_left_running(directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SetupError, match="ended at its start"):
            LocalPostgres.start(directory, listen="127.0.0.1", port=port, durable=False)

    server = LocalPostgres.start(directory, listen="127.0.0.1", port=port, durable=False)
    try:
        assert is_listening("127.0.0.1", port)
    finally:
        server.stop()


def test_an_address_of_ip_version_6_is_written_in_brackets(directory: Path) -> None:
    server = LocalPostgres.start(directory, listen="::1", port=free_port(), durable=False)
    try:
        with psycopg.connect(over_network(server, "wharf_api")) as connection:
            assert connection.execute("SELECT current_user").fetchone() == ("wharf_api",)
    finally:
        server.stop()


def test_a_disk_without_room_is_named_at_the_first_start(tmp_path: Path) -> None:
    with (
        open_small_disk(tmp_path / "small", 4 * MEBIBYTE) as small,
        pytest.raises(SetupError, match=r"the disk is full: \d+ MiB are free") as refused,
    ):
        LocalPostgres.start(small / "postgres")

    assert "Free space" in refused.value.remedy


def is_used(folder: Path) -> bool:
    """Return whether a process works in the folder."""
    for entry in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):
            if entry.readlink().is_relative_to(folder):
                return True
    return False


@pytest.mark.parametrize(
    ("left_bytes", "message"),
    [
        pytest.param(0, "No space left on device", id="not even for its settings"),
        pytest.param(4096, r"the disk is full: 0 MiB are free", id="for its settings only"),
    ],
)
def test_a_disk_that_is_full_by_now_is_named_at_the_next_start(
    tmp_path: Path, left_bytes: int, message: str
) -> None:
    with open_small_disk(tmp_path / "small", 200 * MEBIBYTE) as small:
        LocalPostgres.start(small / "postgres", durable=False).stop()
        wait_until(lambda: not is_used(small))
        for cache in (*small.rglob("pg_internal.init"), *small.rglob("pgstat.stat")):
            cache.unlink()  # PostgreSQL removes them at its start: that would be room enough
        free_bytes = shutil.disk_usage(small).free
        (small / "of others").write_bytes(bytes(free_bytes - left_bytes))

        with pytest.raises(SetupError, match=message) as refused:
            LocalPostgres.start(small / "postgres", durable=False)

    assert "Free space" in refused.value.remedy
