"""Send a job's log to the database once a second, masked, cut and in batches.

A build can print more than anybody reads, and faster than a database stores it. Excess lines are
left out and counted; the build itself never waits for its log.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import structlog

from shared.coroutines import end, wait_for_event
from shared.untrusted.text import uncoloured
from worker.jobs.functions import DatabaseAway
from worker.jobs.mask import Mask

LogSender = Callable[[int, Mapping[str, str]], Awaitable[None]]
"""Store a piece of the log by its number, counted from 1; called again after `DatabaseAway`."""

MAX_LINE = 4_000
"""The characters of one line that are kept; nobody reads longer lines."""

log = structlog.get_logger()


@dataclass(frozen=True)
class LogLimits:
    """The limits of how often and how much log is sent.

    ``piece_bytes`` fits an event (16 KiB). A job has 10,000 events for all its attempts. So one
    attempt sends at most ``pieces``, and after half of them only one every ``slow``.
    """

    every: timedelta = timedelta(seconds=1)
    slow: timedelta = timedelta(seconds=5)
    piece_bytes: int = 12_000
    pieces: int = 2_500
    waiting_bytes: int = 1_000_000


class JobLog:
    """A buffer that takes lines at any speed and keeps those that are to be sent."""

    def __init__(self, mask: Mask, limits: LogLimits) -> None:
        self._mask = mask
        self._pace = limits
        self._waiting = deque[str]()
        self._bytes = 0
        self._left_out = 0

    def add(self, line: str) -> None:
        """Add one line; secrets are masked before a long line is cut."""
        shown = self._mask(uncoloured(line))
        if len(shown) > MAX_LINE:
            shown = f"{shown[:MAX_LINE]} [{len(shown) - MAX_LINE} characters left out]"
        size = _size(shown)
        if self._bytes + size > self._pace.waiting_bytes:
            self._left_out += 1
            return
        self._close_gap()
        self._waiting.append(shown)
        self._bytes += size

    def take(self) -> Iterator[str]:
        """Remove the waiting lines and yield them as pieces of whole lines."""
        self._close_gap()
        piece, size = list[str](), 0
        while self._waiting:
            line = self._waiting.popleft()
            if piece and size + _size(line) > self._pace.piece_bytes:
                yield "\n".join(piece)
                piece, size = [], 0
            piece.append(line)
            size += _size(line)
        self._bytes = 0
        if piece:
            yield "\n".join(piece)

    def _close_gap(self) -> None:
        if self._left_out:
            self._waiting.append(f"[{self._left_out} lines left out]")
            self._left_out = 0


@asynccontextmanager
async def open_log(
    send: LogSender,
    mask: Mask,
    limits: LogLimits | None = None,
    *,
    flush_timeout: timedelta = timedelta(seconds=2),
) -> AsyncIterator[JobLog]:
    """Open a log that is sent while the block runs; the rest is sent when the block ends.

    At the end, also after a cancel, sending takes ``flush_timeout`` at most.
    """
    used_limits = limits or LogLimits()
    job_log, done = JobLog(mask, used_limits), asyncio.Event()
    sending = asyncio.create_task(_send(job_log, send, used_limits, done))
    try:
        yield job_log
    finally:
        done.set()
        await asyncio.wait({sending}, timeout=flush_timeout.total_seconds())
        await end(sending)


async def _send(job_log: JobLog, send: LogSender, limits: LogLimits, done: asyncio.Event) -> None:
    made, sent, unsent, is_last = 0, 0, deque[tuple[int, str]](), False
    while not is_last:
        is_late = sent > limits.pieces // 2
        is_last = await wait_for_event(
            done, (limits.slow if is_late else limits.every).total_seconds()
        )
        for piece in job_log.take():
            made += 1
            unsent.append((made, piece))
        while unsent and sent < limits.pieces:
            if not await _is_sent(send, *unsent[0]):
                break
            unsent.popleft()
            sent += 1
        if sent >= limits.pieces:
            unsent.clear()
        while len(unsent) * limits.piece_bytes > limits.waiting_bytes:
            unsent.popleft()


async def _is_sent(send: LogSender, number: int, piece: str) -> bool:
    try:
        await send(number, {"text": piece})
    except DatabaseAway as error:
        log.warning("log_retried", error=type(error).__name__)
        return False
    return True


def _size(line: str) -> int:
    return len(line.encode(errors="replace")) + 1
