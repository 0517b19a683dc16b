import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from shared.logs import LogStream, OncePerSecond

TWO_WRITERS = """
import logging
import threading
import structlog
from shared.logs import configure_logs

configure_logs("worker")

def say() -> None:
    for number in range(2000):
        structlog.get_logger().info("fact", number=number)

def warn() -> None:
    for number in range(2000):
        logging.getLogger("library").warning("%d", number)

threads = [threading.Thread(target=act) for act in (say, warn, say, warn)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_a_line_is_a_line_whoever_else_writes() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", TWO_WRITERS],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )

    lines = ran.stderr.splitlines()
    facts = [json.loads(line) for line in lines if line.startswith("{")]
    assert [fact["event"] for fact in facts] == ["fact"] * 4000
    assert sum(line.startswith("WARNING:library:") for line in lines) == len(lines) - 4000 == 4000


def test_a_full_disk_loses_lines_and_stops_nothing() -> None:
    with Path("/dev/full").open("w") as full:
        stream = LogStream(full)
        for _ in range(3):
            assert stream.write("a line\n") == 7

    assert stream.lost == 3


def test_the_number_of_lost_lines_stands_where_they_are_missing(tmp_path: Path) -> None:
    log = (tmp_path / "log").open("w")
    stream = LogStream(log)
    stream.write("first\n")
    with Path("/dev/full").open("w") as full:
        stream.stream = full
        stream.write("lost\n")
        stream.write("lost too\n")
    stream.stream = log
    stream.write("last\n")
    log.close()

    first, report, last = (tmp_path / "log").read_text().splitlines()
    assert (first, last) == ("first", "last")
    assert json.loads(report) == {"event": "log_lines_lost", "level": "warning", "lines": 2}


def test_a_log_that_was_closed_or_that_nobody_reads_loses_lines_only(tmp_path: Path) -> None:
    closed = (tmp_path / "log").open("w")
    closed.close()
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as unread:  # noqa: PTH123 - a descriptor
        streams = [LogStream(closed), LogStream(unread)]
        for stream in streams:
            stream.write("a line\n")

    assert [stream.lost for stream in streams] == [1, 1]


def test_a_reader_that_hangs_is_waited_for_once() -> None:
    reading, writing = os.pipe()
    with open(writing, "w") as hung:  # noqa: PTH123 - a descriptor
        stream = LogStream(hung)

        def write() -> None:
            for _ in range(5000):
                stream.write("a line of some length, of which many do not fit\n")

        writer = threading.Thread(target=write)
        writer.start()
        writer.join(3)
        has_ended = not writer.is_alive()
        # Nobody can read any more: a writer that waits ends.
        os.close(reading)
        writer.join()

    assert has_ended
    assert stream.lost > 0


def test_a_value_that_cannot_be_shown_does_not_end_its_work(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", UNPRINTABLE],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert ran.stdout == "went on\n"
    assert '"event": "fact"' in ran.stderr


UNPRINTABLE = """
import structlog
from shared.logs import configure_logs

class Unprintable:
    def __repr__(self):
        raise OSError("no")

configure_logs("worker")
structlog.get_logger().info("fact", value=Unprintable(), text="\\ud800")
print("went on")
"""


def test_a_library_s_words_steer_no_terminal_and_pass_for_no_line_of_ours() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", HOSTILE],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )

    ours, *theirs = ran.stderr.split("\n")
    assert json.loads(ours)["text"] == "\x1b[2J\n{}" and "\x1b" not in ran.stderr
    assert theirs == ["WARNING:library:said \ufffd[2J\ufffd", '  {"event": "forged"}', ""]


HOSTILE = """
import logging
import structlog
from shared.logs import configure_logs

configure_logs("worker")
structlog.get_logger().info("fact", text="\x1b[2J\\n{}")
logging.getLogger("library").warning("said %s", '\x1b[2J\u202e\\n{"event": "forged"}')
"""


def test_a_message_passes_once_a_second_whatever_its_values() -> None:
    now = 10.0
    once = OncePerSecond(lambda: now)

    def passes(message: str) -> bool:
        made = logging.LogRecord("x", logging.WARNING, "", 0, message, ("value",), None)
        return once.filter(made)

    seen = [passes("a %s"), passes("a %s"), passes("b %s")]
    now += 1.0
    seen.append(passes("a %s"))

    assert seen == [True, False, True, True]


@pytest.mark.parametrize("text", ["\ud800", "ü\n"])
def test_a_line_of_any_characters_is_written(tmp_path: Path, text: str) -> None:
    with (tmp_path / "log").open("w") as log:
        stream = LogStream(log)
        stream.write(text)

    assert stream.lost == 0
