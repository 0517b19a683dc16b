"""``wharf backup`` and ``wharf restore`` as processes."""

import os
import subprocess
import sys
from pathlib import Path

import httpx2

from tests.api.asking import create_application, upload_context
from tests.databases import Database
from worker.vault.installation import Installation

PASSPHRASE = "a passphrase of some length"


def wharf(url: str, *words: str, given: str = "") -> tuple[int, str]:
    done = subprocess.run(
        (sys.executable, "-m", "api.cli.main", *words),
        env={**os.environ, "WHARF_DATABASE_URL": url},
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout


async def test_a_backup_is_made_and_restored_by_commands(
    client: httpx2.AsyncClient,
    installation: Installation,
    elsewhere: Database,
    other: Installation,
    tmp_path: Path,
) -> None:
    made = await create_application(client)
    context = (await upload_context(client, made["applicationId"], b"the sources"))["contextId"]
    here, there = tmp_path / "data", tmp_path / "there"
    for name in ("keys", "servers/this-machine"):
        (here / name).mkdir(parents=True)
    (here / "keys" / "vault.key").write_text(installation.keys.private.read_text())
    (here / "keys" / "admin.key").write_text("the admin key")
    (here / "servers" / "this-machine" / "server.key").write_text("the server's key")
    passphrase, file = tmp_path / "passphrase", tmp_path / "one.wharf"
    passphrase.write_text(f"{PASSPHRASE}\n")
    of_file = ("--passphrase-file", str(passphrase))

    backed_up = wharf(
        installation.url, "backup", str(file), *of_file, "--data-dir", str(here), "--contexts"
    )
    to_other = ("restore", str(file), "--data-dir", str(there))
    restored = wharf(other.url, *to_other, "--passphrase-file", "-", given=PASSPHRASE)
    refused = wharf(other.url, *to_other, *of_file)
    replaced = wharf(other.url, *to_other, *of_file, "--replace")

    assert backed_up[0] == 0, backed_up[1]
    assert "1 uploaded contexts" in backed_up[1] and "Not in it: images" in backed_up[1]
    assert restored[0] == 0, restored[1]
    assert "with 1 contexts" in restored[1] and "wharf resume --list" in restored[1]
    assert refused[0] == 1 and "the database is not empty" in refused[1]
    assert replaced[0] == 0, replaced[1]
    assert elsewhere.execute("SELECT count(*) FROM application") == [(1,)]
    assert (there / "contexts" / context).read_bytes() == b"the sources"
    for name in ("keys/vault.key", "keys/admin.key", "servers/this-machine/server.key"):
        assert (there / name).read_text().strip() == (here / name).read_text().strip()
        assert (there / name).stat().st_mode & 0o777 == 0o600
    assert (there / "keys" / "vault.public").exists()


async def test_a_passphrase_is_needed(
    client: httpx2.AsyncClient, installation: Installation, tmp_path: Path
) -> None:
    (tmp_path / "data" / "keys").mkdir(parents=True)
    words = ("backup", str(tmp_path / "one.wharf"), "--data-dir", str(tmp_path / "data"))

    none = wharf(installation.url, *words)
    short = wharf(installation.url, *words, "--passphrase-file", "-", given="short")
    missing = wharf(installation.url, *words, "--passphrase-file", str(tmp_path / "none"))

    assert none[0] == 1 and "there is no passphrase" in none[1]
    assert short[0] == 1 and "fewer than 12 characters" in short[1]
    assert missing[0] == 1 and "cannot be read" in missing[1]
    assert not (tmp_path / "one.wharf").exists()
