"""Sources that somebody sent as a tar: kept on disk, checked, and unpacked where they stay.

Whoever can send a tar can write anything into it. So nothing in it may be absolute, climb, lead
out, or lie behind a link; and each rule is held twice, by us and by tarfile's ``data`` filter.
"""

import asyncio
import errno
import hashlib
import lzma
import posixpath
import tarfile
import zlib
from collections.abc import AsyncIterable
from pathlib import Path

from shared.errors import SourceError
from shared.faults import FaultCode
from worker.server.sources.limits import LIMITS, Limits

MAX_PATH = 4096

# What tarfile lets through of the formats below it; a LookupError is a link to what is not there, a
# RecursionError one in place of a directory.
_BROKEN = (
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    LookupError,
    RecursionError,
    OSError,
    ValueError,
)


async def receive(
    chunks: AsyncIterable[bytes], archive: Path, *, sha256: str = "", limits: Limits = LIMITS
) -> None:
    """Write what comes onto disk, piece by piece.

    Raises:
        SourceError: ``source_too_large``, or ``source_corrupt`` where it is not what ``sha256``
            (hexadecimal) says.
    """
    checksum, total = hashlib.sha256(), 0
    with await asyncio.to_thread(archive.open, "wb") as file:
        async for chunk in chunks:
            total += len(chunk)
            limits.require("the upload", total_bytes=total)
            checksum.update(chunk)
            await asyncio.to_thread(file.write, chunk)
    if sha256 and checksum.hexdigest() != sha256.lower():
        raise SourceError(
            FaultCode.SOURCE_CORRUPT,
            f"the upload is {checksum.hexdigest()}, it should be {sha256[:64]}",
        )


async def unpack(archive: Path, directory: Path, limits: Limits = LIMITS) -> None:
    """Unpack a tar, compressed or not, into an empty directory.

    Raises:
        SourceError: ``source_invalid``, ``source_too_large``, or ``source_corrupt`` where it is no
            whole tar.
    """
    await asyncio.to_thread(_unpack, archive, directory, limits)


def _unpack(archive: Path, directory: Path, limits: Limits) -> None:
    try:
        with tarfile.open(archive, "r:*") as tar:
            _extract(tar, directory, limits)
    except tarfile.FilterError as error:
        raise SourceError(
            FaultCode.SOURCE_INVALID, f"{error.tarinfo.name[:200]!r} is refused"
        ) from error
    except _BROKEN as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise SourceError(FaultCode.DISK_FULL, "no room to unpack the upload") from error
        raise SourceError(
            FaultCode.SOURCE_CORRUPT, f"the upload is no whole tar ({type(error).__name__})"
        ) from error


def _extract(tar: tarfile.TarFile, directory: Path, limits: Limits) -> None:
    checked, files, total = _Members(), 0, 0
    while member := tar.next():
        files, total = files + 1, total + member.size
        limits.require("the upload", total_bytes=total, files=files)
        checked.require(member)
        tar.extract(member, directory, filter="data")
        tar.members.clear()  # type: ignore[attr-defined] # it would remember all


class _Members:
    """What has been let in so far: links, behind which nothing may lie."""

    def __init__(self) -> None:
        self._links: set[str] = set()

    def require(self, member: tarfile.TarInfo) -> None:
        """Raises `SourceError` (``source_invalid``) unless the member is harmless."""
        name = member.name
        _require_inside(name, name)
        if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
            raise _refused(name, "it is no file, directory or link")
        path = posixpath.normpath(name)
        if path == "." and not member.isdir():
            raise _refused(name, "it stands for the context itself")
        if self._is_behind_link(path):
            raise _refused(name, "it lies behind a link")
        if member.issym():
            _require_inside(posixpath.join(posixpath.dirname(path), member.linkname), name)
            _require_straight(member.linkname, name)
            self._links.add(path)
        elif member.islnk():
            _require_inside(member.linkname, name)
            if self._is_behind_link(posixpath.normpath(member.linkname)):
                raise _refused(name, "it leads behind a link")

    def _is_behind_link(self, path: str) -> bool:
        """A link's own name counts: what comes later under it would be written through it."""
        steps = path.split("/")
        return any("/".join(steps[: index + 1]) in self._links for index in range(len(steps)))


def _require_inside(path: str, name: str) -> None:
    if len(path) > MAX_PATH or "\0" in path:
        raise _refused(name, "its path is none")
    if path.startswith("/") or posixpath.normpath(path).split("/")[0] == "..":
        raise _refused(name, "it leads out of the context")


def _require_straight(target: str, name: str) -> None:
    """A ``..`` behind another step may be one behind a link, and lead anywhere."""
    steps = [step for step in target.split("/") if step not in {"", "."}]
    climbs = [step == ".." for step in steps]
    if climbs != sorted(climbs, reverse=True):
        raise _refused(name, "its target climbs in the middle")


def _refused(name: str, why: str) -> SourceError:
    return SourceError(FaultCode.SOURCE_INVALID, f"{name[:200]!r} is refused: {why}")
