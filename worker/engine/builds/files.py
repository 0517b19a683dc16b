"""The files of a build, which BuildKit takes from a session as it does from ``docker build``.

It asks for two directories: ``dockerfile``, where nothing but the Dockerfile is, and ``context``,
where ``COPY`` finds its files. So ``COPY`` gets neither a Dockerfile that ``.dockerignore``
excludes, nor the text of one that was changed for this build.

The protocol is that of github.com/tonistiigi/fsutil: all files are listed, BuildKit asks for the
content of regular ones by their numbers in the list, and both sides say that they have finished.
"""

import asyncio
import io
import stat
import tarfile
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import BinaryIO

from worker.engine.builds.grpc import CallError, Metadata, Status
from worker.engine.builds.protobuf import read_number, read_text, write_bytes, write_number

DIFF_COPY = "/moby.filesync.v1.FileSync/DiffCopy"

READ_BYTES = 256 * 1024
PIECE_BYTES = 32 * 1024
"""The size of a piece of content in a session, as fsutil sends it."""

_IGNORE_FILE = ".dockerignore"
_DIRECTORY, _SYMLINK = 1 << 31, 1 << 27
_SET_BITS = ((stat.S_ISUID, 1 << 23), (stat.S_ISGID, 1 << 22), (stat.S_ISVTX, 1 << 20))
"""Modes of Go, as far as they differ from those of Unix (``io/fs``, ``FileMode``)."""


class _Packet(IntEnum):
    """The types of packets (``types/wire.proto``)."""

    STAT = 0
    REQUEST = 1
    DATA = 2
    END = 3
    ERROR = 4


@dataclass(frozen=True)
class BuildFiles:
    """A packed context and the Dockerfile for it.

    The tar has the Dockerfile, too, for builders without a session. There a changed one is the last
    of two members of its name. ``COPY`` gets the first one, and no ``hidden`` file.
    """

    archive: Path
    dockerfile: bytes = field(repr=False)
    hidden: frozenset[str] = frozenset()

    async def read(self) -> AsyncIterator[bytes]:
        """Yield the archive piece by piece."""
        with await asyncio.to_thread(self.archive.open, "rb") as file:
            while piece := await asyncio.to_thread(file.read, READ_BYTES):
                yield piece

    def open_exchange(self, name: str, metadata: Metadata) -> "Sending":
        """Begin to send a directory; ``name`` is the Dockerfile's.

        Raises:
            CallError: there is no such directory.
        """
        directory = metadata.get("dir-name", [""])[0]
        if directory == "dockerfile":
            size = len(self.dockerfile)
            return Sending([Entry(name, 0o644, size)], lambda: io.BytesIO(self.dockerfile))
        if directory != "context":
            raise CallError(Status.NOT_FOUND, f"no directory {directory!r} is offered here")
        if list(metadata.get("followpaths", ())) == [_IGNORE_FILE]:
            return Sending([], io.BytesIO)  # it was applied when the context was packed
        return Sending(list_entries(self.archive, self.hidden), lambda: self.archive.open("rb"))


@dataclass(frozen=True)
class Entry:
    """A file of a directory; ``mode`` is that of Go, ``offset`` that of its content."""

    path: str
    mode: int
    size: int = 0
    modified: int = 0
    link: str = ""
    offset: int = 0

    def encode(self) -> bytes:
        """Encode ``types/stat.proto``: 1 path, 2 mode, 5 size, 6 modTime in ns, 7 linkname."""
        fields = [
            write_bytes(1, self.path.encode(errors="surrogateescape")),
            write_number(2, self.mode),
            write_number(5, self.size),
            write_number(6, self.modified * 10**9),
        ]
        if self.link:
            fields.append(write_bytes(7, self.link.encode(errors="surrogateescape")))
        return b"".join(fields)


def list_entries(archive: Path, hidden: frozenset[str] = frozenset()) -> list[Entry]:
    """Return the files of a tar in BuildKit's order, and directories that are only implied.

    The first one of several hard links has the content.
    """
    members = dict[str, tarfile.TarInfo]()
    with tarfile.open(archive) as tar:
        for member in tar:
            members.setdefault(member.name, member)
    paths = {path for path in members if path not in hidden}
    paths.update([parent for path in paths for parent in _parents(path)])
    firsts = dict[str, str]()
    return [_make_entry(path, members, firsts) for path in sorted(paths, key=_order)]


class Sending:
    """The exchange that sends one directory."""

    def __init__(self, entries: Sequence[Entry], open_content: Callable[[], BinaryIO]) -> None:
        self._entries = entries
        self._open_content = open_content
        self._requested = deque[int]()
        self._has_all = False

    def receive(self, message: bytes) -> None:
        """Take a packet: 1 type, 3 the file's number, 4 data.

        Raises:
            CallError: the builder reports an error.
        """
        match read_number(message, 1):
            case _Packet.REQUEST:
                self._requested.append(read_number(message, 3))
            case _Packet.END:
                self._has_all = True
            case _Packet.ERROR:
                raise CallError(Status.INTERNAL, read_text(message, 4))
            case _:
                pass

    def send(self) -> Iterator[bytes | None]:
        """Yield the list, with an empty packet at its end, then the requested contents."""
        for entry in self._entries:
            yield write_bytes(2, entry.encode())
        yield b""
        with self._open_content() as content:
            while not self._has_all:
                if self._requested:
                    yield from self._read(content, self._requested.popleft())
                else:
                    yield None
        yield write_number(1, _Packet.END)

    def _read(self, content: BinaryIO, number: int) -> Iterator[bytes]:
        """Yield the content of a file, with an empty piece at its end."""
        if number >= len(self._entries):
            raise CallError(Status.NOT_FOUND, f"no file {number} was listed")
        entry = self._entries[number]
        head = write_number(1, _Packet.DATA) + write_number(3, number)
        content.seek(entry.offset)
        for start in range(0, entry.size, PIECE_BYTES):
            piece = content.read(min(PIECE_BYTES, entry.size - start))
            yield head + write_bytes(4, piece)
        yield head


def _make_entry(path: str, members: Mapping[str, tarfile.TarInfo], firsts: dict[str, str]) -> Entry:
    member = members.get(path)
    if member is None:
        return Entry(path, _DIRECTORY | 0o755)
    mode, modified = _make_mode(member), max(int(member.mtime), 0)
    if member.isdir() or member.issym():
        return Entry(path, mode, modified=modified, link=member.linkname)
    content = members[member.linkname] if member.islnk() else member
    first = firsts.setdefault(content.name, path)
    if first != path:
        return Entry(path, mode, modified=modified, link=first)
    return Entry(path, mode, content.size, modified, offset=content.offset_data)


def _make_mode(member: tarfile.TarInfo) -> int:
    mode = member.mode & 0o777
    mode |= sum(go for unix, go in _SET_BITS if member.mode & unix)
    if member.isdir():
        return mode | _DIRECTORY
    return mode | _SYMLINK if member.issym() else mode


def _parents(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _order(path: str) -> list[bytes]:
    """Return the key by which a directory comes before its content, and names are in order."""
    return path.encode(errors="surrogateescape").split(b"/")
