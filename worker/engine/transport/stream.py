"""Lines of JSON out of an Engine's chunks, however these are cut, and a watch over their coming."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Self

from pydantic import JsonValue

from shared.errors import EngineError
from shared.faults import FaultCode

JsonObject = Mapping[str, JsonValue]
"""One decoded line: the Engine's own field names."""

MAX_LINE_BYTES = 8 * 1024 * 1024
"""One line of a build can be megabytes; more than this is no progress report."""


class LineSplitter:
    """Whole lines out of chunks; keeps what is left of the last one."""

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._max = max_line_bytes

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that ``chunk`` completes, without their ends and without empty ones.

        Raises:
            EngineError: ``engine_refused``, a line is longer than the cap.
        """
        *ended, rest = chunk.split(b"\n")
        lines = []
        for piece in ended:
            self._keep(piece)
            lines.append(self._take())
        self._keep(rest)
        return [line for line in lines if line]

    def finish(self) -> bytes:
        """What stood behind the last line end."""
        return self._take()

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._max:
            raise EngineError(
                FaultCode.ENGINE_REFUSED, f"the Docker Engine sent a line of over {self._max} bytes"
            )
        if piece:
            self._parts.append(piece)

    def _take(self) -> bytes:
        line = b"".join(self._parts).strip()
        self._parts.clear()
        self._size = 0
        return line


class Watchdog:
    """Ends a wait in which nothing moved for ``idle``."""

    def __init__(self, idle: timedelta, what: str) -> None:
        self._idle = idle.total_seconds()
        self._what = what
        self._timer: asyncio.Timeout | None = None

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Watch over what is awaited inside.

        Raises:
            EngineError: ``engine_stalled``.
        """
        timer = asyncio.timeout(self._idle)
        try:
            async with timer:
                self._timer = timer
                yield
        except TimeoutError as error:
            if not timer.expired():
                raise
            raise EngineError(
                FaultCode.ENGINE_STALLED, f"{self._what}: nothing moved for {self._idle:g} s"
            ) from error
        finally:
            self._timer = None

    async def seen(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The same chunks on their way out: as long as an Engine takes them, something moves."""
        async for chunk in chunks:
            if self._timer is not None and not self._timer.expired():
                self._timer.reschedule(asyncio.get_running_loop().time() + self._idle)
            yield chunk


class JsonLines:
    """The lines of one answer, to be iterated once; ``read`` gives a chunk, or none at the end."""

    def __init__(self, read: Callable[[], Awaitable[bytes]]) -> None:
        self._read = read
        self._splitter = LineSplitter()
        self._lines: deque[bytes] = deque()
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> JsonObject:
        """The next line.

        Raises:
            EngineError: the stream stalls, breaks off, or is not made of JSON objects.
        """
        while not self._lines and not self._ended:
            await self._fill()
        if not self._lines:
            raise StopAsyncIteration
        return parse_line(self._lines.popleft())

    async def _fill(self) -> None:
        chunk = await self._read()
        if chunk:
            self._lines.extend(self._splitter.feed(chunk))
            return
        self._ended = True
        if last := self._splitter.finish():
            self._lines.append(last)


def parse_line(line: bytes) -> JsonObject:
    """The object that one line holds.

    Raises:
        EngineError: ``engine_stream_truncated``, it is not a JSON object.
    """
    try:
        value = json.loads(line)
    except ValueError as error:
        raise _broken_line() from error
    if not isinstance(value, dict):
        raise _broken_line()
    return value


def _broken_line() -> EngineError:
    return EngineError(
        FaultCode.ENGINE_STREAM_TRUNCATED, "the Docker Engine sent a broken line of JSON"
    )
