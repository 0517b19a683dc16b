"""Protocol buffers, as far as BuildKit's messages need them (protobuf.dev, "Encoding").

Reading never raises: a malformed message is read up to the error.
"""

from collections.abc import Iterator

Field = tuple[int, int | bytes]
"""The number of a field, and a number or the bytes of a string or of another message."""

_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10


def read_messages(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the fields that are bytes, in order: strings and embedded messages."""
    for number, value in _fields(content):
        if isinstance(value, bytes):
            yield number, value


def read_bytes(content: bytes, number: int) -> bytes:
    """Return the bytes of a field, and the last value of a repeated one."""
    return dict(read_messages(content)).get(number, b"")


def read_text(content: bytes, number: int) -> str:
    """Return the text of a field."""
    return read_bytes(content, number).decode(errors="replace")


def read_number(content: bytes, number: int) -> int:
    """Return the number of a field; 0 is the default."""
    numbers = {key: value for key, value in _fields(content) if isinstance(value, int)}
    return numbers.get(number, 0)


def write_number(number: int, value: int) -> bytes:
    """Encode a field with a non-negative number."""
    return _write_varint(number << 3 | _VARINT) + _write_varint(value)


def write_bytes(number: int, value: bytes) -> bytes:
    """Encode a field with bytes, or the UTF-8 of a text."""
    return _write_varint(number << 3 | _BYTES) + _write_varint(len(value)) + value


def _fields(content: bytes) -> Iterator[Field]:
    at = 0
    while at < len(content):
        key, at = _varint(content, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(content, at)
            if at <= len(content):
                yield key >> 3, value
        elif kind in {_FIXED_64, _FIXED_32}:
            at += 8 if kind == _FIXED_64 else 4
        elif kind == _BYTES:
            size, at = _varint(content, at)
            if at + size > len(content):
                return
            yield key >> 3, content[at : at + size]
            at += size
        else:
            return


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """Return a varint and its end; the end is beyond the content if it is malformed."""
    value = 0
    for index, byte in enumerate(content[at : at + _MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, at + index + 1
    return 0, len(content) + 1


def _write_varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)
