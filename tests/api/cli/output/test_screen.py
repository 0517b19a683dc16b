"""Progress is shown by bars on a terminal and by lines elsewhere."""

import json
import os
import sys

import pytest

from api.cli.output.screen import LINE_SECONDS, Screen, describe
from tests.api.cli.shells import open_terminal

LAYER = {"id": "sha256:one\x1b[2J", "state": "moving", "currentBytes": 1, "totalBytes": 2}
TRANSFER = {
    "currentBytes": 5 * 1024**2,
    "totalBytes": 20 * 1024**2,
    "rate": 1024**2,
    "secondsLeft": 15,
    "stalled": None,
    "layers": [LAYER],
}
PROGRAM = """
import json, sys, time
from api.cli.output.screen import Screen
with Screen() as screen:
    screen.progress("pull", json.loads(sys.argv[1]))
    screen.line("[red]a line\\x1b[2J")
    sys.stdin.readline()
"""


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "25 % of 20.0 MiB, 1.0 MiB/s, 15 s left"),
        ({"totalBytes": 0, "secondsLeft": None}, "5.0 MiB, 1.0 MiB/s"),
        ({"rate": None, "secondsLeft": None}, "25 % of 20.0 MiB"),
        ({"stalled": {"layer": "x", "seconds": 90}}, "25 % of 20.0 MiB, no byte for 2 min"),
    ],
)
def test_a_transfer_is_described_with_its_rate_and_the_time_left(
    changes: dict[str, object], text: str
) -> None:
    assert describe({**TRANSFER, **changes}) == text


def test_without_a_terminal_progress_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = [0.0]

    with Screen(clock=lambda: now[0]) as screen:
        for seconds in (0.0, LINE_SECONDS - 1, LINE_SECONDS, LINE_SECONDS + 1):
            now[0] = seconds
            screen.progress("pull", TRANSFER)
            screen.progress("other", {"step": 1})
            screen.progress("none", None)

    line = "pull: 25 % of 20.0 MiB, 1.0 MiB/s, 15 s left\n"
    assert capsys.readouterr().err == line


def test_a_terminal_has_bars_with_the_rate_and_the_time_left() -> None:
    words = [sys.executable, "-c", PROGRAM, json.dumps(TRANSFER)]

    with open_terminal(words, {**os.environ, "TERM": "xterm", "COLUMNS": "120"}) as terminal:
        shown = terminal.wait_for("1.0 MiB/s, 15 s left", "[red]a line?[2J", "sha256:one?[2J")

    assert "5.2/21.0 MB" in shown or "5.0/20.0 MiB" in shown


def test_without_colours_bars_have_none() -> None:
    words = [sys.executable, "-c", PROGRAM, json.dumps(TRANSFER)]
    variables = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "NO_COLOR": "1"}

    with open_terminal(words, variables) as terminal:
        shown = terminal.wait_for("15 s left")

    assert "\x1b[3" not in shown
