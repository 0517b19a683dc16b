"""Where an installation keeps its database and its keys: in settings, or in a data directory."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from shared.errors import SetupError
from shared.settings import DatabaseSettings, load
from worker.local.postgres import DATABASE, OWNER
from worker.vault.key_file import KeyFiles

PRIVATE, PUBLIC = "WHARF_VAULT_PRIVATE_KEY_FILE", "WHARF_VAULT_PUBLIC_KEY_FILE"
SOCKET_LINE, PORT_LINE = 4, 3
"""Lines of postmaster.pid, from 0."""


@dataclass(frozen=True)
class Installation:
    """The database as its owner, the keys' files, and where uploads are stored."""

    url: str = field(repr=False)
    keys: KeyFiles
    data_dir: Path | None = None


def find_installation(data_dir: Path | None, environment: Mapping[str, str]) -> Installation:
    """Find it in the data directory of a running ``wharf up``, else in the settings.

    Raises:
        SetupError: settings are missing, or nothing runs on the data directory.
    """
    if data_dir is not None:
        return Installation(
            environment.get("WHARF_DATABASE_URL") or _local_url(data_dir),
            local_keys(data_dir),
            data_dir,
        )
    settings = load(DatabaseSettings, environment)
    uploads = environment.get("WHARF_DATA_DIR")
    return Installation(
        settings.direct_url, find_keys(environment), Path(uploads) if uploads else None
    )


def find_keys(environment: Mapping[str, str]) -> KeyFiles:
    """Find the files of the vault's keys in the settings.

    Raises:
        SetupError: there is no file of private keys.
    """
    private, public = environment.get(PRIVATE), environment.get(PUBLIC)
    if not private:
        raise SetupError(
            f"{PRIVATE} is missing",
            remedy="Keep the private key in a file, and set the variable to its path for this "
            "command and for wharf control.",
        )
    return KeyFiles(Path(private), Path(public) if public else None)


def local_keys(data_dir: Path) -> KeyFiles:
    """Return the files of the vault's keys of ``wharf up``."""
    return KeyFiles(data_dir / "keys" / "vault.key", data_dir / "keys" / "vault.public")


def _local_url(data_dir: Path) -> str:
    """Return the owner's URL of the embedded PostgreSQL, over its private socket."""
    postgres = data_dir / "postgres"
    try:
        lines = (postgres / "data" / "postmaster.pid").read_text().splitlines()
        password = json.loads((postgres / "passwords.json").read_text())[OWNER]
        socket, port = lines[SOCKET_LINE], lines[PORT_LINE]
    except (OSError, IndexError, KeyError) as error:
        raise SetupError(
            f"no database runs on {data_dir}",
            remedy="Start it with wharf up, or give the right --data-dir.",
        ) from error
    return f"postgresql://{OWNER}:{password}@/{DATABASE}?host={quote(socket)}&port={port}"
