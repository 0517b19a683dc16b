"""Unpack an untrusted tar from standard input into the working directory, in a separate process.

Memory, processor time and output are limited before the first byte is read. No path in the tar may
be absolute, lead out of the directory, or lie behind a link. Each rule is enforced twice: by a
check of the path, and by the kernel, as no directory is entered through a link. Modes are not set
on files but reported. Only the standard library is imported here, as the process starts for each
upload.
"""

import errno
import json
import os
import posixpath
import resource
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from worker.builds.sources.decompress import ArchiveError, Stream, make_corrupt_error
from worker.builds.sources.tar import DIRECTORY, FILE, HARD_LINK, SYMLINK, Member, TarReader

MAX_PATH = 4096
MAX_DEPTH = 250
HEADER_BYTES = 4096
"""The limit of the average size of one member's headers."""

MAX_SECONDS = 2**33
PRIVATE_FILE, PRIVATE_PROGRAM, PRIVATE_DIRECTORY = 0o600, 0o700, 0o700

_FULL = {errno.ENOSPC, errno.EDQUOT}
_DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass
class Unpacked:
    """The result; ``modes`` are those by inode that differ from `default_mode`."""

    files: int = 0
    modes: dict[int, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def default_mode(status: os.stat_result) -> int:
    """Return the mode of a file in a context whose own mode is unknown."""
    if stat.S_ISDIR(status.st_mode) or status.st_mode & stat.S_IXUSR:
        return 0o755
    return 0o644


def unpack_stream(
    file: BinaryIO, directory: int, *, total_bytes: int, files: int, memory_bytes: int
) -> Unpacked:
    """Unpack all of a tar into an open, empty directory.

    Raises:
        ArchiveError: ``source_corrupt``, ``source_invalid``, ``source_too_large``, ``disk_full``.
    """
    stream = Stream(
        file, max_bytes=total_bytes + files * HEADER_BYTES, memory_bytes=memory_bytes // 2
    )
    writer = _Writer(directory, total_bytes, files)
    reader = TarReader(stream)
    for member in reader.members():
        try:
            writer.add(member, reader)
        except (OSError, ValueError) as error:
            raise _as_archive_error(error, member.name) from error
    return writer.finish()


class _Writer:
    """Write members below an open directory."""

    def __init__(self, root: int, total_bytes: int, files: int) -> None:
        self._root = root
        self._bytes_left, self._files_left = total_bytes, files
        self._links: set[str] = set()
        self._modes: dict[int, int] = {}
        self._times: dict[str, int] = {}
        self._parent: tuple[list[str], int] = ([], root)
        self._files = self._repeated = self._attributes = 0
        self._parent_process = os.getppid()

    def add(self, member: Member, reader: TarReader) -> None:
        """Check one member, and write it."""
        self._count(member.size)
        path = self._require(member)
        self._attributes += member.has_attributes
        if path == ".":
            return  # the mode of the context itself is never used
        *above, name = path.split("/")
        parent = self._open_parent(above)
        match member.type:
            case b"0":
                self._write_file(parent, name, member, reader)
            case b"5":
                self._make_directory(parent, name, path, member)
            case b"2":
                self._replace(parent, name)
                os.symlink(member.link, name, dir_fd=parent)
                self._links.add(path)
                self._set_time(parent, name, member)
            case _:
                self._make_hard_link(parent, name, path, member)

    def finish(self) -> Unpacked:
        """Set the times of directories, which later files have changed."""
        for path, mtime in self._times.items():
            os.utime(path, (mtime, mtime), dir_fd=self._root, follow_symlinks=False)
        notes = []
        if self._repeated:
            notes.append(
                f"{self._repeated} names are in the tar more than once: the last one counts"
            )
        if self._attributes:
            notes.append(f"extended attributes of {self._attributes} files are not kept")
        modes = {inode: mode for inode, mode in self._modes.items() if mode >= 0}
        return Unpacked(self._files, modes, notes)

    def _count(self, size: int) -> None:
        self._files += 1
        self._files_left -= 1
        self._bytes_left -= size
        if self._files_left < 0 or self._bytes_left < 0:
            raise ArchiveError(
                "source_too_large", "the upload unpacks to more files or bytes than it may"
            )
        if os.getppid() != self._parent_process:
            raise SystemExit(1)  # nobody waits for this any more

    def _require(self, member: Member) -> str:
        """Return the member's normalized path, or raise if it is unsafe."""
        name = member.name
        _require_inside(name, name)
        if member.type not in {FILE, DIRECTORY, SYMLINK, HARD_LINK}:
            raise _refusal(name, "it is not a file, directory or link")
        path = posixpath.normpath(name)
        if path == "." and member.type != DIRECTORY:
            raise _refusal(name, "it has the path of the context itself")
        if self._is_behind_link(path):
            raise _refusal(name, "it lies behind a link")
        if member.type == SYMLINK:
            _require_inside(posixpath.join(posixpath.dirname(path), member.link), name)
            _require_leading_parents(member.link, name)
        elif member.type == HARD_LINK:
            _require_inside(member.link, name)
            if self._is_behind_link(posixpath.normpath(member.link)):
                raise _refusal(name, "it leads behind a link")
        return path

    def _is_behind_link(self, path: str) -> bool:
        """Return whether the path or a parent is a link, through which it would be written."""
        if not self._links:
            return False
        steps = path.split("/")
        return any("/".join(steps[: index + 1]) in self._links for index in range(len(steps)))

    def _open_parent(self, steps: list[str]) -> int:
        """Open a directory step by step, never through a link; create missing ones."""
        known, parent = self._parent
        if steps == known:
            return parent
        if parent != self._root:
            os.close(parent)
        self._parent = ([], self._root)
        parent = self._root
        for step in steps:
            try:
                found = os.open(step, _DIRECTORY_FLAGS, dir_fd=parent)
            except FileNotFoundError:
                self._count(0)
                self._files -= 1
                os.mkdir(step, PRIVATE_DIRECTORY, dir_fd=parent)
                found = os.open(step, _DIRECTORY_FLAGS, dir_fd=parent)
            finally:
                if parent != self._root:
                    os.close(parent)
            parent = found
        self._parent = (steps, parent)
        return parent

    def _write_file(self, parent: int, name: str, member: Member, reader: TarReader) -> None:
        private = PRIVATE_PROGRAM if member.mode & stat.S_IXUSR else PRIVATE_FILE
        try:
            file = os.open(name, _FILE_FLAGS, private, dir_fd=parent)
        except FileExistsError:
            self._replace(parent, name)
            file = os.open(name, _FILE_FLAGS, private, dir_fd=parent)
        with os.fdopen(file, "wb", buffering=0) as opened:
            for piece in reader.content():
                _write_all(opened, piece)
            _record_mode(self._modes, os.fstat(file), member.mode)
            mtime = _require_time(member)
            os.utime(file, (mtime, mtime))

    def _make_directory(self, parent: int, name: str, path: str, member: Member) -> None:
        try:
            os.mkdir(name, PRIVATE_DIRECTORY, dir_fd=parent)
        except FileExistsError:
            if not stat.S_ISDIR(_status(parent, name).st_mode):
                raise _refusal(path, "a file has the same name") from None
        _record_mode(self._modes, _status(parent, name), member.mode)
        self._times[path] = _require_time(member)

    def _make_hard_link(self, parent: int, name: str, path: str, member: Member) -> None:
        target = posixpath.normpath(member.link)
        if target == path:
            raise _refusal(path, "it is a link to itself")
        found = os.stat(target, dir_fd=self._root, follow_symlinks=False)
        if not stat.S_ISREG(found.st_mode):
            raise _refusal(path, "it is a hard link to something that is not a file")
        self._replace(parent, name)
        os.link(target, name, src_dir_fd=self._root, dst_dir_fd=parent, follow_symlinks=False)
        _record_mode(self._modes, found, member.mode)

    def _replace(self, parent: int, name: str) -> None:
        """Remove the file of that name, as Docker does; a directory is not replaced."""
        try:
            os.unlink(name, dir_fd=parent)
        except FileNotFoundError:
            return
        except (IsADirectoryError, PermissionError):
            raise _refusal(name, "a directory has the same name") from None
        self._repeated += 1

    def _set_time(self, parent: int, name: str, member: Member) -> None:
        mtime = _require_time(member)
        os.utime(name, (mtime, mtime), dir_fd=parent, follow_symlinks=False)


def _record_mode(modes: dict[int, int], status: os.stat_result, mode: int) -> None:
    """Record a mode; also a default one, as the inode may have been another file's before."""
    modes[status.st_ino] = -1 if mode == default_mode(status) else mode


def _status(parent: int, name: str) -> os.stat_result:
    return os.stat(name, dir_fd=parent, follow_symlinks=False)


def _write_all(file: BinaryIO, piece: bytes) -> None:
    rest = memoryview(piece)
    while rest:
        rest = rest[file.write(rest) :]


def _require_time(member: Member) -> int:
    if abs(member.mtime) > MAX_SECONDS:
        raise _refusal(member.name, "its time is invalid")
    return member.mtime


def _require_inside(path: str, name: str) -> None:
    if len(os.fsencode(path)) > MAX_PATH or "\0" in path or path.count("/") > MAX_DEPTH:
        raise _refusal(name, "its path is invalid")
    if path.startswith("/") or posixpath.normpath(path).split("/")[0] == "..":
        raise _refusal(name, "it leads out of the context")


def _require_leading_parents(target: str, name: str) -> None:
    """Refuse a ``..`` after another step, which may follow a link and lead anywhere."""
    steps = [step for step in target.split("/") if step not in {"", "."}]
    is_parent = [step == ".." for step in steps]
    if is_parent != sorted(is_parent, reverse=True):
        raise _refusal(name, "its target has '..' after another step")


def _refusal(name: str, reason: str) -> ArchiveError:
    return ArchiveError("source_invalid", f"{name[:200]!r} is refused: {reason}")


def _as_archive_error(error: Exception, name: str) -> ArchiveError:
    match error:
        case OSError(errno=number) if number in _FULL:
            return ArchiveError("disk_full", "the disk has no space to unpack the upload")
        case OSError(errno=errno.EFBIG):
            return ArchiveError("source_too_large", "a file of the upload is too large")
        case FileNotFoundError():
            return make_corrupt_error(f"{name[:200]!r} is a link to a missing file")
        case _:
            return _refusal(name, f"it cannot be written ({type(error).__name__})")


def _set_limits(memory_bytes: int, processor_seconds: int, total_bytes: int) -> None:
    for resource_kind, most in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_DATA, memory_bytes),
        (resource.RLIMIT_CPU, processor_seconds),
        (resource.RLIMIT_FSIZE, total_bytes),
        (resource.RLIMIT_NOFILE, 32),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(resource_kind)
        # The hard limit of processor time kills at once, so the soft one comes first.
        limits = [most, most + (resource_kind == resource.RLIMIT_CPU)]
        if hard != resource.RLIM_INFINITY:
            limits = [min(limit, hard) for limit in limits]
        resource.setrlimit(resource_kind, (limits[0], limits[1]))


def main(arguments: Sequence[str]) -> None:
    """Unpack within limits given as numbers, and write the report, or the error, as JSON."""
    total_bytes, files, memory_bytes, processor_seconds = map(int, arguments)
    _set_limits(memory_bytes, processor_seconds, total_bytes)
    root = os.open(".", _DIRECTORY_FLAGS)
    try:
        report = vars(
            unpack_stream(
                sys.stdin.buffer,
                root,
                total_bytes=total_bytes,
                files=files,
                memory_bytes=memory_bytes,
            )
        )
    except ArchiveError as error:
        report = {"code": error.code, "message": error.message, "remedy": error.remedy}
    except MemoryError:
        report = {
            "code": "source_too_large",
            "message": "the upload needs too much memory to be unpacked",
        }
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
