"""A build's output, line by line."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.engine.transport.text import TextLines, join_frames

WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=9)


@given(st.lists(WORDS, max_size=6), st.sampled_from(["\n", "\r\n", "\r", "\n\n"]), st.data())
def test_lines_are_whole_for_any_split_into_chunks(
    words: list[str], end: str, data: st.DataObject
) -> None:
    text = "".join(word + end for word in words)
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=5).map(sorted))
    lines = TextLines()

    found = [
        line
        for start, stop in itertools.pairwise([0, *cuts, len(text)])
        for line in lines.feed(text[start:stop])
    ]

    assert found == words
    assert lines.finish() == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[91mred\x1b[0m\n", ["red"]),
        ("a\0b\x07c\td\n", ["abc\td"]),
        ("10 %\r20 %\rdone\n", ["10 %", "20 %", "done"]),
        ("  indented  \n", ["  indented"]),
    ],
)
def test_colours_and_control_characters_are_not_shown(text: str, shown: list[str]) -> None:
    assert TextLines().feed(text) == shown


@given(st.lists(st.text("x", max_size=30), min_size=1))
def test_a_long_line_is_truncated_and_the_rest_counted(pieces: list[str]) -> None:
    lines = TextLines(max_line=10)
    size = len("".join(pieces))

    stored = [line for piece in pieces for line in lines.feed(piece)]

    assert stored == []
    left_out = f" [{size - 10} characters left out]" if size > 10 else ""
    assert lines.finish() == ([f"{'x' * min(size, 10)}{left_out}"] if size else [])


FRAMES = st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=20)))


def frame(stream: int, content: bytes) -> bytes:
    return bytes((stream, 0, 0, 0)) + len(content).to_bytes(4, "big") + content


@given(FRAMES)
def test_the_output_of_a_container_is_joined_in_order(frames: list[tuple[int, bytes]]) -> None:
    content = b"".join(frame(*one) for one in frames)

    assert join_frames(content) == b"".join(text for _, text in frames).decode(errors="replace")


@given(st.binary(max_size=100))
def test_malformed_frames_are_read_without_an_error(content: bytes) -> None:
    assert len(join_frames(content)) <= len(content)


def test_a_truncated_frame_is_shown_as_far_as_received() -> None:
    assert join_frames(frame(1, b"one ") + frame(2, b"two three")[:-6]) == "one two"
