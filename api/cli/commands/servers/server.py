"""``wharf server``: list, show, add, change, check, pause, drain, approve and remove servers."""

import os
import shlex
import sys
import time
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any

import typer

from api.cli.arguments import Networks, Server, given, networks_of
from api.cli.client import ask, base_url, call
from api.cli.command import Shown, command
from api.cli.confirm import Yes, confirm
from api.cli.follow.outcomes import POLL_SECONDS
from api.cli.names import SERVER, find, find_id
from api.cli.output.answer import Answer, Columns, Row, as_text, fields, lines
from api.cli.output.text import write_note
from api.cli.output.units import show_bytes
from api.cli.settings import ClientSettings
from shared.errors import SetupError

app = typer.Typer(
    help="Servers: list, show, add, change, check, pause, drain, approve and remove them.",
    no_args_is_help=True,
)

LOOPBACK = ("://127.", "://localhost", "://[::1]")


class Role(StrEnum):
    """The role of a server."""

    DEPLOY = "deploy"
    BUILD = "build"


class JobClass(StrEnum):
    """The class of jobs that a server does not get."""

    QUICK = "quick"
    TRANSFER = "transfer"
    BUILD = "build"


Name = Annotated[str, typer.Argument(help="The server's name.")]
Roles = Annotated[
    list[Role] | None, typer.Option("--role", help="A role of the server; by default both.")
]
Description = Annotated[str | None, typer.Option(help="A text about the server.")]
Address = Annotated[str | None, typer.Option(help="The address that is shown for the server.")]
Renew = Annotated[
    bool,
    typer.Option("--renew", help="Create another join token for a server that has not joined yet."),
]
Class = Annotated[
    JobClass | None, typer.Option("--class", help="One class of jobs; by default all.")
]


def _engine(server: Row) -> Any:
    return server["engine"] or {}


def _state(server: Row) -> str:
    if server["seenAt"] and not server["approvedAt"]:
        return "not approved"
    if not server["online"]:
        return f"offline since {server['seenAt']}" if server["seenAt"] else "never joined"
    if server["draining"]:
        return "draining"
    if server["drainRequestedAt"]:
        return "drain requested"
    paused = ", ".join(server["pausedClasses"])
    return f"paused: {paused}" if paused else "online"


COLUMNS = Columns(
    "serverId",
    {
        "name": "name",
        "state": _state,
        "for": "roles",
        "Engine": lambda row: _engine(row).get("engineVersion"),
        "platform": "platform",
        "free": lambda row: show_bytes(_engine(row).get("diskFreeBytes")),
        "worker": "workerVersion",
    },
)
SHOWS_TOKEN = Shown("server.create", instead="server.createJoinToken", option="--renew")


@command(app, "list", example="wharf server list", shows="server.all")
def list_all(settings: ClientSettings) -> Answer:
    """Show all servers."""
    return COLUMNS.of(call(settings, "server.all"))


@command(app, example="wharf server show web-2", shows="server.one")
def show(settings: ClientSettings, server: Server) -> Answer:
    """Show one server: its state, its Engine, its limits."""
    found = call(settings, "server.one", {"serverId": find_id(settings, SERVER, server)})
    return fields(found, "serverId", dict(_fields(found)))


def _fields(server: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "server", f"{server['name']} ({server['serverId']})"
    yield "description", server["description"]
    yield "state", _state(server)
    yield "for", server["roles"]
    yield "address", server["ipAddress"]
    yield "networks", server["networks"]
    yield "platform", server["platform"]
    yield "Engine", _engine(server).get("engineVersion")
    yield "free", show_bytes(_engine(server).get("diskFreeBytes"))
    yield "worker", server["workerVersion"]
    limits = [f"{name} {server[f'{name}Limit']}" for name in ("quick", "transfer", "build")]
    yield "jobs at once", ", ".join(limits)
    yield "created", server["createdAt"]


@command(app, example="wharf server create web-2 --role deploy", shows=SHOWS_TOKEN)
def create(
    settings: ClientSettings,
    name: Name,
    role: Roles = None,
    description: Description = None,
    address: Address = None,
    *,
    renew: Renew = False,
) -> Answer:
    """Create a server; print the command to run on it, and nothing else, to standard output."""
    if renew:
        created = _renew(settings, name, role)
    else:
        roles = [each.value for each in role] if role else None
        request = given(roles=roles, description=description, ipAddress=address)
        created = call(settings, "server.create", {"name": name, **request})
    line = join_line(base_url(settings), created["joinToken"], created.get("caSha256"))
    answer = lines(created, [created["serverId"]], [line])
    write_note("Run this command on the server within 15 minutes; it works once.")
    write_note(
        "Then approve the server where wharf control runs, if WHARF_AUTO_APPROVE is off: "
        f"wharf server approve {shlex.quote(name)}"
    )
    if any(prefix in settings.url for prefix in LOOPBACK):
        write_note(
            f"{settings.url} is a local address: set WHARF_URL to one that servers can reach."
        )
    return answer


command(app, "add", example="wharf server add web-2 --role deploy", shows=SHOWS_TOKEN, hidden=True)(
    create
)


@command(app, example="wharf server update web-2 --name web-3", shows="server.update")
def update(
    settings: ClientSettings,
    server: Server,
    *,
    name: Annotated[str | None, typer.Option(help="The new name.")] = None,
    role: Roles = None,
    description: Description = None,
    address: Address = None,
    network: Networks = None,
) -> Answer:
    """Change a server's name, description, address, roles or networks."""
    chosen = {"serverId": find_id(settings, SERVER, server)}
    roles = [each.value for each in role] if role else None
    changes = given(
        name=name,
        roles=roles,
        description=description,
        ipAddress=address,
        networks=networks_of(network),
    )
    changed = call(settings, "server.update", {**chosen, **changes})
    return lines(changed, [chosen["serverId"]], [f"{changed['name']} is changed."])


@command(app, example="wharf server remove web-2 --yes", shows="server.remove")
def remove(settings: ClientSettings, server: Server, *, yes: Yes = False) -> Answer:
    """Remove a server: its key, its database role and its broker user stop working."""
    found = find(settings, SERVER, server)
    confirm(f"Remove the server {found['name']}?", yes=yes)
    removed = call(settings, "server.remove", {"serverId": found["serverId"]})
    return lines(removed, [removed["serverId"]], [f"{removed['name']} is removed."])


@command(app, example="wharf server pause web-2 --class build", shows="server.pause")
def pause(settings: ClientSettings, server: Server, job_class: Class = None) -> Answer:
    """Send a server no new jobs, of one class or of all; its running jobs continue."""
    return _change_pause(settings, "server.pause", server, job_class)


@command(app, example="wharf server drain web-2 --wait", shows="server.drain")
def drain(
    settings: ClientSettings,
    server: Server,
    *,
    wait: Annotated[
        bool, typer.Option("--wait", help="Return once it has no running job.")
    ] = False,
) -> Answer:
    """Empty a server: no new jobs, and its running transfers go back to the queue.

    Builds and deployments continue to their end. wharf server resume ends it.
    """
    chosen = {"serverId": find_id(settings, SERVER, server)}
    drained = call(settings, "server.drain", chosen)
    left = None
    while wait and left != 0:
        jobs = [
            job
            for state in ("dispatched", "running")
            for job in ask(settings, "job.all", {**chosen, "state": state, "limit": 200})["jobs"]
        ]
        if len(jobs) != left:
            left = len(jobs)
            write_note(f"{drained['name']}: {left} jobs left")
        if left:
            time.sleep(POLL_SECONDS)
    return lines(drained, [chosen["serverId"]], [f"{drained['name']}: {_state(drained)}"])


@command(app, example="wharf server resume web-2", shows="server.resume")
def resume(settings: ClientSettings, server: Server, job_class: Class = None) -> Answer:
    """Resume a paused or drained server, for one class of jobs or for all."""
    return _change_pause(settings, "server.resume", server, job_class)


def _change_pause(
    settings: ClientSettings, procedure: str, server: str, job_class: JobClass | None
) -> Answer:
    chosen = {"serverId": find_id(settings, SERVER, server)}
    request = {**chosen, **given(jobClass=job_class and job_class.value)}
    changed = call(settings, procedure, request)
    return lines(changed, [chosen["serverId"]], [f"{changed['name']}: {_state(changed)}"])


@command(
    app,
    example="wharf server check web-2",
    shows=Shown("server.validate", instead="server.check", option="--path"),
)
def check(
    settings: ClientSettings,
    server: Server,
    *,
    path: Annotated[
        bool, typer.Option("--path", help="Send a job to its Engine, and show where it stops.")
    ] = False,
) -> Answer:
    """Show what is wrong with a server and what to do; exit with 1 if something is."""
    chosen = {"serverId": find_id(settings, SERVER, server)}
    found = call(settings, "server.check" if path else "server.validate", chosen)
    texts = [
        f"{one['name']}: {_mark(one['isGood'])}: {as_text(one['found'])}"
        + (f". {one['remedy']}" if one["remedy"] else "")
        for one in found["parts" if path else "checks"]
    ]
    return lines(found, [chosen["serverId"]], texts, code=0 if found["isGood"] else 1)


def _mark(is_good: bool | None) -> str:  # noqa: FBT001 - as the answer has it
    return "unknown" if is_good is None else "ok" if is_good else "wrong"


def _renew(settings: ClientSettings, name: str, role: list[Role] | None) -> dict[str, Any]:
    if role:
        raise SetupError(
            "--role and --renew cannot be combined",
            remedy="Change a server's roles with wharf server update.",
        )
    chosen = {"serverId": find_id(settings, SERVER, name)}
    renewed: dict[str, Any] = call(settings, "server.createJoinToken", chosen)
    return renewed


@app.command(epilog="Example: wharf server approve web-2")
def approve(
    server: Annotated[str, typer.Argument(metavar="SERVER", help="The server's name or id.")],
) -> None:
    """Approve a server that has joined, where `wharf control` runs: then it gets jobs and logins.

    It needs the WHARF_DATABASE_URL of `wharf control`. Compare the key with the one in the
    worker's log.
    """
    # A separate process: importing the database driver would slow down the other commands.
    argv = (sys.executable, "-m", "api.cli.commands.servers.approve", server)
    os.execv(sys.executable, argv)  # noqa: S606 - no shell


def join_line(url: str, token: str, ca_sha256: str | None = None) -> str:
    """Return the command to be run on a new server; it pins the internal CA, if there is one."""
    pin = f"WHARF_CA_SHA256={shlex.quote(ca_sha256)} " if ca_sha256 else ""
    return f"WHARF_URL={shlex.quote(url)} {pin}WHARF_JOIN_TOKEN={shlex.quote(token)} wharf worker"
