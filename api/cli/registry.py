"""``wharf registry``: show and rotate the login of a registry, and go back to the old one."""

import sys
import time
from typing import Annotated, Any

import typer

from api.cli.build import POLL_SECONDS, error_text
from api.cli.client import ClientSettings, call
from api.cli.output import write_line, write_note
from api.cli.server import client_settings
from shared.errors import SetupError

app = typer.Typer(
    help="The logins of registries: show, rotate, cancel, roll back.", no_args_is_help=True
)

Chosen = Annotated[str, typer.Argument(metavar="NAME|ID", help="The registry's name or id.")]


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


@app.command()
def show(registry: Chosen) -> None:
    """Show the life of a registry's login: its dates, its last use, refusals, and what needs it."""
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
        "applications": ", ".join(one["name"] for one in used["applications"]),
        "rollback points": used["rollbackPoints"],
        "deploy hooks": used["deployHooks"],
    }
    for name, value in lines.items():
        write_line(f"{name}: {'-' if value in {None, ''} else value}")
    for refusal in login["refusals"]:
        where = f"server {refusal['serverId']}" if refusal["serverId"] else "wharf control"
        write_line(f"refused from {where} since {refusal['since']}: {refusal['code']}")


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
