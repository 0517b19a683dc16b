"""``wharf audit``: list what was done in the organization, and by whom."""

from typing import Annotated

import typer

from api.cli.arguments import given
from api.cli.client import call
from api.cli.command import command
from api.cli.output.answer import Answer, Columns
from api.cli.output.text import write_note
from api.cli.output.units import show_time
from api.cli.settings import ClientSettings

app = typer.Typer(help="The audit log: list.", no_args_is_help=True)

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
        str | None, typer.Option("--of", help="Only what was done to the thing with this id.")
    ] = None,
    actor: Annotated[
        str | None, typer.Option("--by", help="Only what the person or key with this id did.")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=200, help="The largest number of rows.")
    ] = 50,
    cursor: Annotated[str | None, typer.Option(help="The nextCursor of the page before.")] = None,
) -> Answer:
    """Show what was done in the organization, by page, the newest first."""
    request = given(action=action, objectId=thing, actorId=actor, limit=limit, cursor=cursor)
    page = call(settings, "auditLog.all", request)
    if page["nextCursor"]:
        write_note(f"there are more: --cursor {page['nextCursor']}")
    return COLUMNS.of(page["entries"], answer=page)
