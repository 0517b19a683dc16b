"""The commands, as processes that are killed and started again."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import httpx2
import psycopg
import pytest

from api.procedure.sealing import SealingKey
from shared.settings import read_setting
from shared.vault import KeyRing, PrivateKey, PublicKey, SealContext
from tests.api.asking import create_registry
from tests.databases import Database
from tests.worker.vault.test_reseal import count_sealed, open_all
from worker.local.postgres import OWNER
from worker.vault.__main__ import LOCK
from worker.vault.key_file import KeyFiles

MANY = 1500
CONTEXT = SealContext("credential", "o", "r", "registry.example", "me")
STORE = (
    "INSERT INTO registry (registry_id, organization_id, registry_name, username, password,"
    " registry_url, registry_type, host) VALUES (%s, %s, 'r', 'me', %s, 'r.lan', 'cloud', 'r.lan')"
)


@pytest.fixture
def files(tmp_path: Path, vault_key: PrivateKey) -> KeyFiles:
    made = KeyFiles(tmp_path / "vault.private", tmp_path / "vault.public")
    made.private.write_text(vault_key.text())
    made.private.chmod(0o640)
    return made


class Commands:
    """``wharf vault`` with the settings of this test."""

    def __init__(self, database: Database, files: KeyFiles) -> None:
        self.environment = {
            **os.environ,
            "WHARF_DATABASE_URL": database.url(OWNER),
            "WHARF_VAULT_PRIVATE_KEY_FILE": str(files.private),
            "WHARF_VAULT_PUBLIC_KEY_FILE": str(files.public),
        }

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            (sys.executable, "-m", "api.cli.main", "vault", *words),
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *words: str) -> tuple[int, str]:
        process = self.start(*words)
        output, _ = process.communicate(timeout=120)
        return process.returncode, output

    def kill_at(self, *words: str, line: str) -> None:
        """Kill the process once it has written a line with these words."""
        process = self.start(*words)
        assert process.stdout is not None
        for written in process.stdout:
            if line in written:
                break
        process.kill()
        process.communicate()


@pytest.fixture
def commands(database: Database, files: KeyFiles) -> Commands:
    return Commands(database, files)


def store_many(database: Database, key: PrivateKey, number: int) -> None:
    """Store registries as the API does, only faster."""
    [(found,)] = database.execute("SELECT organization_id FROM organization")
    organization_id = str(found)
    rows = []
    for _ in range(number):
        registry_id = str(uuid4())
        context = SealContext("credential", organization_id, registry_id, "r.lan", "me")
        sealed = key.public.seal(f"password of {registry_id}", context)
        rows.append((registry_id, organization_id, sealed))
    with psycopg.connect(database.url(OWNER)) as connection:
        connection.cursor().executemany(STORE, rows)


async def test_a_rotation_that_is_killed_three_times_loses_nothing(
    client: httpx2.AsyncClient,
    database: Database,
    vault_key: PrivateKey,
    files: KeyFiles,
    commands: Commands,
) -> None:
    store_many(database, vault_key, MANY)
    clear = open_all(database, KeyRing([vault_key]))

    commands.kill_at("rotate", line="key")
    for done in (200, 400):
        commands.kill_at("rotate", line=f"registry.password: {done}")
        left = count_sealed(database, vault_key)["registry"]
        # Control opens all of it at any moment.
        assert 0 < left < MANY
        assert open_all(database, files.ring()) == clear
    code, output = commands.run("rotate")

    new, old = files.read()
    assert code == 0, output
    assert old.text() == vault_key.text()
    assert count_sealed(database, vault_key) == {}
    assert open_all(database, KeyRing([new])) == clear
    assert files.private.stat().st_mode & 0o777 == 0o640


async def test_api_and_control_go_on_with_the_new_key_and_no_restart(
    client: httpx2.AsyncClient,
    database: Database,
    vault_key: PrivateKey,
    files: KeyFiles,
    commands: Commands,
) -> None:
    files.publish()
    api = SealingKey(vault_key.public, files.public)
    read = {"WHARF_VAULT_PRIVATE_KEY_FILE": str(files.private)}
    control = KeyRing.parse(vault_key.text(), lambda: read_setting("WHARF_VAULT_PRIVATE_KEY", read))
    before = api.seal("secret", CONTEXT)

    code, output = commands.run("rotate")
    after = api.seal("secret", CONTEXT)

    new = files.current()
    assert (code, f"New key {new.key_id}" in output) == (0, True)
    assert before.split(".")[1] == vault_key.public.key_id
    assert after.split(".")[1] == new.key_id
    assert control.open(before, CONTEXT) == control.open(after, CONTEXT) == "secret"
    assert control.find_public_key(after).key_id == new.key_id


def test_a_damaged_public_key_is_not_used(tmp_path: Path, vault_key: PrivateKey) -> None:
    file = tmp_path / "vault.public"
    file.write_text("wharf-public-v1.AAAA")

    sealed = SealingKey(vault_key.public, file).seal("secret", CONTEXT)

    assert KeyRing([vault_key]).open(sealed, CONTEXT) == "secret"


async def test_the_data_directory_of_wharf_up_has_the_keys(
    client: httpx2.AsyncClient,
    tmp_path: Path,
    vault_key: PrivateKey,
    files: KeyFiles,
    commands: Commands,
) -> None:
    (tmp_path / "keys").mkdir()
    files.private.rename(tmp_path / "keys" / "vault.key")

    rotated = commands.run("rotate", "--data-dir", str(tmp_path))
    removed = commands.run("remove-old", "--data-dir", str(tmp_path))
    del commands.environment["WHARF_DATABASE_URL"]
    stopped = commands.run("rotate", "--data-dir", str(tmp_path))

    kept = KeyFiles(tmp_path / "keys" / "vault.key", tmp_path / "keys" / "vault.public")
    assert (rotated[0], removed[0]) == (0, 0), rotated[1] + removed[1]
    assert len(kept.read()) == 1
    assert kept.current().key_id != vault_key.public.key_id
    assert (tmp_path / "keys" / "vault.public").read_text().strip() == str(kept.current())
    assert stopped[0] == 1 and f"no database runs on {tmp_path}" in stopped[1]


async def test_an_old_key_is_removed_once_nothing_is_sealed_to_it(
    client: httpx2.AsyncClient,
    database: Database,
    vault_key: PrivateKey,
    files: KeyFiles,
    commands: Commands,
) -> None:
    await create_registry(client)
    none = commands.run("remove-old")
    prepared = commands.run("rotate", "--prepare")
    unpublished = commands.run("remove-old")
    files.publish()
    early = commands.run("remove-old")
    rotated = commands.run("rotate")
    removed = commands.run("remove-old")

    assert none == (0, "There is no old key.\n")
    assert prepared[0] == 0 and "Copy the file to each machine" in prepared[1]
    assert unpublished[0] == 1 and "cannot be read" in unpublished[1]
    assert early[0] == 1
    assert "1 secrets are sealed to an old key: registry.password 1" in early[1]
    assert rotated[0] == 0 and "1 secrets are sealed to the new key" in rotated[1]
    assert removed[0] == 0 and f"Key {vault_key.public.key_id} is removed." in removed[1]
    assert [key.public.key_id for key in files.read()] == [files.current().key_id]


async def test_the_old_key_stays_while_the_api_has_another_public_key(
    client: httpx2.AsyncClient, vault_key: PrivateKey, files: KeyFiles, commands: Commands
) -> None:
    commands.run("rotate")
    assert files.public is not None
    files.public.write_text(str(vault_key.public))

    code, output = commands.run("remove-old")

    assert code == 1
    assert "has another key than the current one" in output
    assert len(files.read()) == 2


async def test_two_rotations_do_not_run_at_once(
    client: httpx2.AsyncClient, database: Database, files: KeyFiles, commands: Commands
) -> None:
    with psycopg.connect(database.url(OWNER), autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        code, output = commands.run("rotate")

    assert code == 1
    assert "another wharf vault is at work on this database" in output
    assert len(files.read()) == 1


Change = Callable[[Commands, KeyFiles], None]


def _no_database(commands: Commands, _files: KeyFiles) -> None:
    del commands.environment["WHARF_DATABASE_URL"]


def _no_file(commands: Commands, _files: KeyFiles) -> None:
    del commands.environment["WHARF_VAULT_PRIVATE_KEY_FILE"]


def _not_a_key(_commands: Commands, files: KeyFiles) -> None:
    files.private.write_text("what-is-no-key")


def _not_there(_commands: Commands, files: KeyFiles) -> None:
    files.private.unlink()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_no_database, "WHARF_DATABASE_URL is missing"),
        (_no_file, "WHARF_VAULT_PRIVATE_KEY_FILE is missing"),
        (_not_a_key, "not a wharf-private-v1 key"),
        (_not_there, "cannot be read"),
    ],
)
async def test_what_is_missing_is_said(
    client: httpx2.AsyncClient, commands: Commands, files: KeyFiles, change: Change, words: str
) -> None:
    change(commands, files)

    code, output = commands.run("rotate")

    assert code == 1
    assert words in output
    assert "what-is-no-key" not in output


async def test_an_api_without_a_file_is_given_the_new_public_key(
    client: httpx2.AsyncClient, commands: Commands, files: KeyFiles
) -> None:
    del commands.environment["WHARF_VAULT_PUBLIC_KEY_FILE"]

    _, output = commands.run("rotate")

    [key] = [word for word in output.split() if word.startswith("wharf-public-v1.")]
    assert PublicKey.parse(key).key_id == files.current().key_id
