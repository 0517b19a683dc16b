"""``wharf quota``: show the quotas of the organization, and how much of each it uses."""

import typer

from api.cli.client import call
from api.cli.command import command
from api.cli.output.answer import Answer, Columns, Row
from api.cli.output.units import show_bytes
from api.cli.settings import ClientSettings

app = typer.Typer()


def _show(row: Row, field: str) -> str:
    count = row[field]
    if count is None:
        return "no limit"
    return show_bytes(count) if row["name"] == "uploadBytes" else str(count)


COLUMNS = Columns(
    "name", {"used": lambda row: _show(row, "used"), "limit": lambda row: _show(row, "limit")}
)


@command(app, example="wharf quota", shows="organization.quotas")
def quota(settings: ClientSettings) -> Answer:
    """Show the quotas of the organization, and how much of each it uses."""
    return COLUMNS.of(call(settings, "organization.quotas"))
