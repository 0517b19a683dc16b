"""``wharf server approve``: on a control host, with control's database URL and not with a key."""

import asyncio
import os
import sys

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from rich.console import Console

from api.cli.output import printable
from api.cli.server import plain
from shared.errors import SetupError
from shared.servers.approval import Unapproved, approve, find_unapproved
from shared.settings import DatabaseSettings, load


def main() -> None:
    try:
        server = approve_server(sys.argv[1])
    except SetupError as error:
        sys.exit(printable(f"wharf server approve: {error.message}. {error.remedy}".strip()))
    Console().print(f"{plain(server.name)} is approved, with the key {server.key_id}.")


def approve_server(wanted: str) -> Unapproved:
    """Approve the server of this name or id, with the key that it has joined with.

    Raises:
        SetupError: no control's database URL, no such server that waits, or several.
    """
    return asyncio.run(_approve(load(DatabaseSettings, os.environ), wanted))


async def _approve(settings: DatabaseSettings, wanted: str) -> Unapproved:
    try:
        async with await AsyncConnection.connect(
            settings.direct_url, autocommit=True, row_factory=dict_row, connect_timeout=10
        ) as connection:
            server = choose(await find_unapproved(connection), wanted)
            if not await approve(connection, server):
                raise SetupError(
                    f"{server.name} has just joined with another key",
                    remedy="Look which one is yours, then approve again.",
                )
    except psycopg.errors.InsufficientPrivilege:
        raise SetupError(
            "this database role approves no server",
            remedy="Give control's URL as WHARF_DATABASE_URL.",
        ) from None
    except psycopg.OperationalError:
        raise SetupError(
            "the database does not answer",
            remedy="Run it where control runs, with its WHARF_DATABASE_URL.",
        ) from None
    return server


def choose(servers: list[Unapproved], wanted: str) -> Unapproved:
    """The one server that waits under this id or name.

    Raises:
        SetupError: there is none, or there are several of that name.
    """
    found = [server for server in servers if wanted in {server.server_id, server.name}]
    if not found:
        raise SetupError(
            f"no server {wanted} waits to be approved",
            remedy="It has to join first; see wharf server list.",
        )
    if len(found) > 1:
        raise SetupError(f"{len(found)} servers are called {wanted}", remedy="Give its id.")
    return found[0]


if __name__ == "__main__":
    main()
