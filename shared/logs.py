"""Logs for operators: one JSON line per fact, an ``event`` and its fields.

A line that cannot be written is lost: no work fails or waits because of the log.
"""

import json
import logging
import os
import select
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TextIO

import structlog
from structlog.typing import EventDict

from shared.untrusted.text import plain_text

STUCK_SECONDS = 0.2
"""The time to wait, once, for the reader of a full pipe."""

MAX_MESSAGES = 100
_RENDER = structlog.processors.JSONRenderer()


@dataclass(eq=False)
class LogStream:
    """Write lines to a stream's file, unbuffered; count the lost ones."""

    stream: TextIO
    lost: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _unreported: int = 0
    _is_stuck: bool = False
    _is_broken: bool = False

    def write(self, text: str) -> int:
        with self._lock:
            if not (self._report() and self._try(text)):
                self.lost += 1
                self._unreported += 1
        return len(text)

    def flush(self) -> None:
        """Do nothing: lines are not buffered."""

    def _report(self) -> bool:
        """Write the number of lost lines; return whether that succeeded."""
        if self._unreported:
            report = {"event": "log_lines_lost", "level": "warning", "lines": self._unreported}
            if not self._try(f"{json.dumps(report)}\n"):
                return False
            self._unreported = 0
        return True

    def _try(self, text: str) -> bool:
        # After a partly written line the next one begins on a new line.
        encoded = (f"\n{text}" if self._is_broken else text).encode(errors="backslashreplace")
        try:
            file = self.stream.fileno()
            if not self._takes_more(file):
                return False
            written = os.write(file, encoded)
        except (OSError, ValueError):
            # The disk is full, the reader is gone, or the stream was closed.
            return False
        self._is_broken = written < len(encoded)
        return not self._is_broken

    def _takes_more(self, file: int) -> bool:
        poll = select.poll()
        poll.register(file, select.POLLOUT)
        milliseconds = 0 if self._is_stuck else int(STUCK_SECONDS * 1000)
        self._is_stuck = not poll.poll(milliseconds)
        return not self._is_stuck


class OncePerSecond(logging.Filter):
    """Pass each message of a logger once a second, regardless of its values."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._passed: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now, message = self._clock(), str(record.msg)
        if now - self._passed.get(message, -1.0) < 1.0:
            return False
        if len(self._passed) >= MAX_MESSAGES:
            self._passed.clear()
        self._passed[message] = now
        return True


def configure_logs(role: str) -> LogStream:
    """Send structured lines to standard error, and the standard library's warnings with them."""
    stream = LogStream(sys.stderr)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        # A line and its end in one write: Celery writes to the same stream with another lock.
        logger_factory=structlog.WriteLoggerFactory(stream),  # type: ignore[arg-type]
    )
    structlog.contextvars.bind_contextvars(role=role)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_PlainFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    return stream


def _render(logger: object, name: str, fields: EventDict) -> str | bytes:
    """Render the line; if fields cannot be rendered, only the event."""
    try:
        return _RENDER(logger, name, fields)
    except Exception as error:  # noqa: BLE001 - a value's own code; no work fails for its log
        return json.dumps({"event": str(fields.get("event")), "unreadable": type(error).__name__})


class _PlainFormatter(logging.Formatter):
    """Format lines of libraries, which may contain text from servers or registries.

    Continuation lines are indented, so that they cannot imitate a log line.
    """

    def __init__(self) -> None:
        super().__init__(logging.BASIC_FORMAT)

    def format(self, record: logging.LogRecord) -> str:
        return plain_text(super().format(record)).replace("\n", "\n  ")
