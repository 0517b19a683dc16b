"""``wharf organization``: show and change the settings of an organization."""

from typing import Annotated

import typer

from api.cli.client import call
from api.cli.commands.server import client_settings
from api.cli.output.text import write_line

app = typer.Typer(help="The settings of the organization: show, change.", no_args_is_help=True)

Days = Annotated[
    int | None,
    typer.Option(min=1, max=3650, help="Days after which a password is due, by default."),
]


@app.command()
def show() -> None:
    """Show the settings."""
    with client_settings("organization show") as settings:
        _write(call(settings, "organization.settings"))


@app.command()
def update(rotate_after_days: Days = None) -> None:
    """Change the settings that are given; registries may have other days of their own."""
    given = {} if rotate_after_days is None else {"rotateAfterDays": rotate_after_days}
    with client_settings("organization update") as settings:
        _write(call(settings, "organization.updateSettings", given))


def _write(found: dict[str, object]) -> None:
    write_line(f"organization: {found['organizationId']}")
    write_line(f"rotate after days: {found['rotateAfterDays']}")
