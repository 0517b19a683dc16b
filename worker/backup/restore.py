"""``wharf restore FILE``: into an empty database. The jobs of the backup wait for the operator."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.rows import TupleRow
from pydantic import SecretStr

from shared.errors import ConflictError, InvalidInputError
from shared.migrations.schema import give_passwords, knows_revision, migrate
from shared.vault import PrivateKey, parse_private_keys
from worker.backup.archive import DATABASE, Backup
from worker.backup.directory import write_directory
from worker.backup.make import VAULT
from worker.backup.programs import restore
from worker.files import write_chunks
from worker.vault.installation import Installation
from worker.vault.key_file import KeyFiles, write_keys

FILLED = """
SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname IN ('public', 'worker_v1') AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
"""
CONNECTED = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid()
   AND (usename IN ('wharf_api', 'wharf_control') OR usename LIKE 'wharf\\_server\\_%')
"""
ROLES = """
DO $$
DECLARE
  wanted text;
BEGIN
  FOREACH wanted IN ARRAY
    ARRAY['wharf_api', 'wharf_control', 'wharf_functions', 'wharf_servers']
  LOOP
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = wanted) THEN
      EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
    END IF;
  END LOOP;
END $$;
"""
"""The roles that policies of the dump name; the migration after it gives them their rights."""

EMPTY = """
DROP SCHEMA IF EXISTS worker_v1 CASCADE;
DROP SCHEMA public CASCADE;
CREATE SCHEMA public;
ALTER SCHEMA public OWNER TO pg_database_owner;
"""
# A session that has ended since the backup was made would be valid again.
HOLD = """
SELECT public.database_restored();
UPDATE public.server SET role_ready_at = NULL WHERE removed_at IS NULL;
DO $$
BEGIN
  IF to_regclass('public.user_session') IS NOT NULL THEN
    DELETE FROM public.user_session;
  END IF;
END $$;
"""
WAITING = """
SELECT (SELECT count(*) FROM public.job WHERE state IN ('queued', 'running')),
       (SELECT count(*) FROM public.server WHERE removed_at IS NULL)
"""


@dataclass(frozen=True)
class Restored:
    """The numbers of jobs that wait, of servers, and of contexts that were written."""

    jobs: int
    servers: int
    contexts: int


def restore_backup(
    path: Path,
    installation: Installation,
    passphrase: SecretStr,
    *,
    replace: bool = False,
    local: bool = False,
    passwords: Mapping[str, SecretStr] | None = None,
) -> Restored:
    """Restore a backup; with ``replace`` what is in the database is lost.

    Nothing is changed before the whole file was checked. The database is changed in one
    transaction. ``passwords`` are those of the database roles of API and control.

    Raises:
        InvalidInputError: the file is not whole, of a newer version, or the passphrase is wrong.
        ConflictError: the database is not empty, or in use.
        SetupError: a file cannot be read or written, or a program of PostgreSQL failed.
    """
    with Backup.open(path, passphrase) as backup:
        revision = backup.manifest.schema_revision
        if not knows_revision(revision):
            raise InvalidInputError(
                f"{path} was made by version {backup.manifest.version}, whose database is newer",
                remedy="Install that version of Wharfinger, or a newer one.",
            )
        keys = parse_private_keys(backup.secrets[VAULT])
        with psycopg.connect(installation.url) as connection:
            is_filled = _require_room(connection, replace=replace)
            server_version = connection.info.server_version
        _write_keys(installation.keys, keys)
        restore(
            installation.url,
            backup.read(DATABASE),
            before=(EMPTY if is_filled else "") + ROLES,
            after=HOLD,
            server_version=server_version,
        )
        migrate(installation.url)
        give_passwords(installation.url, passwords or {})
        if local and installation.data_dir is not None:
            write_directory(installation.data_dir, backup.secrets)
        contexts = _write_contexts(backup, installation.data_dir)
    with psycopg.connect(installation.url) as connection:
        row = connection.execute(WAITING).fetchone()
    jobs, servers = row or (0, 0)
    return Restored(jobs, servers, contexts)


def _require_room(connection: psycopg.Connection[TupleRow], *, replace: bool) -> bool:
    """Return whether the database has tables, which are to be replaced."""
    [filled], [connected] = (
        connection.execute(query.encode()).fetchone() or (0,) for query in (FILLED, CONNECTED)
    )
    if connected:
        raise ConflictError(
            "the database is in use", remedy="Stop wharf api, wharf control and the workers first."
        )
    if filled and not replace:
        raise ConflictError(
            "the database is not empty",
            remedy="Give an empty database, or --replace: then all that is in it is lost.",
        )
    return bool(filled)


def _write_keys(files: KeyFiles, restored: list[PrivateKey]) -> None:
    """Put the backup's keys first; a key that is there opens what was stored with it."""
    there = files.read() if files.private.exists() and files.private.stat().st_size else []
    keys = {key.public.key_id: key for key in (*restored, *there)}
    files.private.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_keys(files.private, list(keys.values()))
    files.publish()


def _write_contexts(backup: Backup, data_dir: Path | None) -> int:
    """Write the uploaded contexts of the backup, and return their number."""
    names = list(backup.contexts()) if data_dir is not None else []
    for name in names:
        target = (data_dir or Path()) / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_chunks(target, backup.read(name))
    return len(names)
