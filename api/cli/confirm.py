"""Ask before something is deleted."""

import sys
from typing import Annotated

import typer

from shared.errors import SetupError

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def confirm(question: str, *, yes: bool) -> None:
    """Return if the answer is yes; without a terminal and ``--yes`` nothing is done.

    Raises:
        SetupError: there is no terminal to ask on.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise SetupError(f"there is no terminal to ask: {question}", remedy="Give --yes to do it.")
    typer.confirm(question, abort=True, err=True)
