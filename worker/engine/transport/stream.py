"""Lines of JSON from an Engine's chunks, and a watchdog for idle streams."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Self

from pydantic import JsonValue

from shared.errors import EngineError
from shared.faults import FaultCode

JsonObject = Mapping[str, JsonValue]
"""One decoded line, with the Engine's field names."""

MAX_LINE_BYTES = 8 * 1024 * 1024
"""The size limit of a line; a line of a build can have megabytes."""


MAX_STATES = 50_000
"""The number of states that are remembered; a transfer has some dozens of layers."""


class LineSplitter:
    """Split chunks into whole lines; keep the rest of the last chunk."""

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._max = max_line_bytes

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that ``chunk`` completes, without line ends and without empty lines.

        Raises:
            EngineError: ``engine_refused``, a line is longer than the cap.
        """
        *ended, rest = chunk.split(b"\n")
        lines = []
        for part in ended:
            self._keep(part)
            lines.append(self._take())
        self._keep(rest)
        return [line for line in lines if line]

    def finish(self) -> bytes:
        """Return the rest after the last line end."""
        return self._take()

    def _keep(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._max:
            raise EngineError(
                FaultCode.ENGINE_REFUSED,
                f"the Docker Engine sent more than {self._max} bytes in a line",
                remedy="Check that DOCKER_HOST leads to a Docker Engine.",
            )
        if part:
            self._parts.append(part)

    def _take(self) -> bytes:
        line = b"".join(self._parts).strip()
        self._parts.clear()
        self._size = 0
        return line


class Watchdog:
    """End a wait if nothing moved for ``idle``; only the time of waits counts."""

    def __init__(self, idle: timedelta, what: str) -> None:
        self._idle = idle.total_seconds()
        self._what = what
        self._timer: asyncio.Timeout | None = None
        self._waited = 0.0
        self._since = 0.0

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[None]:
        """Watch the awaits inside the block.

        Raises:
            EngineError: ``engine_stalled``.
        """
        timer = asyncio.timeout(max(self._idle - self._waited, 0.0))
        self._since = _now()
        try:
            async with timer:
                self._timer = timer
                yield
        except TimeoutError as error:
            if not timer.expired():
                raise
            raise EngineError(
                FaultCode.ENGINE_STALLED, f"{self._what}: no data moved for {self._idle:g} s"
            ) from error
        finally:
            self._timer = None
            self._waited += _now() - self._since

    def moved(self) -> None:
        """Start the time anew."""
        self._waited, self._since = 0.0, _now()
        if self._timer is not None and not self._timer.expired():
            self._timer.reschedule(self._since + self._idle)

    async def watch_chunks(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the same chunks; each chunk that the Engine takes counts as movement."""
        async for chunk in chunks:
            self.moved()
            yield chunk


def _now() -> float:
    return asyncio.get_running_loop().time()


ReportedStates = Iterable[tuple[Hashable, Hashable]]
"""Pairs of an item (a layer, a step) and the state that the line reports of it."""


def read_states(line: JsonObject) -> ReportedStates:
    """Return the state of the layer that a line of a transfer is about; nothing for output.

    ``progress`` is left out: it is ``progressDetail`` as text, with the time that is left.
    """
    if "status" not in line:
        return ()
    detail = json.dumps(line.get("progressDetail"), sort_keys=True)
    return ((str(line.get("id", "")), f"{line['status']} {detail}"),)


class Movement:
    """Tell lines that report a change from those that repeat a state.

    An Engine with the containerd image store repeats the state of every layer ten times a second,
    also while nothing moves. So does BuildKit while it pulls.
    """

    def __init__(self, read: Callable[[JsonObject], ReportedStates] = read_states) -> None:
        self._read = read
        self._states: dict[Hashable, int] = {}

    def is_in(self, line: JsonObject) -> bool:
        """Return whether a state changed, or the line reports none."""
        states = dict(self._read(line))
        changed = {key: hash(value) for key, value in states.items()}
        is_new = [self._states.get(key) != value for key, value in changed.items()]
        if len(self._states) > MAX_STATES:
            self._states.clear()
        self._states.update(changed)
        return any(is_new) or not states


class JsonLines:
    """The lines of one response, to be iterated once.

    ``read`` returns a chunk, and an empty one at the end. ``on_movement`` is called for each line
    that is not a repetition.
    """

    def __init__(
        self,
        read: Callable[[], Awaitable[bytes]],
        on_movement: Callable[[], None] = lambda: None,
        read_states: Callable[[JsonObject], ReportedStates] = read_states,
    ) -> None:
        self._read = read
        self._on_movement = on_movement
        self._movement = Movement(read_states)
        self._splitter = LineSplitter()
        self._lines: deque[bytes] = deque()
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> JsonObject:
        """Return the next line.

        Raises:
            EngineError: the stream stalls, breaks off, or is not made of JSON objects.
        """
        while not self._lines and not self._ended:
            await self._fill()
        if not self._lines:
            raise StopAsyncIteration
        line = parse_line(self._lines.popleft())
        if self._movement.is_in(line):
            self._on_movement()
        return line

    async def _fill(self) -> None:
        chunk = await self._read()
        if chunk:
            self._lines.extend(self._splitter.feed(chunk))
            return
        self._ended = True
        if last := self._splitter.finish():
            self._lines.append(last)


def parse_line(line: bytes) -> JsonObject:
    """Parse one line as a JSON object.

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
        FaultCode.ENGINE_STREAM_TRUNCATED, "the Docker Engine sent a malformed line of JSON"
    )
