"""Find the Git LFS pointers among the files of a checkout."""

import asyncio
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.errors import SourceError
from shared.faults import FaultCode
from worker.builds.sources.git.command import Git, is_plain_path

MAX_POINTER_BYTES = 1024
"""The limit of the size of a pointer in the specification."""

ARGUMENTS = 200

_START = b"version https://git-lfs.github.com/spec/v1\n"
_OID = re.compile(rb"^oid sha256:([0-9a-f]{64})$", re.MULTILINE)
_SIZE = re.compile(rb"^size ([0-9]{1,15})$", re.MULTILINE)


@dataclass(frozen=True)
class Pointer:
    """A pointer at ``path`` in the repository; ``file`` is its path on this disk."""

    path: str
    file: Path
    oid: str
    size: int


@dataclass(frozen=True)
class Pointers:
    """The pointers of a checkout.

    ``damaged`` ones have the LFS attribute but cannot be read. ``unmarked`` ones look like pointers
    but have no LFS attribute, so git leaves them unchanged.
    """

    found: tuple[Pointer, ...] = ()
    damaged: tuple[str, ...] = ()
    unmarked: tuple[str, ...] = ()


def parse_pointer(content: bytes) -> tuple[str, int] | None:
    """Return a pointer's SHA-256 and size; ``None`` if it is damaged or has extensions."""
    oid, size = _OID.search(content), _SIZE.search(content)
    if oid is None or size is None or b"\next-" in content:
        return None
    return oid[1].decode(), int(size[1])


async def find_pointers(git: Git, paths: Sequence[str]) -> Pointers:
    """Find the pointers among the small files of a checkout.

    Raises:
        SourceError: ``source_invalid``, a path is not that of a file, or a link leads to it.
    """
    contents = await asyncio.to_thread(_read, git.tree, paths)
    marked = await _with_lfs_attribute(git, list(contents))
    found, damaged = [], []
    for path in marked:
        parsed = parse_pointer(contents[path])
        if parsed is None:
            damaged.append(path)
        else:
            found.append(Pointer(path, git.tree / path, *parsed))
    unmarked = [path for path in contents if path not in set(marked)]
    return Pointers(tuple(found), tuple(damaged), tuple(unmarked))


def _read(tree: Path, paths: Iterable[str]) -> dict[str, bytes]:
    found = {}
    for path in paths:
        try:
            file = os.open(tree / path, os.O_RDONLY | os.O_NOFOLLOW)
            with os.fdopen(file, "rb") as opened:
                content = opened.read(MAX_POINTER_BYTES)
        except OSError as error:
            raise _refusal(path) from error
        if content.startswith(_START):
            if not is_plain_path(tree, path):
                raise _refusal(path)
            found[path] = content
    return found


def _refusal(path: str) -> SourceError:
    return SourceError(FaultCode.SOURCE_INVALID, f"{path[:200]!r} is not a plain file")


async def _with_lfs_attribute(git: Git, paths: Sequence[str]) -> list[str]:
    """Return the paths with the LFS attribute in ``.gitattributes``."""
    found = []
    for start in range(0, len(paths), ARGUMENTS):
        part = paths[start : start + ARGUMENTS]
        answer = [
            entry.decode(errors="surrogateescape")
            async for entry in git.lines("check-attr", "-z", "filter", "--", *part)
        ]
        found += [
            path for path, value in zip(answer[::3], answer[2::3], strict=True) if value == "lfs"
        ]
    return found
