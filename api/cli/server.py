"""``wharf server``: let servers join, show them, take them away."""

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

from api.cli.client import ClientSettings, ask
from api.cli.output import printable
from shared.errors import SetupError
from shared.settings import load

app = typer.Typer(help="Servers: let them join, list them, take them away.", no_args_is_help=True)

LOOPBACK = ("://127.", "://localhost", "://[::1]")


class Role(StrEnum):
    """The role of a server."""

    DEPLOY = "deploy"
    BUILD = "build"


Name = Annotated[str, typer.Argument(help="What to call it.")]
Chosen = Annotated[str, typer.Argument(metavar="NAME|ID", help="Its name or its id.")]
Roles = Annotated[
    list[Role] | None, typer.Option("--role", help="What it is for; both, where none is given.")
]

Renew = Annotated[
    bool, typer.Option("--renew", help="Make another token for a server that has not joined yet.")
]


@app.command()
def add(name: Name, role: Roles = None, *, renew: Renew = False) -> None:
    """Create a server; prints the line to run on it, and nothing else on standard output."""
    with speaking("server add") as settings:
        if renew:
            created = _renew(settings, name, role)
        else:
            roles = {"roles": [each.value for each in role]} if role else {}
            created = ask(settings, "server.create", {"name": name, **roles})
    sys.stdout.write(join_line(settings.url, created["joinToken"]) + "\n")
    console = Console(stderr=True)
    console.print("Run it on that server within 15 minutes; it works once.")
    line = plain(f"wharf server approve {shlex.quote(name)}")
    console.print(f"Then approve it where control runs, unless control does: {line}")
    if any(place in settings.url for place in LOOPBACK):
        console.print(f"{settings.url} is this machine only: set WHARF_URL to what servers reach.")


@app.command("list")
def list_all() -> None:
    """Show all servers."""
    with speaking("server list") as settings:
        servers = ask(settings, "server.all")
    show(servers, Console())


@app.command()
def remove(server: Chosen) -> None:
    """Remove a server: its key, its database role and its broker user are good for nothing then."""
    with speaking("server remove") as settings:
        found = _find(ask(settings, "server.all"), server)
        ask(settings, "server.remove", {"serverId": found["serverId"]})
    Console().print(f"{plain(found['name'])} is removed.")


def _renew(settings: ClientSettings, name: str, role: list[Role] | None) -> dict[str, Any]:
    if role:
        raise SetupError(
            "--role does not go with --renew",
            remedy="Change what a server is for by server.update.",
        )
    found = _find(ask(settings, "server.all"), name)
    renewed: dict[str, Any] = ask(
        settings, "server.createJoinToken", {"serverId": found["serverId"]}
    )
    return renewed


@app.command()
def approve(server: Chosen) -> None:
    """Approve a server that has joined, on a control host: from now on it gets jobs and logins.

    Needs WHARF_DATABASE_URL, control's. Compare the key with the one in the log of its worker.
    """
    # A process of its own: what speaks to databases takes other commands too long to load.
    argv = (sys.executable, "-m", "api.cli.approve", server)
    os.execv(sys.executable, argv)  # noqa: S606 - argv is ours


def join_line(url: str, token: str) -> str:
    """Return the command to be run on a new server."""
    return f"WHARF_URL={shlex.quote(url)} WHARF_JOIN_TOKEN={shlex.quote(token)} wharf worker"


def show(servers: list[dict[str, Any]], console: Console) -> None:
    """One line a server."""
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
        return f"away since {server['seenAt']}" if server["seenAt"] else "never joined"
    if server["draining"]:
        return "draining"
    paused = ", ".join(server["pausedClasses"])
    return f"paused: {paused}" if paused else "online"


def _find(servers: list[dict[str, Any]], wanted: str) -> dict[str, Any]:
    for field in ("serverId", "name"):
        for server in servers:
            if server[field] == wanted:
                return server
    raise SetupError(f"there is no server {wanted}", remedy="See wharf server list.")


@contextmanager
def speaking(command: str) -> Iterator[ClientSettings]:
    """The settings; what goes wrong inside ends the command with a sentence."""
    try:
        yield load(ClientSettings, os.environ)
    except SetupError as error:
        sys.exit(printable(f"wharf {command}: {error.message}. {error.remedy}".strip()))
