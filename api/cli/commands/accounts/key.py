"""``wharf key``: list, create and remove API keys."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated

import typer

from api.cli.arguments import ApiKey, given
from api.cli.client import call
from api.cli.command import command
from api.cli.completion import names_of
from api.cli.confirm import Yes, confirm
from api.cli.names import APPLICATION, KEY, MEMBER, find
from api.cli.output.answer import Answer, Columns, Row, lines
from api.cli.output.text import write_note
from api.cli.output.units import show_time
from api.cli.settings import ClientSettings
from shared.errors import SetupError

app = typer.Typer(help="API keys: list, create, remove.", no_args_is_help=True)


class Role(StrEnum):
    """The role of a key."""

    ADMIN = "admin"
    MEMBER = "member"
    VIEWER = "viewer"


def _columns(people: Mapping[str, str]) -> Columns:
    return Columns(
        "apiKeyId",
        {
            "name": "name",
            "role": "role",
            "person": lambda row: people.get(row["memberId"], row["memberId"]),
            "begins": "start",
            "procedures": "procedures",
            "networks": "networks",
            "applications": "applicationIds",
            "expires": lambda row: show_time(row["expiresAt"]),
            "used": lambda row: show_time(row["lastUsedAt"]),
        },
    )


def _find_people(settings: ClientSettings, keys: Sequence[Row]) -> dict[str, str]:
    """Return the names of the people who have personal keys, by the ids of their memberships."""
    if not any(key["memberId"] for key in keys):
        return {}
    try:
        return {row[MEMBER.id]: MEMBER.label(row) for row in call(settings, MEMBER.all)}
    except SetupError:  # A key may be limited to the procedures of keys: their ids are shown.
        return {}


@command(app, "list", example="wharf key list", shows="apiKey.all")
def list_all(settings: ClientSettings) -> Answer:
    """Show all API keys, the oldest first; of a key only its beginning is stored.

    Personal keys are among them, with the person who made them.
    """
    keys = call(settings, "apiKey.all")
    return _columns(_find_people(settings, keys)).of(keys)


@command(
    app, example="wharf key create pipeline --application web --days 90", shows="apiKey.create"
)
def create(
    settings: ClientSettings,
    name: Annotated[str, typer.Argument(help="The key's name.")],
    *,
    role: Annotated[Role | None, typer.Option(help="Its role; by default member.")] = None,
    procedure: Annotated[
        list[str] | None,
        typer.Option(help="A procedure that it may call, for example image.*; by default all."),
    ] = None,
    network: Annotated[
        list[str] | None, typer.Option(help="A network it may be used from; by default all.")
    ] = None,
    application: Annotated[
        list[str] | None,
        typer.Option(
            metavar="APPLICATION",
            help="An application that it is limited to; by default all.",
            autocompletion=names_of(APPLICATION),
        ),
    ] = None,
    days: Annotated[int | None, typer.Option(min=1, help="The days until it expires.")] = None,
) -> Answer:
    """Create an API key; print it, and nothing else, to standard output. It is shown only once.

    It belongs to no person. A person makes a personal key in the console, under Account.
    """
    limits = given(
        role=role and role.value,
        procedures=procedure or None,
        networks=network or None,
        applicationIds=[
            find(settings, APPLICATION, each)["applicationId"] for each in application or []
        ]
        or None,
        expiresInSeconds=days and days * 86_400,
    )
    created = call(settings, "apiKey.create", {"name": name, **limits})
    write_note(f"{created['name']} ({created['role']}), id {created['apiKeyId']}")
    return lines(created, [created["apiKeyId"]], [created["key"]])


@command(app, example="wharf key remove pipeline --yes", shows="apiKey.remove")
def remove(settings: ClientSettings, key: ApiKey, *, yes: Yes = False) -> Answer:
    """Remove an API key: requests with it are refused from now on."""
    found = find(settings, KEY, key)
    confirm(f"Remove the API key {found['name']}?", yes=yes)
    removed = call(settings, "apiKey.remove", {"apiKeyId": found["apiKeyId"]})
    return lines(removed, [removed["apiKeyId"]], [f"removed {removed['name']}"])
