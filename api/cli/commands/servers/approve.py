"""``wharf server approve``: runs on a control host, with control's database URL, without a key."""

import asyncio
import os
import sys

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from api.cli.output.table import open_console, plain
from api.cli.output.text import printable
from shared.errors import SetupError, in_sentences
from shared.servers.approval import Unapproved, approve, find_unapproved
from shared.settings import DatabaseSettings, load


def main() -> None:
    try:
        server = approve_server(sys.argv[1])
    except SetupError as error:
        sys.exit(printable(f"wharf server approve: {in_sentences(error.message, error.remedy)}"))
    open_console().print(f"{plain(server.name)} is approved, with the key {server.key_id}.")


def approve_server(name_or_id: str) -> Unapproved:
    """Approve the server with this name or id, for the key with which it joined.

    Raises:
        SetupError: control's database URL is missing, or no server or several servers match.
    """
    return asyncio.run(_approve(load(DatabaseSettings, os.environ), name_or_id))


async def _approve(settings: DatabaseSettings, name_or_id: str) -> Unapproved:
    try:
        async with await AsyncConnection.connect(
            settings.direct_url, autocommit=True, row_factory=dict_row, connect_timeout=10
        ) as connection:
            server = choose(await find_unapproved(connection), name_or_id)
            if not await approve(connection, server):
                raise SetupError(
                    f"{server.name} joined again with another key meanwhile, and is not approved",
                    remedy="Compare the key with its worker's log. Approve it if both are equal; "
                    "otherwise remove the server.",
                )
    except psycopg.errors.InsufficientPrivilege:
        raise SetupError(
            "this database role cannot approve servers",
            remedy="Set WHARF_DATABASE_URL to the value that wharf control has.",
        ) from None
    except psycopg.OperationalError:
        raise SetupError(
            "the database does not answer",
            remedy="Check that PostgreSQL runs, and run the command where wharf control runs, "
            "with its WHARF_DATABASE_URL.",
        ) from None
    return server


def choose(servers: list[Unapproved], name_or_id: str) -> Unapproved:
    """Return the one unapproved server with this id or name.

    Raises:
        SetupError: there is none, or several have that name.
    """
    found = [server for server in servers if name_or_id in {server.server_id, server.name}]
    if not found:
        raise SetupError(
            f"there is no unapproved server {name_or_id}",
            remedy="Let it join first; see wharf server list.",
        )
    if len(found) > 1:
        raise SetupError(f"{len(found)} servers are named {name_or_id}", remedy="Give its id.")
    return found[0]


if __name__ == "__main__":
    main()
