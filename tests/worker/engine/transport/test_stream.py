"""Lines from chunks, and the watchdog for a silent Engine."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from shared.errors import EngineError
from shared.faults import FaultCode
from worker.engine.transport.stream import (
    JsonLines,
    LineSplitter,
    Movement,
    Watchdog,
    parse_line,
)


@given(
    st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=9)), max_size=8),
    st.sampled_from([b"\n", b"\r\n", b"\n\n"]),
    st.data(),
)
def test_lines_are_whole_for_any_split_into_chunks(
    documents: list[dict[str, str]], end: bytes, data: st.DataObject
) -> None:
    content = b"".join(json.dumps(document).encode() + end for document in documents)
    cuts = data.draw(st.lists(st.integers(0, len(content)), max_size=6).map(sorted))
    bounds = [0, *cuts, len(content)]
    splitter = LineSplitter()

    lines = [
        line
        for start, stop in itertools.pairwise(bounds)
        for line in splitter.feed(content[start:stop])
    ]

    assert [dict(parse_line(line)) for line in lines] == documents
    assert splitter.finish() == b""


def test_a_line_over_the_limit_is_refused_before_it_is_complete() -> None:
    splitter = LineSplitter(max_line_bytes=10)
    splitter.feed(b"x" * 10)

    with pytest.raises(EngineError) as caught:
        splitter.feed(b"x")

    assert caught.value.code == FaultCode.ENGINE_REFUSED


async def test_a_last_line_without_a_line_end_is_read() -> None:
    lines = JsonLines(_reader(b'{"a": "1"}\n{"a":', b' "2"}'))

    assert [dict(line) async for line in lines] == [{"a": "1"}, {"a": "2"}]


@pytest.mark.parametrize("content", [b'{"a":', b"[1]\n", b"<html>\n", b"\xff\n"])
async def test_an_incomplete_line_is_a_truncated_stream(content: bytes) -> None:
    lines = JsonLines(_reader(content))

    with pytest.raises(EngineError) as caught:
        await anext(lines)

    assert caught.value.code == FaultCode.ENGINE_STREAM_TRUNCATED


async def test_a_silent_stream_ends_a_wait() -> None:
    watchdog = Watchdog(timedelta(milliseconds=30), "pull x")

    with pytest.raises(EngineError, match=r"pull x: no data moved for 0\.03 s") as caught:
        async with watchdog.watch():
            await asyncio.Event().wait()

    assert caught.value.code == FaultCode.ENGINE_STALLED


async def test_a_chunk_that_is_taken_counts_as_movement() -> None:
    watchdog = Watchdog(timedelta(milliseconds=600), "build")
    taken = 0

    async with watchdog.watch():
        async for _ in watchdog.watch_chunks(_slow_chunks()):
            taken += 1

    assert taken == 14


async def test_a_timeout_of_other_code_is_not_a_stall() -> None:
    watchdog = Watchdog(timedelta(seconds=10), "pull")

    with pytest.raises(TimeoutError):
        async with watchdog.watch():
            raise TimeoutError


def downloading(layer: str, current: int, text: str = "") -> dict[str, JsonValue]:
    detail: dict[str, JsonValue] = {"current": current, "total": 12_000_000}
    return {"status": "Downloading", "progressDetail": detail, "progress": text, "id": layer}


def test_only_a_changed_state_of_a_layer_is_movement() -> None:
    movement = Movement()
    lines = [
        downloading("a", 1),
        downloading("b", 1),
        downloading("a", 1, "another text"),
        downloading("b", 1),
        downloading("b", 2),
        downloading("a", 1),
    ]

    assert [movement.is_in(line) for line in lines] == [True, True, False, False, True, False]


def test_each_line_of_output_is_movement() -> None:
    movement = Movement()

    assert [movement.is_in({"stream": "."}) for _ in range(3)] == [True, True, True]


async def test_a_wait_ends_although_lines_are_repeated() -> None:
    watchdog = Watchdog(timedelta(milliseconds=100), "pull x")

    async def repeat() -> bytes:
        async with watchdog.watch():
            await asyncio.sleep(0.01)
            return b'{"status":"Downloading","id":"a"}\n'

    lines = JsonLines(repeat, watchdog.moved)

    async with asyncio.timeout(5):
        with pytest.raises(EngineError) as caught:
            async for _ in lines:
                pass

    assert caught.value.code == FaultCode.ENGINE_STALLED


async def test_time_between_two_waits_is_not_idle() -> None:
    watchdog = Watchdog(timedelta(milliseconds=100), "pull x")

    for _ in range(2):
        async with watchdog.watch():
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.15)


async def _slow_chunks() -> AsyncIterator[bytes]:
    for _ in range(14):
        await asyncio.sleep(0.05)
        yield b"x"


class _reader:  # noqa: N801 - used as a function
    def __init__(self, *chunks: bytes) -> None:
        self._chunks = [*chunks, b""]

    async def __call__(self) -> bytes:
        return self._chunks.pop(0)
