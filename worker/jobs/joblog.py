"""A job's log on its way from a handler to the database: masked, cut, gathered, once a second.

A build can print more than anybody reads, and faster than a database takes it. What is too much is
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
from shared.text import uncoloured
from worker.jobs.functions import DatabaseAway
from worker.jobs.mask import Mask

Send = Callable[[int, Mapping[str, str]], Awaitable[None]]
"""Stores a piece of the log by its number, from 1 on; repeated with it after `DatabaseAway`."""

MAX_LINE = 4_000
"""Signs of one line that are kept; whoever writes more on a line writes for no reader."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Pace:
    """How often what is sent, and how much at most.

    ``piece_bytes`` fits an event (16 KiB). A job has 10,000 events for all its attempts: so one of
    them sends ``pieces`` at most, and after half of those only every ``slow``.
    """

    every: timedelta = timedelta(seconds=1)
    slow: timedelta = timedelta(seconds=5)
    piece_bytes: int = 12_000
    pieces: int = 2_500
    waiting_bytes: int = 1_000_000


class JobLog:
    """Takes lines at any speed and keeps what is to be sent."""

    def __init__(self, mask: Mask, pace: Pace) -> None:
        self._mask = mask
        self._pace = pace
        self._waiting = deque[str]()
        self._bytes = 0
        self._left_out = 0

    def add(self, line: str) -> None:
        """Add one line; secrets go first, and only then what is too long."""
        shown = self._mask(uncoloured(line))
        if len(shown) > MAX_LINE:
            shown = f"{shown[:MAX_LINE]} [{len(shown) - MAX_LINE} signs left out]"
        size = _size(shown)
        if self._bytes + size > self._pace.waiting_bytes:
            self._left_out += 1
            return
        self._close_gap()
        self._waiting.append(shown)
        self._bytes += size

    def take(self) -> Iterator[str]:
        """What waits, as pieces of whole lines."""
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
    send: Send,
    mask: Mask,
    pace: Pace | None = None,
    *,
    last_words: timedelta = timedelta(seconds=2),
) -> AsyncIterator[JobLog]:
    """A log that is sent while the block runs, and to its end when it is left.

    On the way out, and so also on a cancel, it takes ``last_words`` at most.
    """
    used = pace or Pace()
    kept, done = JobLog(mask, used), asyncio.Event()
    sending = asyncio.create_task(_send(kept, send, used, done))
    try:
        yield kept
    finally:
        done.set()
        await asyncio.wait({sending}, timeout=last_words.total_seconds())
        await end(sending)


async def _send(kept: JobLog, send: Send, pace: Pace, done: asyncio.Event) -> None:
    made, sent, unsent, is_last = 0, 0, deque[tuple[int, str]](), False
    while not is_last:
        is_late = sent > pace.pieces // 2
        is_last = await wait_for_event(done, (pace.slow if is_late else pace.every).total_seconds())
        for piece in kept.take():
            made += 1
            unsent.append((made, piece))
        while unsent and sent < pace.pieces:
            if not await _is_sent(send, *unsent[0]):
                break
            unsent.popleft()
            sent += 1
        if sent >= pace.pieces:
            unsent.clear()
        while len(unsent) * pace.piece_bytes > pace.waiting_bytes:
            unsent.popleft()


async def _is_sent(send: Send, number: int, piece: str) -> bool:
    try:
        await send(number, {"text": piece})
    except DatabaseAway as error:
        log.warning("log_again", error=type(error).__name__)
        return False
    return True


def _size(line: str) -> int:
    return len(line.encode(errors="replace")) + 1
