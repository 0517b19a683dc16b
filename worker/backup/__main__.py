"""``wharf backup FILE``, ``wharf restore FILE``."""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from shared.errors import WharfError, in_sentences
from shared.settings import MigrationSettings, load
from worker.backup.archive import CONTEXTS
from worker.backup.make import make_backup
from worker.backup.passphrase import read_passphrase
from worker.backup.restore import restore_backup
from worker.local.directory import PrivateDirectory
from worker.local.postgres import OWNER, LocalPostgres
from worker.vault.installation import Installation, find_installation, local_keys

ABSENT = "Not in it: images, the broker, settings, and state directories of other machines."


def back_up(arguments: argparse.Namespace) -> None:
    """Make a backup and say what it has.

    Raises:
        WharfError: see `make_backup`.
    """
    installation = find_installation(arguments.data_dir, os.environ)
    passphrase = read_passphrase(arguments.passphrase_file, is_new=True)
    began = time.monotonic()
    manifest = make_backup(
        arguments.file,
        installation,
        passphrase,
        local=arguments.data_dir is not None,
        contexts=arguments.contexts,
    )
    seconds, size = time.monotonic() - began, arguments.file.stat().st_size
    _say(f"{arguments.file}: {size / 1e6:.1f} MB in {seconds:.1f} s.")
    number = sum(name.startswith(CONTEXTS) for name in manifest.parts)
    held = f"{number} uploaded contexts" if arguments.contexts else "no uploaded contexts"
    _say(f"In it: the database, the vault's keys, {held}.")
    _say(ABSENT)
    _say("Keep the passphrase apart from the file: without it, no stored secret opens.")


def bring_back(arguments: argparse.Namespace) -> None:
    """Restore a backup and say what is to be done.

    Raises:
        WharfError: see `restore_backup`.
    """
    passphrase = read_passphrase(arguments.passphrase_file, is_new=False)
    passwords = {}
    if arguments.data_dir is None:
        passwords = load(MigrationSettings, os.environ).passwords
    began = time.monotonic()
    with _opened(arguments.data_dir) as installation:
        restored = restore_backup(
            arguments.file,
            installation,
            passphrase,
            replace=arguments.replace,
            local=arguments.data_dir is not None,
            passwords=passwords,
        )
        if installation.keys.public is None:
            _say(f"Give each API WHARF_VAULT_PUBLIC_KEY: {installation.keys.current()}")
    _say(f"Restored in {time.monotonic() - began:.1f} s, with {restored.contexts} contexts.")
    _say(
        f"{restored.jobs} jobs wait until you have seen them: wharf resume --list, "
        "then wharf resume."
    )
    _say(
        f"{restored.servers} servers come back by themselves if the addresses of API, database and "
        "broker are the same. Otherwise remove each and let it join again."
    )
    _say("All people have to sign in again.")


@contextmanager
def _opened(data_dir: Path | None) -> Iterator[Installation]:
    """Open the database; that of ``wharf up``, which must not run, is started for this."""
    if data_dir is None or "WHARF_DATABASE_URL" in os.environ:
        yield find_installation(data_dir, os.environ)
        return
    directory = PrivateDirectory.open(data_dir)
    try:
        postgres = LocalPostgres.start(directory.path / "postgres")
        try:
            yield Installation(postgres.url(OWNER), local_keys(directory.path), directory.path)
        finally:
            postgres.stop()
    finally:
        directory.close()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def main() -> None:
    parser = argparse.ArgumentParser(prog="wharf", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("backup", "restore"):
        command = commands.add_parser(name)
        command.add_argument("file", type=Path)
        command.add_argument("--passphrase-file", type=Path)
        command.add_argument("--data-dir", type=Path)
    commands.choices["backup"].add_argument("--contexts", action="store_true")
    commands.choices["restore"].add_argument("--replace", action="store_true")
    arguments = parser.parse_args()
    try:
        if arguments.command == "backup":
            back_up(arguments)
        else:
            bring_back(arguments)
    except WharfError as error:
        sys.exit(f"wharf {arguments.command}: {in_sentences(error.message, error.remedy)}")
    except psycopg.Error as error:
        sys.exit(
            f"wharf {arguments.command}: the database cannot be used: {type(error).__name__}. "
            "Check WHARF_DATABASE_URL."
        )


if __name__ == "__main__":
    main()
