"""``wharf login``, ``logout`` and ``whoami``: store a profile, remove it, show who calls."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import SecretStr

from api.cli.client import base_url, call
from api.cli.command import command, exit_with_sentences
from api.cli.output.answer import Answer, fields
from api.cli.output.text import write_line, write_note
from api.cli.profiles import Profile, Profiles, read_profiles, write_profiles
from api.cli.secret_input import read_secret
from api.cli.settings import ClientSettings
from shared.errors import SetupError

app = typer.Typer()

DEFAULT_NAME = "default"


@app.command(epilog="Example: wharf login https://wharf.example.com --key-file key.txt")
def login(
    context: typer.Context,
    url: Annotated[str, typer.Argument(help="The address of the API.")],
    profile: Annotated[
        str | None, typer.Option(help=f"The name of the profile; by default {DEFAULT_NAME}.")
    ] = None,
    key_file: Annotated[
        Path | None, typer.Option("--key-file", help="A file that contains the API key.")
    ] = None,
    *,
    key_stdin: Annotated[
        bool, typer.Option("--key-stdin", help="Read the API key from standard input.")
    ] = False,
) -> None:
    """Check an API key and store it with the address of its API, in a file that only you read.

    On a terminal the key is asked for. Commands use the profile that was stored last, or the one
    of --profile or WHARF_PROFILE. WHARF_URL and WHARF_API_KEY win over stored profiles.
    """
    name = profile or context.find_root().params.get("profile") or DEFAULT_NAME
    with exit_with_sentences(context):
        key = read_secret("API key", key_file, stdin=key_stdin)
        if key is None:
            raise SetupError(
                "there is no API key",
                remedy="Give --key-file or --key-stdin, or use a terminal.",
            )
        settings = ClientSettings(url=url, api_key=SecretStr(key.strip()), profile=name)
        address = base_url(settings)
        caller = call(settings, "user.get")
        stored = read_profiles(os.environ)
        profiles = {**stored.profiles, name: Profile(url=address, api_key=SecretStr(key.strip()))}
        path = write_profiles(Profiles(default=name, profiles=profiles), os.environ)
    write_line(f"{_describe(caller)} at {address}; profile {name} is stored in {path}")
    if winning := [one for one in ("WHARF_URL", "WHARF_API_KEY") if os.environ.get(one)]:
        write_note(f"{' and '.join(winning)}: set in the environment, and used before the profile")


@app.command(epilog="Example: wharf logout")
def logout(
    context: typer.Context,
    profile: Annotated[
        str | None, typer.Option(help="The name of the profile; by default the one in use.")
    ] = None,
) -> None:
    """Remove a stored profile with its key. The key stays valid: see wharf key remove."""
    with exit_with_sentences(context):
        stored = read_profiles(os.environ)
        name = profile or context.find_root().params.get("profile") or stored.default
        if name is None or name not in stored.profiles:
            known = ", ".join(stored.profiles)
            raise SetupError(
                f"there is no profile {name or DEFAULT_NAME}",
                remedy=f"There is: {known}." if known else "None is stored.",
            )
        left = {one: value for one, value in stored.profiles.items() if one != name}
        default = stored.default if stored.default in left else next(iter(left), None)
        write_profiles(Profiles(default=default, profiles=left), os.environ)
    write_line(f"profile {name} is removed" + (f"; {default} is used now" if default else ""))


@command(app, example="wharf whoami", shows="user.get")
def whoami(settings: ClientSettings) -> Answer:
    """Show who calls: the name, the role, the organization, the API."""
    caller = call(settings, "user.get")
    shown = {
        "name": caller["user"]["name"],
        "role": caller["role"],
        "organization": caller["organizationId"],
        "API": base_url(settings),
        "profile": settings.profile,
    }
    return fields(caller, "userId", shown)


def _describe(caller: dict[str, Any]) -> str:
    return f"{caller['user']['name']} ({caller['role']})"
