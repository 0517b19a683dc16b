"""The context of a build: a directory's files, packed as a tar for the Engine.

It is packed completely onto disk, within its limits, before the Engine gets a byte of it.
"""

import asyncio
import io
import os
import stat
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from shared.errors import SourceError
from shared.faults import FaultCode
from worker.builds.sources.ignore import Ignore, parse_ignore
from worker.builds.sources.limits import LIMITS, Limits
from worker.builds.sources.unpacker import MAX_DEPTH, default_mode
from worker.engine.builds.files import BuildFiles

IGNORE_FILE = ".dockerignore"
OUTSIDE_DOCKERFILE = ".wharf.Dockerfile"
"""The name in the context of a Dockerfile from outside of it."""

MAX_TEXT_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Context:
    """A packed context; ``dockerfile`` is the Dockerfile's name in it, ``text`` its content.

    ``set_id_files`` of the ``files`` have the setuid or the setgid bit. ``hidden`` files are packed
    for the builder alone.
    """

    archive: Path
    dockerfile: str
    text: str
    files: int
    set_id_files: int = 0
    hidden: frozenset[str] = frozenset()

    async def make_files(self, text: str) -> BuildFiles:
        """Return the files for the builder, which reads this text as the Dockerfile."""
        if text != self.text:
            await asyncio.to_thread(self._append, self.dockerfile, text)
        return BuildFiles(self.archive, text.encode(errors="surrogateescape"), self.hidden)

    def _append(self, name: str, text: str) -> None:
        with tarfile.open(self.archive, "a", format=tarfile.PAX_FORMAT) as tar:
            _add_text(tar, name, text)


async def pack(
    sources: Path,
    path: str,
    dockerfile: str,
    archive: Path,
    limits: Limits = LIMITS,
    *,
    modes: Mapping[int, int] | None = None,
) -> Context:
    """Pack the directory ``path`` of ``sources``; ``dockerfile`` too is relative to ``sources``.

    Links are packed as links and never followed. Files that ``.dockerignore`` (or
    ``NAME.dockerignore`` beside the Dockerfile) excludes are left out. ``modes`` are file modes by
    inode; all other files get 0755 or 0644 like in git, independent of the umask.

    Raises:
        SourceError: ``source_invalid`` for a path that is not in the sources, ``source_too_large``,
            ``dockerfile_invalid`` if there is no Dockerfile.
    """
    return await asyncio.to_thread(
        _pack, sources, path, dockerfile, archive, limits=limits, modes=modes or {}
    )


def find_inside(sources: Path, path: str) -> Path:
    """Resolve ``path`` with its links.

    Raises:
        SourceError: ``source_invalid``, the path leads out of the sources.
    """
    top = sources.resolve()
    try:
        file_path = (top / path.lstrip("/")).resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise SourceError(FaultCode.SOURCE_INVALID, f"{path!r} is not a valid path") from error
    if not file_path.is_relative_to(top):
        raise SourceError(FaultCode.SOURCE_INVALID, f"{path!r} leads out of the sources")
    return file_path


def _pack(
    sources: Path,
    path: str,
    dockerfile: str,
    archive: Path,
    *,
    limits: Limits,
    modes: Mapping[int, int],
) -> Context:
    root = find_inside(sources, path)
    dockerfile_path = find_inside(sources, dockerfile)
    if not root.is_dir():
        raise SourceError(
            FaultCode.SOURCE_INVALID,
            f"the sources have no directory {path!r}",
            remedy="Correct the application's build path, or add the directory to the sources.",
        )
    if not dockerfile_path.is_file():
        raise SourceError(
            FaultCode.DOCKERFILE_INVALID,
            f"the sources have no file {dockerfile!r}",
            remedy="Correct the Dockerfile's path, or add the file to the sources.",
        )
    written = Path(os.path.normpath(sources / dockerfile))
    is_within = written.is_relative_to(root) and dockerfile_path.is_relative_to(root)
    name = written.relative_to(root).as_posix() if is_within else OUTSIDE_DOCKERFILE
    ignore, kept = _read_ignore(sources, root, dockerfile_path), {name, IGNORE_FILE}
    hidden = {one for one in kept if ignore.excludes(one)}
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        packing = _Packing(tar, modes, limits)
        for file_path, name_ in _walk(root, ignore, kept):
            packing.add(file_path, name_)
        files = packing.files
        if not is_within:
            packing.add(dockerfile_path, OUTSIDE_DOCKERFILE)
            hidden |= {OUTSIDE_DOCKERFILE, *_exclude_outside(tar, sources, root)}
    return Context(
        archive,
        name,
        _read_text(dockerfile_path),
        files,
        packing.set_id_files,
        frozenset(hidden),
    )


def _read_ignore(sources: Path, root: Path, dockerfile_path: Path) -> Ignore:
    beside = dockerfile_path.with_name(f"{dockerfile_path.name}.dockerignore")
    for file in (beside, root / IGNORE_FILE):
        if file.is_file():
            return parse_ignore(
                _read_text(find_inside(sources, str(file.relative_to(sources.resolve()))))
            )
    return Ignore()


def _exclude_outside(tar: tarfile.TarFile, sources: Path, root: Path) -> set[str]:
    """Let the classic builder, too, keep the Dockerfile from outside away from ``COPY``.

    It reads ``.dockerignore`` itself. Return that name if the context has no such file.
    """
    file, text = root / IGNORE_FILE, IGNORE_FILE
    is_there = file.is_file()
    if is_there:
        text = _read_text(find_inside(sources, str(file.relative_to(sources.resolve()))))
    _add_text(tar, IGNORE_FILE, f"{text}\n{OUTSIDE_DOCKERFILE}\n")
    return set() if is_there else {IGNORE_FILE}


def _add_text(tar: tarfile.TarFile, name: str, text: str) -> None:
    """Add a file; the last member of a name is the one that counts for the classic builder."""
    content = text.encode(errors="surrogateescape")
    header = tarfile.TarInfo(name)
    header.mode, header.size = 0o644, len(content)
    tar.addfile(header, io.BytesIO(content))


def _read_text(file: Path) -> str:
    with file.open("rb") as opened:
        content = opened.read(MAX_TEXT_BYTES + 1)
    if len(content) > MAX_TEXT_BYTES:
        raise SourceError(
            FaultCode.SOURCE_INVALID, f"{file.name!r} has more than {MAX_TEXT_BYTES} bytes"
        )
    return content.decode(errors="surrogateescape")


def _walk(root: Path, ignore: Ignore, kept: set[str]) -> Iterator[tuple[Path, str]]:
    """Yield the files to pack with their names; ``kept`` ones are never excluded, as in Docker."""
    waiting = _entries(root)
    while waiting:
        file_path = waiting.pop()
        name = file_path.relative_to(root).as_posix()
        is_directory = file_path.is_dir() and not file_path.is_symlink()
        is_excluded = ignore.excludes(name) and name not in kept
        if not is_excluded:
            yield file_path, name
        is_on_the_way = any(file.startswith(f"{name}/") for file in kept)
        if is_directory and (not is_excluded or ignore.includes_again or is_on_the_way):
            if name.count("/") >= MAX_DEPTH:
                raise SourceError(FaultCode.SOURCE_INVALID, f"{name[:200]!r}... is too deep")
            waiting += _entries(file_path)


def _entries(directory: Path) -> list[Path]:
    """Return the entries of a directory in reverse order."""
    return sorted(directory.iterdir(), reverse=True)


@dataclass
class _Packing:
    """A tar that is being written; ``names`` maps the inodes of hard-linked files to names."""

    tar: tarfile.TarFile
    modes: Mapping[int, int]
    limits: Limits
    files: int = 0
    total_bytes: int = 0
    set_id_files: int = 0
    names: dict[int, str] = field(default_factory=dict)

    def add(self, file_path: Path, name: str) -> None:
        """Add one file, link or directory, owned by root.

        Raises:
            SourceError: ``source_too_large``, or ``source_invalid`` for any other type of file.
        """
        status = file_path.lstat()
        header = tarfile.TarInfo(name)
        header.mode = self.modes.get(status.st_ino, default_mode(status))
        header.mtime = int(status.st_mtime)
        self.files += 1
        self.limits.require("the context", files=self.files)
        if stat.S_ISLNK(status.st_mode):
            header.type, header.linkname = tarfile.SYMTYPE, str(file_path.readlink())
            header.mode = 0o777
            self.tar.addfile(header)
        elif stat.S_ISDIR(status.st_mode):
            header.type = tarfile.DIRTYPE
            self.tar.addfile(header)
        elif stat.S_ISREG(status.st_mode):
            self.set_id_files += bool(header.mode & (stat.S_ISUID | stat.S_ISGID))
            self._add_file(file_path, header, status)
        else:
            raise SourceError(
                FaultCode.SOURCE_INVALID, f"{name[:200]!r} is not a file, directory or link"
            )
        self.tar.members.clear()  # type: ignore[attr-defined] # it would keep all members

    def _add_file(self, file_path: Path, header: tarfile.TarInfo, status: os.stat_result) -> None:
        if status.st_nlink > 1 and status.st_ino in self.names:
            header.type, header.linkname = tarfile.LNKTYPE, self.names[status.st_ino]
            self.tar.addfile(header)
            return
        if status.st_nlink > 1:
            self.names[status.st_ino] = header.name
        self.total_bytes += status.st_size
        self.limits.require("the context", total_bytes=self.total_bytes)
        with file_path.open("rb") as file:
            header.size = os.fstat(file.fileno()).st_size
            self.tar.addfile(header, file)
