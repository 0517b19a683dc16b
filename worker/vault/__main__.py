"""``wharf vault rotate``, ``wharf vault remove-old``: change the vault's key.

Both need the database as its owner, and the files of the vault's keys.
"""

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from shared.errors import ConflictError, SetupError, WharfError, in_sentences
from shared.vault import PublicKey
from worker.vault.installation import PUBLIC, Installation, find_installation
from worker.vault.reseal import Remaining, find_remaining, reseal

SHOWN_IDS = 10
LOCK = 0x7761726676  # "warfv"
"""The advisory lock of the database: two rotations at once would lose one of their keys."""


@contextmanager
def alone(url: str) -> Iterator[None]:
    """Keep others from changing keys at the same time, on any machine.

    Raises:
        ConflictError: somebody else does.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute("SELECT pg_try_advisory_lock(%s)", (LOCK,)).fetchone()
        if row != (True,):
            raise ConflictError(
                "another wharf vault is at work on this database", remedy="Wait until it ends."
            )
        yield


def rotate(installation: Installation, *, prepare: bool) -> int:
    """Make a new key, or go on with the one that was made; return the exit code.

    Raises:
        SetupError: a key's file cannot be read or written.
    """
    keys = installation.keys
    added = keys.begin()
    current = keys.current()
    _say(f"{'New' if added else 'Current'} key {current.key_id} in {keys.private}.")
    if prepare:
        _say("Copy the file to each machine of wharf control, then run wharf vault rotate.")
        return 0
    keys.publish()
    if keys.public is None:
        _say(f"Give each API its new WHARF_VAULT_PUBLIC_KEY: {current}")
    began = time.monotonic()
    outcome = reseal(installation.url, keys.ring(), current, show=_show)
    seconds = time.monotonic() - began
    _say(f"{outcome.resealed} secrets are sealed to the new key, in {seconds:.1f} s.")
    for place, ids in outcome.unopened.items():
        more = f" and {len(ids) - SHOWN_IDS} more" if len(ids) > SHOWN_IDS else ""
        _say(f"{place}: {len(ids)} do not open: {', '.join(ids[:SHOWN_IDS])}{more}")
    if outcome.unopened:
        _say("Store these again. Then run wharf vault rotate again.")
        return 1
    _say("Once each API has the new public key: wharf vault remove-old.")
    return 0


def remove_old(installation: Installation) -> None:
    """Remove all keys but the current one.

    Raises:
        ConflictError: a secret is sealed to one of them, or the API has another public key.
        SetupError: a key's file cannot be read or written.
    """
    keys = installation.keys
    first, *old = keys.read()
    if not old:
        _say("There is no old key.")
        return
    _require_published(installation, first.public)
    ids = {key.public.key_id for key in old}
    left = [one for one in find_remaining(installation.url, first.public) if one.key_id in ids]
    if left:
        raise ConflictError(
            f"{sum(one.count for one in left)} secrets are sealed to an old key: {_count(left)}",
            remedy="Run wharf vault rotate. Keep the old key until it is done.",
        )
    for removed in keys.drop_old():
        _say(f"Key {removed.key_id} is removed.")
    _say("A backup from before opens with the keys in it.")


def _require_published(installation: Installation, current: PublicKey) -> None:
    public = installation.keys.public
    if public is None:
        return
    try:
        is_current = PublicKey.parse(public.read_text().strip()).key_id == current.key_id
    except OSError as error:
        raise SetupError(f"{public} cannot be read: {error.strerror}") from error
    if not is_current:
        raise ConflictError(
            f"{PUBLIC} has another key than the current one", remedy="Run wharf vault rotate."
        )


def _count(left: list[Remaining]) -> str:
    counts = Counter[str]()
    for one in left:
        counts[one.place] += one.count
    return ", ".join(f"{place} {count}" for place, count in sorted(counts.items()))


def _show(place: str, count: int) -> None:
    _say(f"{place}: {count}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(prog="wharf vault", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("rotate", "remove-old"):
        commands.add_parser(name).add_argument("--data-dir", type=Path)
    commands.choices["rotate"].add_argument("--prepare", action="store_true")
    arguments = parser.parse_args()
    try:
        installation = find_installation(arguments.data_dir, os.environ)
        with alone(installation.url):
            if arguments.command == "remove-old":
                remove_old(installation)
                return
            code = rotate(installation, prepare=arguments.prepare)
        sys.exit(code)
    except WharfError as error:
        sys.exit(f"wharf vault: {in_sentences(error.message, error.remedy)}")
    except psycopg.Error as error:
        sys.exit(
            f"wharf vault: the database stopped the work: {type(error).__name__}. "
            "Check WHARF_DATABASE_URL, then run it again: it goes on."
        )


if __name__ == "__main__":
    main()
