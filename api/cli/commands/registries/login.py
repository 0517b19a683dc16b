"""``wharf registry rotate``, ``cancel`` and ``rollback``: change the login of a registry."""

import time
from typing import Annotated, Any

import typer

from api.cli.arguments import Registry
from api.cli.client import call
from api.cli.command import Shown, command
from api.cli.commands.registries.registry import app
from api.cli.commands.registries.settings import read_new_password
from api.cli.follow.outcomes import POLL_SECONDS, error_text
from api.cli.names import REGISTRY, find_id
from api.cli.output.answer import Answer, lines
from api.cli.output.text import write_note
from api.cli.secret_input import PasswordFile, PasswordStdin
from api.cli.settings import ClientSettings


@command(
    app,
    example="wharf registry rotate Production --password-file new-password.txt",
    shows=Shown("registry.rotate"),
)
def rotate(
    settings: ClientSettings,
    registry: Registry,
    username: Annotated[
        str | None, typer.Option(help="The new username; by default it stays.")
    ] = None,
    keep: Annotated[
        int, typer.Option(min=0, max=720, help="The hours for which the old login is kept.")
    ] = 24,
    password_file: PasswordFile = None,
    *,
    password_stdin: PasswordStdin = False,
    force: Annotated[bool, typer.Option(help="Use it although a test of it fails.")] = False,
) -> Answer:
    """Test a new password from the registry's servers, and use it if all of them can log in.

    The password is read from a file or from standard input; on a terminal it is asked for. Exit
    code 1: it was refused, and the old one stays in use.
    """
    chosen = {"registryId": find_id(settings, REGISTRY, registry)}
    password = read_new_password(password_file, stdin=password_stdin)
    request = {**chosen, "password": password, "force": force, "keepOldHours": keep}
    if username is not None:
        request["username"] = username
    started = call(settings, "registry.rotate", request)
    rotation = {**started, **_ended(settings, chosen, started)}
    for test in rotation["tests"]:
        error = test if test["code"] else None
        write_note(f"{test['serverName']}: {test['state']}{error_text(error)}")
    switched = rotation["state"] == "switched"
    if not switched:
        write_note(f"{rotation['state']}{error_text(rotation['error'])}")
    texts = [f"switched; the old login is kept until {rotation['keptUntil']}"] if switched else []
    return lines(rotation, [rotation["rotationId"]], texts, code=0 if switched else 1)


@command(app, example="wharf registry cancel Production", shows="registry.cancelRotation")
def cancel(settings: ClientSettings, registry: Registry) -> Answer:
    """Cancel a rotation whose new password is being tested; the old one stays in use."""
    return _end_rotation(settings, "registry.cancelRotation", registry)


@command(app, example="wharf registry rollback Production", shows="registry.rollbackCredential")
def rollback(settings: ClientSettings, registry: Registry) -> Answer:
    """Use the old login again, while it is kept, and drop the new one."""
    return _end_rotation(settings, "registry.rollbackCredential", registry)


def _end_rotation(settings: ClientSettings, procedure: str, registry: str) -> Answer:
    chosen = {"registryId": find_id(settings, REGISTRY, registry)}
    rotation = call(settings, procedure, chosen)
    return lines(rotation, [rotation["rotationId"]], [rotation["state"]])


def _ended(
    settings: ClientSettings, chosen: dict[str, str], rotation: dict[str, Any]
) -> dict[str, Any]:
    """Return the rotation once its tests have ended."""
    while rotation["state"] == "testing":
        time.sleep(POLL_SECONDS)
        rotation = call(settings, "registry.one", chosen)["rotation"]
    return rotation
