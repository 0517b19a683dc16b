"""Decompress a stream to its end in bounded pieces, and verify its checksums.

Only the standard library is imported here: this runs in the process that unpacks.
"""

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol

CHUNK_BYTES = 64 * 1024
MAGIC_BYTES = 10

_GZIP = b"\x1f\x8b"
_BZIP2_BLOCKS = (b"1AY&SY", b"\x17\x72\x45\x38\x50\x90")
_XZ = b"\xfd7zXZ\0"
_ZSTD = b"\x28\xb5\x2f\xfd"


class ArchiveError(Exception):
    """A refused archive; ``code`` is the value of a `shared.faults.FaultCode`."""

    def __init__(self, code: str, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.remedy = remedy


def make_corrupt_error(message: str) -> ArchiveError:
    """Make the error of an archive that is damaged or cut."""
    return ArchiveError("source_corrupt", f"the upload is not a complete tar: {message}")


class Stream:
    """The decompressed bytes of a file.

    ``max_bytes`` limits their number, ``memory_bytes`` the dictionary of xz.
    """

    def __init__(self, file: BinaryIO, *, max_bytes: int, memory_bytes: int) -> None:
        first = _read_start(file)
        decoder = _find_decoder(first, memory_bytes)
        self._pieces = _decode(file, first, decoder) if decoder else _plain(file, first)
        self._left = max_bytes
        self._piece, self._at = b"", 0

    def read(self, size: int) -> bytes:
        """Read that many bytes; fewer only at the end."""
        found = bytearray()
        while len(found) < size and (piece := self.read_some(size - len(found))):
            found += piece
        return bytes(found)

    def read_some(self, size: int) -> bytes:
        """Read at least one byte and at most that many; nothing at the end.

        Raises:
            ArchiveError: the stream is damaged, cut, or larger than it may be.
        """
        if self._at == len(self._piece):
            self._piece, self._at = next(self._pieces, b""), 0
            self._left -= len(self._piece)
            if self._left < 0:
                raise ArchiveError("source_too_large", "the upload unpacks to too many bytes")
        piece = self._piece[self._at : self._at + size]
        self._at += len(piece)
        return piece


class _Decoder(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gzip:
    """One member of a gzip file, with the interface of the decompressors of bzip2 and xz."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def needs_input(self) -> bool:
        return not self._inflate.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inflate.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inflate.decompress(self._inflate.unconsumed_tail + data, max_length)


def _read_start(file: BinaryIO) -> bytes:
    start = b""
    while len(start) < MAGIC_BYTES and (piece := file.read(CHUNK_BYTES)):
        start += piece
    return start


def _find_decoder(start: bytes, memory_bytes: int) -> Callable[[], _Decoder] | None:
    """Return the decoder for the first bytes of a file; ``None`` if it is not compressed."""
    if start.startswith(_GZIP):
        return _Gzip
    if start.startswith(b"BZh") and start[4:10] in _BZIP2_BLOCKS:
        return bz2.BZ2Decompressor
    if start.startswith(_XZ):
        return lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=memory_bytes)
    if start.startswith(_ZSTD):
        raise ArchiveError(
            "source_invalid",
            "the upload is compressed with zstd, which is not supported",
            remedy="Send the tar uncompressed, or compressed with gzip, bzip2 or xz.",
        )
    return None


def _plain(file: BinaryIO, data: bytes) -> Iterator[bytes]:
    while data:
        yield data
        data = file.read(CHUNK_BYTES)


def _decode(file: BinaryIO, data: bytes, make: Callable[[], _Decoder]) -> Iterator[bytes]:
    """Decode all members of a file in order; only zeros may follow each."""
    try:
        while data:
            decoder = make()
            while not decoder.eof:
                is_end = False
                if decoder.needs_input and not data:
                    data = file.read(CHUNK_BYTES)
                    is_end = not data
                piece = decoder.decompress(data, CHUNK_BYTES)
                data = b""
                if piece:
                    yield piece
                elif is_end and not decoder.eof:
                    raise make_corrupt_error("its compressed data ends too early")
            data = _skip_zeros(file, decoder.unused_data)
    except (zlib.error, lzma.LZMAError, EOFError, OSError, ValueError) as error:
        if isinstance(error, lzma.LZMAError) and "Memory usage" in str(error):
            raise ArchiveError(
                "source_too_large", "the upload needs too much memory to be unpacked"
            ) from error
        raise make_corrupt_error(
            "its compressed data is damaged, or other data follows it"
        ) from error


def _skip_zeros(file: BinaryIO, data: bytes) -> bytes:
    while not (data := data.lstrip(b"\0")):
        if not (data := file.read(CHUNK_BYTES)):
            return b""
    return data
