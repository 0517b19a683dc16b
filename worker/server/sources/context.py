"""The context of a build: a directory's files, packed as the tar that an Engine takes.

It is packed onto disk, whole and within its limits, before the Engine sees a byte of it.
"""

import asyncio
import os
import stat
import tarfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from shared.errors import SourceError
from shared.faults import FaultCode
from worker.server.sources.ignore import Ignore, parse_ignore
from worker.server.sources.limits import LIMITS, Limits

CHUNK_BYTES = 256 * 1024
IGNORE = ".dockerignore"
OUTSIDE = ".wharf.Dockerfile"
"""What a Dockerfile that lies outside of the context is called in it."""

MAX_TEXT_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Context:
    """``dockerfile`` is the Dockerfile's name in the archive, ``text`` what it says."""

    archive: Path
    dockerfile: str
    text: str
    files: int

    async def read(self) -> AsyncIterator[bytes]:
        """The archive, piece by piece."""
        with await asyncio.to_thread(self.archive.open, "rb") as file:
            while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                yield chunk


async def pack(
    sources: Path, path: str, dockerfile: str, archive: Path, limits: Limits = LIMITS
) -> Context:
    """Pack the directory ``path`` of ``sources``; ``dockerfile`` too is relative to ``sources``.

    Links are packed as links and never followed. What ``.dockerignore`` (or ``NAME.dockerignore``
    beside the Dockerfile) leaves out stays behind.

    Raises:
        SourceError: ``source_invalid`` for a path that is not in the sources, ``source_too_large``,
            ``dockerfile_invalid`` where there is no Dockerfile.
    """
    return await asyncio.to_thread(_pack, sources, path, dockerfile, archive, limits)


def find_inside(sources: Path, path: str) -> Path:
    """What ``path`` leads to, links and all.

    Raises:
        SourceError: ``source_invalid``, a place outside of the sources.
    """
    top = sources.resolve()
    try:
        place = (top / path.lstrip("/")).resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise SourceError(FaultCode.SOURCE_INVALID, f"{path!r} is no path") from error
    if not place.is_relative_to(top):
        raise SourceError(FaultCode.SOURCE_INVALID, f"{path!r} leads out of the sources")
    return place


def _pack(sources: Path, path: str, dockerfile: str, archive: Path, limits: Limits) -> Context:
    root = find_inside(sources, path)
    recipe = find_inside(sources, dockerfile)
    if not root.is_dir():
        raise SourceError(FaultCode.SOURCE_INVALID, f"the sources have no directory {path!r}")
    if not recipe.is_file():
        raise SourceError(FaultCode.DOCKERFILE_INVALID, f"the sources have no file {dockerfile!r}")
    written = Path(os.path.normpath(sources / dockerfile))
    is_within = written.is_relative_to(root) and recipe.is_relative_to(root)
    name = written.relative_to(root).as_posix() if is_within else OUTSIDE
    ignore = _read_ignore(sources, root, recipe)
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        files = _add_tree(tar, root, ignore, {name, IGNORE}, limits)
        if not is_within:
            _add(tar, recipe, OUTSIDE)
    return Context(archive, name, _read_text(recipe), files)


def _read_ignore(sources: Path, root: Path, recipe: Path) -> Ignore:
    beside = recipe.with_name(f"{recipe.name}.dockerignore")
    for file in (beside, root / IGNORE):
        if file.is_file():
            return parse_ignore(
                _read_text(find_inside(sources, str(file.relative_to(sources.resolve()))))
            )
    return Ignore()


def _read_text(file: Path) -> str:
    with file.open("rb") as opened:
        return opened.read(MAX_TEXT_BYTES).decode(errors="replace")


def _add_tree(
    tar: tarfile.TarFile, root: Path, ignore: Ignore, kept: set[str], limits: Limits
) -> int:
    """The number of files added; the two that steer the build always are, as Docker does it."""
    files = total = 0
    for place, name in _walk(root, root, ignore, kept):
        files += 1
        total += _add(tar, place, name)
        limits.require("the context", total_bytes=total, files=files)
        tar.members.clear()  # type: ignore[attr-defined] # it would remember all
    return files


def _walk(
    directory: Path, root: Path, ignore: Ignore, kept: set[str]
) -> Iterator[tuple[Path, str]]:
    for place in sorted(directory.iterdir()):
        name = place.relative_to(root).as_posix()
        is_directory = place.is_dir() and not place.is_symlink()
        is_left_out = ignore.leaves_out(name) and name not in kept
        if not is_left_out:
            yield place, name
        is_on_the_way = any(file.startswith(f"{name}/") for file in kept)
        if is_directory and (not is_left_out or ignore.takes_back or is_on_the_way):
            yield from _walk(place, root, ignore, kept)


def _add(tar: tarfile.TarFile, place: Path, name: str) -> int:
    """Add one file, link or directory, owned by root; gives its size. Others are passed over."""
    status = place.lstat()
    header = tarfile.TarInfo(name)
    header.mode, header.mtime = stat.S_IMODE(status.st_mode), int(status.st_mtime)
    if stat.S_ISLNK(status.st_mode):
        header.type, header.linkname = tarfile.SYMTYPE, str(place.readlink())
        tar.addfile(header)
    elif stat.S_ISDIR(status.st_mode):
        header.type = tarfile.DIRTYPE
        tar.addfile(header)
    elif stat.S_ISREG(status.st_mode):
        with place.open("rb") as file:
            header.size = os.fstat(file.fileno()).st_size
            tar.addfile(header, file)
    return header.size
