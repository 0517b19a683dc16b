"""Read a tar block by block up to its end mark, with bounded headers.

ustar, PAX and GNU headers are read as described in POSIX.1-2017 ("pax", section "Extended
Description") and GNU tar's manual ("Basic Tar Format"). Only the standard library is imported
here: this runs in the process that unpacks.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from worker.builds.sources.decompress import ArchiveError, Stream, make_corrupt_error

BLOCK_BYTES = 512
MAX_NAME_BYTES = 8 * 1024
"""The limit of a GNU long name or link; a path has at most 4096 bytes."""

MAX_PAX_BYTES = 256 * 1024
"""The limit of one PAX header, whose extended attributes may have 64 KiB each."""

MAX_RECORD_DIGITS = 6

PACK_AGAIN = "Pack it again with plain tar (without --sparse) and upload it."

FILE, DIRECTORY, SYMLINK, HARD_LINK = b"0", b"5", b"2", b"1"

_OLD_FILE, _CONTIGUOUS_FILE, _GNU_SPARSE = b"\0", b"7", b"S"
_CHECKSUM = slice(148, 156)
_ATTRIBUTES = (b"SCHILY.xattr.", b"SCHILY.acl.", b"LIBARCHIVE.xattr.")
_SPARSE = b"GNU.sparse."
_SIZE_OR_NAME_KEYS = (b"path", b"linkpath", b"size")


@dataclass(frozen=True)
class Member:
    """One entry of a tar; ``type`` is one of `FILE` to `HARD_LINK`, or another type of tar.

    ``has_attributes`` is true if it has extended attributes or access lists.
    """

    name: str
    type: bytes
    mode: int
    mtime: int
    link: str
    size: int
    has_attributes: bool = False


class TarReader:
    """The members of a tar in order; the content of each is read before the next."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._left = self._padding = 0

    def members(self) -> Iterator[Member]:
        """Read all headers, then require the end mark with nothing after it.

        Raises:
            ArchiveError: ``source_corrupt``, ``source_invalid``, ``source_too_large``.
        """
        extras = _Extras()
        while (block := self._read_header()) is not None:
            header = _parse_header(block)
            match header.type:
                case b"x" | b"X":  # PAX, and Solaris's first form of it
                    extras.records |= parse_records(self._read_metadata(header, MAX_PAX_BYTES))
                case b"g":
                    _require_safe_global(parse_records(self._read_metadata(header, MAX_PAX_BYTES)))
                case b"L":  # GNU, like the next
                    extras.name = _until_zero(self._read_metadata(header, MAX_NAME_BYTES))
                case b"K":
                    extras.link = _until_zero(self._read_metadata(header, MAX_NAME_BYTES))
                case _:
                    member = _make_member(header, extras)
                    extras = _Extras()
                    self._expect(member.size)
                    yield member
                    if self._left:
                        raise AssertionError("the content of a member was not read")
        if extras != _Extras():
            raise make_corrupt_error("it ends after an extension header without its member")

    def content(self) -> Iterator[bytes]:
        """Read the content of the current member in pieces."""
        while self._left:
            piece = self._stream.read_some(self._left)
            if not piece:
                raise make_corrupt_error("it ends within a file")
            self._left -= len(piece)
            yield piece
        self._stream.read(self._padding)  # if it is cut here, the next header is missing
        self._padding = 0

    def _expect(self, size: int) -> None:
        self._left, self._padding = size, -size % BLOCK_BYTES

    def _read_metadata(self, header: "_Header", max_bytes: int) -> bytes:
        if header.size > max_bytes:
            raise ArchiveError(
                "source_invalid",
                f"the upload's tar has a header of {header.size} bytes, which is too long",
                remedy=PACK_AGAIN,
            )
        self._expect(header.size)
        return b"".join(self.content())

    def _read_header(self) -> bytes | None:
        """Return the next header; ``None`` at the end mark, which has to fill the rest of the file.

        Two blocks of zeros end a tar, more may follow as padding. A single block at the end of the
        file ends it too, as in GNU tar and Go.
        """
        block = self._stream.read(BLOCK_BYTES)
        if len(block) != BLOCK_BYTES:
            raise make_corrupt_error("its end mark is missing")
        if any(block):
            return block
        while rest := self._stream.read(BLOCK_BYTES):
            if any(rest) or len(rest) != BLOCK_BYTES:
                raise make_corrupt_error("other data follows its end mark")
        return None


@dataclass(frozen=True)
class _Header:
    name: bytes
    type: bytes
    mode: int
    mtime: int
    link: bytes
    size: int


@dataclass
class _Extras:
    """The values of extension headers for the next member."""

    records: dict[bytes, bytes] = field(default_factory=dict)
    name: bytes = b""
    link: bytes = b""


def parse_records(content: bytes) -> dict[bytes, bytes]:
    """Read the records of a PAX header, each ``<length> <key>=<value>`` and a newline.

    Raises:
        ArchiveError: ``source_corrupt``.
    """
    records: dict[bytes, bytes] = {}
    at = 0
    while at < len(content):
        space = content.find(b" ", at, at + MAX_RECORD_DIGITS + 1)
        digits = content[at:space] if space > at else b""
        end = at + int(digits) if digits.isdigit() else 0
        key, equals, value = content[space + 1 : end - 1].partition(b"=")
        # Each record ends behind where it begins, so that this comes to its end.
        is_whole = at < space < end <= len(content) and content[end - 1] == 0x0A
        if not (is_whole and equals and key):
            raise make_corrupt_error("a PAX header is damaged")
        records[key] = value
        at = end
    return records


def _parse_header(block: bytes) -> _Header:
    _require_checksum(block)
    name, type_ = _until_zero(block[:100]), block[156:157]
    if block[257:263] == b"ustar\0":
        end = 476 if block[508:512] == b"tar\0" else 500
        prefix = _until_zero(block[345:end])
        name = prefix + b"/" + name if prefix else name
    size = _parse_number(block[124:136])
    if size < 0:
        raise make_corrupt_error("a header is damaged")
    return _Header(
        name=name,
        type=type_,
        mode=_parse_number(block[100:108]),
        mtime=_parse_number(block[136:148]),
        link=_until_zero(block[157:257]),
        size=size,
    )


def _require_checksum(block: bytes) -> None:
    """Check the sum of all bytes, with spaces for the sum itself; old tars sum signed bytes."""
    fields = block[: _CHECKSUM.start] + b" " * 8 + block[_CHECKSUM.stop :]
    total = sum(fields)
    negative = sum(1 for byte in fields if byte > 0x7F)
    if _parse_number(block[_CHECKSUM]) not in {total, total - 256 * negative}:
        raise make_corrupt_error("the checksum of a header is wrong")


def _parse_number(text: bytes) -> int:
    """Parse octal digits, or base 256 if the first bit is set (GNU)."""
    if text[0] & 0x80:
        value = int.from_bytes(text, "big") & ((1 << (8 * len(text) - 1)) - 1)
        return value - (1 << (8 * len(text) - 1)) if text[0] & 0x40 else value
    digits = _until_zero(text).strip(b" ")
    if not digits:
        return 0
    if digits.strip(b"01234567"):
        raise make_corrupt_error("a header is damaged")
    return int(digits, 8)


def _make_member(header: _Header, extras: _Extras) -> Member:
    records = {key: value for key, value in extras.records.items() if value}
    name = records.get(b"path") or extras.name or header.name
    link = records.get(b"linkpath") or extras.link or header.link
    size = _parse_decimal(records[b"size"]) if b"size" in records else header.size
    if size < 0:
        raise make_corrupt_error("a PAX header is damaged")
    shown = os.fsdecode(name)
    if header.type == _GNU_SPARSE or any(key.startswith(_SPARSE) for key in records):
        raise ArchiveError(
            "source_invalid",
            f"{shown[:200]!r} is refused: it is stored as a sparse file",
            remedy=PACK_AGAIN,
        )
    type_ = FILE if header.type in {_OLD_FILE, _CONTIGUOUS_FILE} else header.type
    if header.type == _OLD_FILE and name.endswith(b"/"):
        type_ = DIRECTORY
    return Member(
        name=shown,
        type=type_,
        mode=header.mode & 0o7777,
        mtime=_parse_decimal(records[b"mtime"]) if b"mtime" in records else header.mtime,
        link=os.fsdecode(link),
        size=size if type_ == FILE else 0,
        has_attributes=any(key.startswith(_ATTRIBUTES) for key in records),
    )


def _parse_decimal(text: bytes) -> int:
    """Parse whole seconds or bytes; a fraction is ignored."""
    whole = text.partition(b".")[0]
    if len(whole) > 20 or not whole.removeprefix(b"-").isdigit():
        raise make_corrupt_error("a PAX header is damaged")
    return int(whole)


def _require_safe_global(records: dict[bytes, bytes]) -> None:
    """Accept a global header that Docker ignores; refuse one that sets names or sizes."""
    if any(key in _SIZE_OR_NAME_KEYS or key.startswith(_SPARSE) for key in records):
        raise ArchiveError(
            "source_invalid",
            "the upload's tar has a header that gives all its files one name or size",
            remedy=PACK_AGAIN,
        )


def _until_zero(text: bytes) -> bytes:
    return text.partition(b"\0")[0]
