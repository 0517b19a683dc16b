"""Print tables; colours and widths are those of a terminal, if there is one."""

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api.cli.output.text import printable

PIPED_WIDTH = 10_000
"""Lines of a pipe are not folded: a program reads them."""


def open_console(*, stderr: bool = False) -> Console:
    """Return the terminal; colours are off in a pipe and with ``NO_COLOR``."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else PIPED_WIDTH, highlight=False)


def plain(text: str) -> str:
    """Return a name as plain text, never as markup."""
    return escape(printable(text))


def write_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print one line for each row; a table without rows has a heading alone."""
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(plain(text) for text in row))
    open_console().print(table)
