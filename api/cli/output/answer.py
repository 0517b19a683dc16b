"""Show an answer of the API: for people, as JSON (``--json``), or its ids alone (``--quiet``)."""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from api.cli.output.text import write_line

Row = Mapping[str, Any]
Cell = str | Callable[[Row], Any]
"""The name of a field, or a function of the row."""


class Form(Enum):
    """The form of what a command shows."""

    PEOPLE = "people"
    JSON = "json"
    QUIET = "quiet"


@dataclass(frozen=True)
class Answer:
    """The API's own answer, its ids, a function that shows it to people, and an exit code."""

    value: Any
    ids: Sequence[str]
    show: Callable[[], None]
    code: int = 0


@dataclass(frozen=True)
class Columns:
    """The columns of a table, and the field with the id of a row."""

    id: str
    cells: Mapping[str, Cell] = field(default_factory=dict)

    def of(self, rows: Sequence[Row], *, answer: Any = None) -> Answer:
        """Return an answer that is a table; ``answer`` is the API's, if it is more than rows."""
        ids = [str(row[self.id]) for row in rows]
        return Answer(rows if answer is None else answer, ids, lambda: self._show(rows))

    def _show(self, rows: Sequence[Row]) -> None:
        # Rich takes a while to import, and scripts do not need it.
        from api.cli.output.table import write_table  # noqa: PLC0415

        write_table(
            [*self.cells, "id"],
            [[*(_cell(row, one) for one in self.cells.values()), row[self.id]] for row in rows],
        )


def lines(value: Any, ids: Iterable[str], texts: Iterable[str], *, code: int = 0) -> Answer:
    """Return an answer that people see as these lines."""

    def show() -> None:
        for one in texts:
            write_line(one)

    return Answer(value, list(ids), show, code)


def fields(value: Row, id_field: str, shown: Mapping[str, Any]) -> Answer:
    """Return an answer that people see as one line for each field."""
    texts = (f"{name}: {as_text(one)}" for name, one in shown.items())
    return lines(value, [str(value[id_field])], texts)


def write_answer(answer: Answer, form: Form) -> None:
    """Write an answer to standard output."""
    match form:
        case Form.JSON:
            sys.stdout.write(f"{json.dumps(answer.value, indent=2)}\n")
        case Form.QUIET:
            for one in answer.ids:
                write_line(one)
        case Form.PEOPLE:
            answer.show()


def as_text(value: Any) -> str:
    """Return a value of an answer as people read it: ``-`` for none, lists with commas."""
    match value:
        case None | "" | []:
            return "-"
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(as_text(one) for one in value)
        case dict():
            return ", ".join(f"{name}={as_text(one)}" for name, one in value.items()) or "-"
        case _:
            return str(value)


def _cell(row: Row, cell: Cell) -> str:
    return as_text(row[cell] if isinstance(cell, str) else cell(row))
