"""``wharf registry``: show, change and remove a registry, and rotate its login."""

import sys
import time
from typing import Annotated, Any

import typer

from api.cli.client import ClientSettings, call
from api.cli.commands.build import POLL_SECONDS, error_text
from api.cli.commands.server import client_settings
from api.cli.output.text import write_line, write_note
from shared.errors import SetupError

app = typer.Typer(
    help="Registries: show, change and remove them, rotate their logins.", no_args_is_help=True
)

Chosen = Annotated[str, typer.Argument(metavar="NAME|ID", help="The registry's name or id.")]
Servers = Annotated[
    list[str] | None,
    typer.Option("--allow-server", help="A server that may get the login; empty allows all."),
]
Applications = Annotated[
    list[str] | None,
    typer.Option("--allow-application", help="An application that may use it; empty allows all."),
]


@app.command()
def rotate(
    registry: Chosen,
    username: Annotated[
        str | None, typer.Option(help="The new username; by default it stays.")
    ] = None,
    keep: Annotated[
        int, typer.Option(min=0, max=720, help="The hours for which the old login is kept.")
    ] = 24,
    *,
    force: Annotated[bool, typer.Option(help="Use it although a test of it fails.")] = False,
) -> None:
    """Test a new password from the registry's servers, and use it if all of them can log in.

    The password is read from standard input; on a terminal it is asked for. Exit code 1: it was
    refused, and the old one stays in use.
    """
    with client_settings("registry rotate") as settings:
        chosen = {"registryId": _find(settings, registry)["registryId"]}
        request = {**chosen, "password": _read_password(), "force": force, "keepOldHours": keep}
        if username is not None:
            request["username"] = username
        rotation = _ended(settings, chosen, call(settings, "registry.rotate", request))
    for test in rotation["tests"]:
        write_note(f"{test['serverName']}: {test['state']}{error_text(_error_of(test))}")
    if rotation["state"] != "switched":
        write_note(f"{rotation['state']}{error_text(rotation['error'])}")
        raise typer.Exit(1)
    write_line(f"switched; the old login is kept until {rotation['keptUntil']}")


@app.command("test")
def run_test(
    registry: Chosen,
    server: Annotated[
        str | None, typer.Option(help="The id of the server that tests; by default any.")
    ] = None,
) -> None:
    """Test a registry from a server, and show every stage, and what its login may do beyond need.

    Exit code 1: a stage failed.
    """
    with client_settings("registry test") as settings:
        chosen = {"registryId": _find(settings, registry)["registryId"]}
        request = {**chosen, "serverId": server} if server else chosen
        report = call(settings, "registry.diagnose", request)
    for stage in report["stages"]:
        words = (stage["outcome"], stage["code"], stage["evidence"], stage["remedy"])
        write_line(f"{stage['stage']}: {': '.join(word for word in words if word)}")
    _write_excess(report["excess"])
    if any(stage["outcome"] == "failed" for stage in report["stages"]):
        raise typer.Exit(1)


@app.command()
def show(registry: Chosen) -> None:
    """Show the life of a registry's login: its dates, last use, refusals, rights and users."""
    with client_settings("registry show") as settings:
        found = _find(settings, registry)
        shown = call(settings, "registry.one", {"registryId": found["registryId"]})
    login = shown["login"]
    used = shown["usedBy"] or {"applications": [], "rollbackPoints": 0, "deployHooks": 0}
    lines = {
        "registry": f"{shown['registryName']} ({shown['registryUrl'] or 'docker.io'})",
        "username": shown["username"],
        "login": login["state"],
        "created": shown["createdAt"],
        "changed": shown["passwordChangedAt"],
        "due": shown["passwordDueAt"],
        "expires": shown["passwordExpiresAt"],
        "last accepted": login["lastAcceptedAt"],
        "last used": login["lastUsedAt"],
        "last used by": _last_user(login),
        **_use_lines(used),
    }
    for name, value in lines.items():
        write_line(f"{name}: {'-' if value in {None, ''} else value}")
    for refusal in login["refusals"]:
        where = f"server {refusal['serverId']}" if refusal["serverId"] else "wharf control"
        write_line(f"refused from {where} since {refusal['since']}: {refusal['code']}")
    _write_excess(shown.get("excess"))


def _write_excess(excess: list[dict[str, str]] | None) -> None:
    """Write what a login may do beyond need; nothing if no test has seen it."""
    if excess is not None:
        found = "; ".join(f"{one['code']}: {one['message']}" for one in excess)
        write_line(f"beyond need: {found or 'nothing known'}")


@app.command()
def update(
    registry: Chosen,
    *,
    name: Annotated[str | None, typer.Option(help="The new name.")] = None,
    url: Annotated[str | None, typer.Option(help="The new URL; needs --password.")] = None,
    username: Annotated[str | None, typer.Option(help="The new one; needs --password.")] = None,
    prefix: Annotated[str | None, typer.Option(help="The image prefix; empty removes it.")] = None,
    allow_server: Servers = None,
    allow_application: Applications = None,
    rotate_after_days: Annotated[
        int | None,
        typer.Option(min=0, max=3650, help="Days until the password is due; 0: the default."),
    ] = None,
    password: Annotated[
        bool, typer.Option("--password", help="Read a new password from standard input.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Change it although that breaks what uses it.")
    ] = False,
) -> None:
    """Change a registry; a new password is not tested, see wharf registry rotate.

    A change that breaks what uses the registry, as another host, is refused: the error names the
    uses.
    """
    given = {
        "registryName": name,
        "registryUrl": url,
        "username": username,
        "imagePrefix": prefix,
        "allowedServers": _without_empty(allow_server),
        "allowedApplications": _without_empty(allow_application),
    }
    changes: dict[str, Any] = {field: value for field, value in given.items() if value is not None}
    if prefix == "":
        changes["imagePrefix"] = None
    if rotate_after_days is not None:
        changes["rotateAfterDays"] = rotate_after_days or None
    with client_settings("registry update") as settings:
        chosen = {"registryId": _find(settings, registry)["registryId"]}
        if password:
            changes["password"] = _read_password()
        if force:
            _write_uses(settings, chosen)
        call(settings, "registry.update", {**chosen, **changes, "force": force})
    write_line("changed")


@app.command()
def remove(
    registry: Chosen,
    *,
    force: Annotated[bool, typer.Option("--force", help="Remove it although it is used.")] = False,
) -> None:
    """Remove a registry and its login; one that is used is kept, and the error names the uses.

    With --force, applications no longer name it.
    """
    with client_settings("registry remove") as settings:
        chosen = {"registryId": _find(settings, registry)["registryId"]}
        if force:
            _write_uses(settings, chosen)
        removed = call(settings, "registry.remove", {**chosen, "force": force})
    write_line(f"removed {removed['registryName']}")


def _write_uses(settings: ClientSettings, chosen: dict[str, str]) -> None:
    used = call(settings, "registry.one", chosen)["usedBy"]
    for line in _use_lines(used).items() if used else ():
        write_note("used by {}: {}".format(*line))


def _use_lines(used: dict[str, Any]) -> dict[str, Any]:
    named = [f"{one['name']} ({', '.join(one['uses'])})" for one in used["applications"]]
    return {
        "applications": ", ".join(named),
        "rollback points": used["rollbackPoints"],
        "deploy hooks": used["deployHooks"],
    }


def _without_empty(ids: list[str] | None) -> list[str] | None:
    return ids and [each for each in ids if each]


def _last_user(login: dict[str, Any]) -> str | None:
    if login["lastUsedJobId"] is None:
        return None
    return f"job {login['lastUsedJobId']}, server {login['lastUsedServerId'] or 'wharf control'}"


@app.command()
def cancel(registry: Chosen) -> None:
    """Cancel a rotation whose new password is being tested; the old one stays in use."""
    with client_settings("registry cancel") as settings:
        chosen = {"registryId": _find(settings, registry)["registryId"]}
        write_line(call(settings, "registry.cancelRotation", chosen)["state"])


@app.command()
def rollback(registry: Chosen) -> None:
    """Use the old login again, while it is kept, and drop the new one."""
    with client_settings("registry rollback") as settings:
        chosen = {"registryId": _find(settings, registry)["registryId"]}
        write_line(call(settings, "registry.rollbackCredential", chosen)["state"])


def _read_password() -> str:
    """Return the password; never from an argument, which other users of the machine can see."""
    if sys.stdin.isatty():
        return str(typer.prompt("New password", hide_input=True))
    return sys.stdin.read().rstrip("\r\n")


def _ended(
    settings: ClientSettings, chosen: dict[str, str], rotation: dict[str, Any]
) -> dict[str, Any]:
    """Return the rotation once its tests have ended."""
    while rotation["state"] == "testing":
        time.sleep(POLL_SECONDS)
        rotation = call(settings, "registry.one", chosen)["rotation"]
    return rotation


def _error_of(test: dict[str, Any]) -> dict[str, Any] | None:
    return test if test["code"] else None


def _find(settings: ClientSettings, name_or_id: str) -> dict[str, Any]:
    registries = call(settings, "registry.all")
    for field in ("registryId", "registryName"):
        found = [each for each in registries if each[field] == name_or_id]
        if len(found) > 1:
            raise SetupError(
                f"several registries have the name {name_or_id}", remedy="Give its id."
            )
        if found:
            return dict(found[0])
    raise SetupError(f"there is no registry {name_or_id}", remedy="See registry.all.")
