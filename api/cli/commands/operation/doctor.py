"""``wharf doctor``: check the API, control and all servers; send a job to each server."""

from functools import partial

import typer

from api.cli.command import Shown, command
from api.cli.commands.operation.checks import Check, examine, show
from api.cli.output.answer import Answer
from api.cli.output.table import open_console
from api.cli.settings import ClientSettings

app = typer.Typer()


@command(app, example="wharf doctor", shows=Shown("wharf doctor"))
def doctor(settings: ClientSettings) -> Answer:
    """Check the API (WHARF_URL, WHARF_API_KEY), control and servers; exit with 1 on a fault.

    With --json each check has a name, what was found, isGood and a remedy; --quiet writes the
    names of failed checks.
    """
    checks = examine(settings)
    failed = [check.name for check in checks if not check.is_good]
    value = [
        {
            "name": check.name,
            "isGood": check.is_good,
            "found": check.found,
            "remedy": check.remedy,
        }
        for check in checks
    ]
    return Answer(value, failed, partial(_show, checks), 1 if failed else 0)


def _show(checks: list[Check]) -> None:
    show(checks, open_console())
