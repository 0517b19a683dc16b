"""``wharf server``: add, list, approve and remove servers."""

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api.cli.client import ClientSettings, base_url, call
from api.cli.output.text import printable
from shared.errors import SetupError, in_sentences
from shared.settings import load

app = typer.Typer(help="Servers: add, list, approve and remove them.", no_args_is_help=True)

LOOPBACK = ("://127.", "://localhost", "://[::1]")


class Role(StrEnum):
    """The role of a server."""

    DEPLOY = "deploy"
    BUILD = "build"


Name = Annotated[str, typer.Argument(help="The server's name.")]
Chosen = Annotated[str, typer.Argument(metavar="NAME|ID", help="The server's name or id.")]
Roles = Annotated[
    list[Role] | None, typer.Option("--role", help="A role of the server; by default both.")
]

Renew = Annotated[
    bool,
    typer.Option("--renew", help="Create another join token for a server that has not joined yet."),
]


@app.command()
def add(name: Name, role: Roles = None, *, renew: Renew = False) -> None:
    """Create a server; print the command to run on it, and nothing else, to standard output."""
    with client_settings("server add") as settings:
        if renew:
            created = _renew(settings, name, role)
        else:
            roles = {"roles": [each.value for each in role]} if role else {}
            created = call(settings, "server.create", {"name": name, **roles})
    sys.stdout.write(join_line(base_url(settings), created["joinToken"]) + "\n")
    console = Console(stderr=True)
    console.print("Run this command on the server within 15 minutes; it works once.")
    line = plain(f"wharf server approve {shlex.quote(name)}")
    console.print(
        f"Then approve the server where wharf control runs, if WHARF_AUTO_APPROVE is off: {line}"
    )
    if any(prefix in settings.url for prefix in LOOPBACK):
        console.print(
            f"{settings.url} is a local address: set WHARF_URL to one that servers can reach."
        )


@app.command("list")
def list_all() -> None:
    """Show all servers."""
    with client_settings("server list") as settings:
        servers = call(settings, "server.all")
    show(servers, Console())


@app.command()
def remove(server: Chosen) -> None:
    """Remove a server: its key, its database role and its broker user stop working."""
    with client_settings("server remove") as settings:
        found = _find(call(settings, "server.all"), server)
        call(settings, "server.remove", {"serverId": found["serverId"]})
    Console().print(f"{plain(found['name'])} is removed.")


def _renew(settings: ClientSettings, name: str, role: list[Role] | None) -> dict[str, Any]:
    if role:
        raise SetupError(
            "--role and --renew cannot be combined",
            remedy="Change a server's roles with server.update.",
        )
    found = _find(call(settings, "server.all"), name)
    renewed: dict[str, Any] = call(
        settings, "server.createJoinToken", {"serverId": found["serverId"]}
    )
    return renewed


@app.command()
def approve(server: Chosen) -> None:
    """Approve a server that has joined, where `wharf control` runs: then it gets jobs and logins.

    It needs the WHARF_DATABASE_URL of `wharf control`. Compare the key with the one in the
    worker's log.
    """
    # A separate process: importing the database driver would slow down the other commands.
    argv = (sys.executable, "-m", "api.cli.commands.approve", server)
    os.execv(sys.executable, argv)  # noqa: S606 - no shell


def join_line(url: str, token: str) -> str:
    """Return the command to be run on a new server."""
    return f"WHARF_URL={shlex.quote(url)} WHARF_JOIN_TOKEN={shlex.quote(token)} wharf worker"


def show(servers: list[dict[str, Any]], console: Console) -> None:
    """Print one line for each server."""
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "state", "for", "Engine", "platform", "free", "worker", "id"):
        table.add_column(heading, overflow="fold")
    for server in servers:
        table.add_row(*(plain(text) for text in _cells(server)))
    console.print(table)


def plain(text: str) -> str:
    """Return a name as plain text, never as markup."""
    return escape(printable(text))


def _cells(server: dict[str, Any]) -> Iterator[str]:
    engine = server["engine"] or {}
    free = engine.get("diskFreeBytes")
    yield server["name"]
    yield _state(server)
    yield ", ".join(server["roles"])
    yield str(engine.get("engineVersion", "-"))
    yield server["platform"] or "-"
    yield f"{free / 1024**3:.1f} GiB" if isinstance(free, int) else "-"
    yield server["workerVersion"] or "-"
    yield server["serverId"]


def _state(server: dict[str, Any]) -> str:
    if server["seenAt"] and not server["approvedAt"]:
        return "not approved"
    if not server["online"]:
        return f"offline since {server['seenAt']}" if server["seenAt"] else "never joined"
    if server["draining"]:
        return "draining"
    paused = ", ".join(server["pausedClasses"])
    return f"paused: {paused}" if paused else "online"


def _find(servers: list[dict[str, Any]], name_or_id: str) -> dict[str, Any]:
    for field in ("serverId", "name"):
        for server in servers:
            if server[field] == name_or_id:
                return server
    raise SetupError(f"there is no server {name_or_id}", remedy="See wharf server list.")


@contextmanager
def client_settings(command: str) -> Iterator[ClientSettings]:
    """Give the settings; a `SetupError` in the block exits with its message and remedy."""
    try:
        yield load(ClientSettings, os.environ)
    except SetupError as error:
        sys.exit(printable(f"wharf {command}: {in_sentences(error.message, error.remedy)}"))
