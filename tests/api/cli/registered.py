"""The commands that are registered."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from typer.main import get_command

from api.cli.main import app


@cache
def leaves() -> tuple[tuple[str, Any], ...]:
    """Each command by its words; typer's classes are its own, so that they are only read."""
    return tuple(_leaves(get_command(app), ()))


def _leaves(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if hasattr(command, "commands"):
        for name, below in command.commands.items():
            yield from _leaves(below, (*path, name))
    else:
        yield " ".join(path), command
