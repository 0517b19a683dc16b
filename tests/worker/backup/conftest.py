"""The API's fixtures, and an installation whose database, keys and uploads can be lost."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from shared.ids import make_id
from shared.vault import PrivateKey
from tests.api.conftest import app, client, database, server, settings, vault, vault_key
from tests.databases import Database
from worker.local.postgres import OWNER, LocalPostgres
from worker.vault.installation import Installation
from worker.vault.key_file import KeyFiles

__all__ = ["app", "client", "database", "server", "settings", "vault", "vault_key"]

PASSPHRASE = SecretStr("a passphrase of some length")


@pytest.fixture
def installation(database: Database, tmp_path: Path, vault_key: PrivateKey) -> Installation:
    """The one that the API works with."""
    keys = KeyFiles(tmp_path / "vault.private", tmp_path / "vault.public")
    keys.private.write_text(vault_key.text())
    return Installation(database.url(OWNER), keys, tmp_path / "data")


@pytest.fixture
def elsewhere(postgres: LocalPostgres) -> Iterator[Database]:
    """An empty database, without tables."""
    name = f"elsewhere_{make_id().replace('-', '')}"
    postgres.create_database(name)
    yield Database(postgres, name)
    postgres.drop_database(name)


@pytest.fixture
def other(elsewhere: Database, tmp_path: Path) -> Installation:
    """A machine on which nothing is yet."""
    folder = tmp_path / "other"
    keys = KeyFiles(folder / "vault.private", folder / "vault.public")
    return Installation(elsewhere.url(OWNER), keys, folder / "data")
