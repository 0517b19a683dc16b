"""``wharf vault``: change the key that stored secrets are sealed to."""

from typing import Annotated

import typer

from api.cli.processes import RunningDirectory, become, data_dir_words

app = typer.Typer(
    no_args_is_help=True, help="Change the vault's key, which all stored secrets are sealed to."
)


@app.command(epilog="Example: wharf vault rotate --data-dir /var/lib/wharf")
def rotate(
    data_dir: RunningDirectory = None,
    *,
    prepare: Annotated[
        bool, typer.Option("--prepare", help="Only make the key, to copy it to other machines.")
    ] = False,
) -> None:
    """Make a new vault key and seal all stored secrets to it, while everything runs.

    Needs the database as its owner (WHARF_DATABASE_URL), and the files of the keys
    (WHARF_VAULT_PRIVATE_KEY_FILE, WHARF_VAULT_PUBLIC_KEY_FILE), or the data directory of wharf up.
    If it was stopped, run it again: it goes on.
    """
    words = ("--prepare",) if prepare else ()
    become("worker.vault", "rotate", *data_dir_words(data_dir), *words)


@app.command("remove-old", epilog="Example: wharf vault remove-old --data-dir /var/lib/wharf")
def remove_old(data_dir: RunningDirectory = None) -> None:
    """Remove the old vault key, once nothing is sealed to it. Refuses before."""
    become("worker.vault", "remove-old", *data_dir_words(data_dir))
