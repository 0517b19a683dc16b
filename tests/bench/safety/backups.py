"""Backup and restore of 100,000 jobs, and a new vault key for 10,000 secrets."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from pydantic import SecretStr

from shared.vault import KeyRing, PrivateKey, SealContext
from tests.bench.measure import Figure
from tests.bench.scene import Scene
from tests.databases import Database, start_postgres
from tests.scale.rows import Size, load
from worker.backup.make import make_backup
from worker.backup.restore import restore_backup
from worker.local.cluster import SUPERUSER
from worker.local.postgres import OWNER, LocalPostgres
from worker.vault.installation import Installation
from worker.vault.key_file import KeyFiles
from worker.vault.reseal import reseal

JOBS, SECRETS = 100_000, 10_000
PASSPHRASE = SecretStr("a passphrase of some length")
STORE = (
    "INSERT INTO registry (registry_id, organization_id, registry_name, username, password,"
    " registry_url, registry_type, host) VALUES (%s, %s, 'r', 'me', %s, 'r.lan', 'cloud', 'r.lan')"
)


def measure(scene: Scene) -> Iterator[Figure]:
    postgres = start_postgres(scene.directory / "safety")
    try:
        database = Database.create(postgres)
        asyncio.run(_load(database))
        yield from _back_up(postgres, database, scene.directory)
        yield from _rotate(database)
    finally:
        postgres.stop()


async def _load(database: Database) -> None:
    async with await AsyncConnection.connect(
        database.url(SUPERUSER), autocommit=True, row_factory=dict_row
    ) as superuser:
        await load(superuser, Size(finished=JOBS, waiting=1_000, servers=100))


def _back_up(postgres: LocalPostgres, database: Database, directory: Path) -> Iterator[Figure]:
    keys = KeyFiles(directory / "vault.private")
    keys.private.write_text(PrivateKey.generate().text())
    path, began = directory / "jobs.wharf", time.monotonic()
    make_backup(
        path, Installation(database.url(OWNER), keys), PASSPHRASE, local=False, contexts=False
    )
    yield Figure(f"backup, {JOBS:,} jobs", "s", time.monotonic() - began)
    yield Figure(f"size of the backup, {JOBS:,} jobs", "MB", path.stat().st_size / 1e6)
    postgres.create_database("elsewhere")
    began = time.monotonic()
    restore_backup(path, Installation(postgres.url(OWNER, "elsewhere"), keys), PASSPHRASE)
    yield Figure(f"restore, {JOBS:,} jobs", "s", time.monotonic() - began)


def _rotate(database: Database) -> Iterator[Figure]:
    old, new = PrivateKey.generate(), PrivateKey.generate()
    organization, rows = "organization-0000", []
    for _ in range(SECRETS):
        registry = str(uuid4())
        context = SealContext("credential", organization, registry, "r.lan", "me")
        rows.append((registry, organization, old.public.seal("a password", context)))
    with psycopg.connect(database.url(OWNER)) as connection:
        connection.cursor().executemany(STORE, rows)
    began = time.monotonic()
    outcome = reseal(database.url(OWNER), KeyRing([new, old]), new.public)
    assert outcome.resealed == SECRETS
    yield Figure(f"vault rotate, {SECRETS:,} secrets", "s", time.monotonic() - began)
