"""``wharf rollbacks``: list, verify and remove the rollback points of an application."""

from typing import Annotated

import typer

from api.cli.arguments import Application
from api.cli.client import call
from api.cli.command import Shown, command
from api.cli.confirm import Yes, confirm
from api.cli.follow.outcomes import error_text
from api.cli.names import APPLICATION, POINT, choose, find_id
from api.cli.output.answer import Answer, Columns, Row, lines
from api.cli.output.units import show_time
from api.cli.settings import ClientSettings

app = typer.Typer(
    help="The rollback points of applications: list, verify, remove.", no_args_is_help=True
)


def _use(point: Row) -> str:
    if point["isRunning"]:
        return "running"
    return "offered" if point["offered"] else f"not offered{error_text(point['error'])}"


COLUMNS = Columns(
    "rollbackId",
    {
        "version": "version",
        "use": _use,
        "reference": "reference",
        "verified": lambda row: show_time(row["verifiedAt"]),
        "used": lambda row: show_time(row["usedAt"]),
    },
)


@command(
    app,
    "list",
    example="wharf rollbacks list my-app",
    shows=Shown("rollback.all", instead="rollback.verify", option="--verify"),
)
def list_all(
    settings: ClientSettings,
    application: Application,
    *,
    verify: Annotated[
        bool, typer.Option("--verify", help="Verify the images at their registries first.")
    ] = False,
) -> Answer:
    """Show an application's rollback points, the last used one first."""
    chosen = {"applicationId": find_id(settings, APPLICATION, application)}
    return COLUMNS.of(call(settings, "rollback.verify" if verify else "rollback.all", chosen))


@command(app, example="wharf rollbacks remove my-app POINT --yes", shows="rollback.delete")
def remove(
    settings: ClientSettings,
    application: Application,
    point: Annotated[
        str, typer.Argument(metavar="POINT", help="The point's id, or its beginning.")
    ],
    *,
    yes: Yes = False,
) -> Answer:
    """Remove a rollback point, and its image if nothing else needs it."""
    chosen = {"applicationId": find_id(settings, APPLICATION, application)}
    found = choose(POINT, call(settings, "rollback.all", chosen), point)
    confirm(f"Remove the rollback point {found['rollbackId']} ({found['reference']})?", yes=yes)
    removed = call(settings, "rollback.delete", {"rollbackId": found["rollbackId"]})
    return lines(removed, [removed["rollbackId"]], [f"removed {removed['rollbackId']}"])
