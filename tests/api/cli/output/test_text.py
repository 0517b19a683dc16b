"""The output of the commands controls no terminal."""

import pytest

from api.cli.follow.outcomes import error_text
from api.cli.output.text import printable, write_line, write_note


def test_each_line_is_one_line_of_printable_signs(capsys: pytest.CaptureFixture[str]) -> None:
    write_line("app@sha256:$(x)\x1b[2J")
    write_note("it said: \x1b]0;title\x07\r\n\u202eend\x9b")

    out, err = capsys.readouterr()
    assert out == "app@sha256:$(x)?[2J\n"
    assert err == "it said: ?]0;title???" + "?end?\n"


def test_an_error_is_shown_on_one_line() -> None:
    error = {"code": "x", "message": "a\n\x1b[31mb", "remedy": "c"}

    assert printable(error_text(error)) == ": x: a ?[31mb. c"
