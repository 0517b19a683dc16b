"""``wharf backup FILE``: the database, the keys and, if asked for, the uploaded contexts."""

from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psycopg
from pydantic import SecretStr

from shared.vault import parse_private_keys
from worker.backup.archive import CONTEXTS, DATABASE, FORMAT, Manifest, writing
from worker.backup.directory import read_directory
from worker.backup.programs import CHUNK, dump
from worker.vault.installation import Installation

VAULT = "vault.private"
REVISION = "SELECT version_num FROM public.alembic_version"
STORED = "SELECT context_id FROM public.context ORDER BY context_id"


def make_backup(
    path: Path, installation: Installation, passphrase: SecretStr, *, local: bool, contexts: bool
) -> Manifest:
    """Write a backup while everything runs; return what it has.

    ``local``: with the keys, ports and identities in the data directory of ``wharf up``.

    Raises:
        SetupError: a file cannot be read or written, or pg_dump failed.
    """
    with psycopg.connect(installation.url) as connection:
        row = connection.execute(REVISION).fetchone()
        made = Manifest(
            format=FORMAT,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            version=version("wharfinger"),
            schema_revision=str(row[0]) if row else "",
            postgres_version=connection.info.server_version,
        )
    before = installation.keys.read()
    with writing(path) as backup:
        backup.add(DATABASE, dump(installation.url))
        if contexts:
            for context, file in _find_contexts(installation):
                backup.add(f"{CONTEXTS}{context}", _read(file))
        # The database has the secrets of one moment, and the key may have been changed before or
        # after it.
        after = parse_private_keys(installation.keys.private.read_text())
        keys = dict.fromkeys(key.text() for key in (*after, *before))
        content = {VAULT: "\n".join(keys)}
        if local and installation.data_dir is not None:
            content |= read_directory(installation.data_dir)
        backup.finish(made, content, passphrase)
    return made.model_copy(update={"parts": backup.parts})


def _find_contexts(installation: Installation) -> Iterator[tuple[str, Path]]:
    if installation.data_dir is None:
        return
    with psycopg.connect(installation.url) as connection:
        rows = connection.execute(STORED).fetchall()
    for (context,) in rows:
        file = installation.data_dir / CONTEXTS / context
        if file.is_file():
            yield context, file


def _read(file: Path) -> Iterator[bytes]:
    try:
        with file.open("rb") as content:
            while chunk := content.read(CHUNK):
                yield chunk
    except FileNotFoundError:
        return  # removed meanwhile
