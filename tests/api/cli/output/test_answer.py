"""An answer is shown to people, as JSON, or as its ids."""

import json
from typing import Any

import pytest

from api.cli.output.answer import Columns, Form, as_text, fields, lines, write_answer
from api.cli.output.units import show_bytes, show_seconds

ROWS: list[dict[str, Any]] = [
    {"id": "1", "name": "[bold]one\x1b[2J", "tags": ["a", "b"]},
    {"id": "2", "name": None, "tags": []},
]
COLUMNS = Columns("id", {"name": "name", "tags": "tags"})


def test_a_table_of_a_pipe_has_no_markup_no_control_characters_and_no_colours(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_answer(COLUMNS.of(ROWS), Form.PEOPLE)

    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert shown == [
        ["name", "tags", "id"],
        ["[bold]one?[2J", "a,", "b", "1"],
        ["-", "-", "2"],
    ]


def test_a_row_of_a_pipe_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    long = [{"id": "1", "name": "n" * 500, "tags": []}]

    write_answer(COLUMNS.of(long), Form.PEOPLE)

    assert len(capsys.readouterr().out.splitlines()) == 2


def test_json_is_the_answer_and_quiet_its_ids(capsys: pytest.CaptureFixture[str]) -> None:
    page = {"rows": ROWS, "next": None}
    answer = COLUMNS.of(ROWS, answer=page)

    write_answer(answer, Form.JSON)
    written = capsys.readouterr().out
    write_answer(answer, Form.QUIET)

    assert json.loads(written) == page
    assert "\x1b" not in written
    assert capsys.readouterr().out == "1\n2\n"


def test_fields_and_lines_are_shown_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    write_answer(fields(ROWS[0], "id", {"name": "x\x07", "none": None}), Form.PEOPLE)
    write_answer(lines(value=True, ids=["1"], texts=["done"]), Form.PEOPLE)

    assert capsys.readouterr().out == "name: x?\nnone: -\ndone\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        ("", "-"),
        (True, "yes"),
        ([1, "a"], "1, a"),
        ({"a": 1}, "a=1"),
        ({}, "-"),
        (0, "0"),
    ],
)
def test_values_are_written_as_people_read_them(value: object, text: str) -> None:
    assert as_text(value) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, "-"), (0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 * 1024**5, "3072.0 TiB")],
)
def test_bytes_have_the_largest_unit_that_fits(count: float | None, text: str) -> None:
    assert show_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59, "59 s"), (60, "1 min"), (7200, "2 h"), (200_000, "2 d")]
)
def test_durations_have_the_largest_unit_that_fits(seconds: float, text: str) -> None:
    assert show_seconds(seconds) == text
