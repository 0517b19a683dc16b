"""``wharf backup``, ``wharf restore``: the database, the vault's keys and uploads in one file."""

from pathlib import Path
from typing import Annotated

import typer

from api.cli.processes import RunningDirectory, become, data_dir_words

app = typer.Typer()

PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        help="A file that contains the passphrase; - is standard input. Without it you are asked.",
    ),
]


def _passphrase_words(file: Path | None) -> tuple[str, ...]:
    return ("--passphrase-file", str(file)) if file else ()


@app.command(epilog="Example: wharf backup /backups/monday.wharf --data-dir /var/lib/wharf")
def backup(
    file: Annotated[Path, typer.Argument(help="The new file.")],
    passphrase_file: PassphraseFile = None,
    data_dir: RunningDirectory = None,
    *,
    contexts: Annotated[
        bool, typer.Option("--contexts", help="With the uploaded build contexts.")
    ] = False,
) -> None:
    """Write a backup to one file, while everything runs.

    Needs the database as its owner (WHARF_DATABASE_URL), the file of the vault's keys
    (WHARF_VAULT_PRIVATE_KEY_FILE) and for contexts WHARF_DATA_DIR, or the data directory of wharf
    up. The keys in the file open only with the passphrase.
    """
    words = (*_passphrase_words(passphrase_file), *data_dir_words(data_dir))
    become("worker.backup", "backup", str(file), *words, *(("--contexts",) if contexts else ()))


@app.command(epilog="Example: wharf restore /backups/monday.wharf --data-dir /var/lib/wharf")
def restore(
    file: Annotated[Path, typer.Argument(help="A file of wharf backup.")],
    passphrase_file: PassphraseFile = None,
    data_dir: RunningDirectory = None,
    *,
    replace: Annotated[
        bool, typer.Option("--replace", help="Into a database with content, which is lost.")
    ] = False,
) -> None:
    """Restore a backup into an empty database, while nothing runs.

    Needs the settings of wharf backup, or the data directory for wharf up. The whole file is
    checked first. The jobs of the backup wait for wharf resume.
    """
    words = (*_passphrase_words(passphrase_file), *data_dir_words(data_dir))
    become("worker.backup", "restore", str(file), *words, *(("--replace",) if replace else ()))
