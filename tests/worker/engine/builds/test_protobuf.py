"""Protocol buffers: written values are read again, and no input raises."""

from hypothesis import given
from hypothesis import strategies as st

from worker.engine.builds.protobuf import (
    read_bytes,
    read_messages,
    read_number,
    read_text,
    write_bytes,
    write_number,
)

NUMBERS = st.integers(1, 2**29 - 1)


@given(NUMBERS, st.binary(max_size=300), NUMBERS, st.integers(0, 2**64 - 1))
def test_written_values_are_read_again(one: int, content: bytes, other: int, value: int) -> None:
    message = write_bytes(one, content) + write_number(other, value)

    assert read_bytes(message, one) == content
    assert read_number(message, other) == value


def test_written_fields_are_those_of_the_specification() -> None:
    assert write_number(1, 150) == bytes.fromhex("089601")
    assert write_bytes(2, b"testing") == bytes.fromhex("120774657374696e67")


@given(st.binary(max_size=100), NUMBERS)
def test_any_bytes_are_read_without_an_error(content: bytes, number: int) -> None:
    assert all(isinstance(part, bytes) for _, part in read_messages(content))
    assert isinstance(read_text(content, number), str)
    assert read_number(content, number) >= 0
