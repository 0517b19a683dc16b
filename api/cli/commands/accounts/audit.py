"""``wharf audit``: list what was done in the organization, and by whom."""

from collections.abc import Sequence
from typing import Annotated

import typer

from api.cli.arguments import given
from api.cli.client import call
from api.cli.command import command
from api.cli.completion import names_among
from api.cli.names import (
    APPLICATION,
    ID_LENGTH,
    KEY,
    MEMBER,
    REGISTRY,
    SERVER,
    USER,
    WEBHOOK,
    Noun,
    find_among,
)
from api.cli.output.answer import Answer, Columns
from api.cli.output.text import write_note
from api.cli.output.units import show_time
from api.cli.settings import ClientSettings
from shared.errors import SetupError

app = typer.Typer(help="The audit log: list.", no_args_is_help=True)

OBJECTS = (APPLICATION, REGISTRY, SERVER, WEBHOOK, KEY, USER)
ACTORS = (KEY, MEMBER)

COLUMNS = Columns(
    "auditEventId",
    {
        "at": lambda row: show_time(row["at"]),
        "action": "action",
        "of": "objectId",
        "by": lambda row: row["actor"] or row["actorId"],
        "data": "data",
    },
)


@app.callback()
def group() -> None:
    """List what was done in the organization, and by whom."""


@command(app, "list", example="wharf audit list --action registry.update", shows="auditLog.all")
def list_all(
    settings: ClientSettings,
    *,
    action: Annotated[
        str | None, typer.Option(help="Only this action, for example registry.update.")
    ] = None,
    thing: Annotated[
        str | None,
        typer.Option(
            "--of",
            help="Only what was done to this thing, by its name or id.",
            autocompletion=names_among(OBJECTS),
        ),
    ] = None,
    actor: Annotated[
        str | None,
        typer.Option(
            "--by",
            help="Only what this person or API key did, by name or id.",
            autocompletion=names_among(ACTORS),
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=200, help="The largest number of rows.")
    ] = 50,
    cursor: Annotated[str | None, typer.Option(help="The nextCursor of the page before.")] = None,
) -> Answer:
    """Show what was done in the organization, by page, the newest first."""
    request = given(
        action=action,
        objectId=thing and _find_id(settings, OBJECTS, thing),
        actorId=actor and _find_id(settings, ACTORS, actor),
        limit=limit,
        cursor=cursor,
    )
    page = call(settings, "auditLog.all", request)
    if page["nextCursor"]:
        write_note(f"there are more: --cursor {page['nextCursor']}")
    return COLUMNS.of(page["entries"], answer=page)


def _find_id(settings: ClientSettings, nouns: Sequence[Noun], name: str) -> str:
    """Return the id that the log has of a thing; a whole id may be that of a removed one."""
    if len(name) >= ID_LENGTH:
        return name
    found = find_among(settings, nouns, name)
    if found is None:
        words = ", ".join(noun.word for noun in nouns)
        raise SetupError(
            f"there is nothing named {name} among: {words}",
            remedy="Give the whole id of what was removed, or of anything else.",
        )
    noun, row = found
    return str(row[noun.id])
