"""Valid uploaded tars are unpacked, hostile ones write nothing outside of the directory."""

import contextlib
import errno
import hashlib
import io
import os
import tarfile
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.errors import SourceError
from shared.faults import FaultCode
from worker.builds.sources.decompress import ArchiveError
from worker.builds.sources.limits import Limits
from worker.builds.sources.unpacker import Unpacked, default_mode, unpack_stream
from worker.builds.sources.upload import receive, unpack


def entry(
    name: str, kind: bytes = tarfile.REGTYPE, target: str = "", mode: int = 0o644
) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.type, header.linkname, header.mode = kind, target, mode
    return header


def make_tar(*headers: tarfile.TarInfo, content: bytes = b"evil", mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:  # type: ignore[call-overload]
        for header in headers:
            header.size = len(content) if header.isreg() else 0
            tar.addfile(header, io.BytesIO(content))
    return buffer.getvalue()


async def pieces(content: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def unpacked(directory: Path, content: bytes, limits: Limits | None = None) -> Path:
    archive, target = directory / "upload.tar", directory / "into"
    target.mkdir()
    archive.write_bytes(content)
    await unpack(archive, target, limits or Limits())
    return target


def unpack_here(directory: Path, content: bytes) -> Unpacked:
    """Unpack into ``into`` in this process, which takes less time."""
    target = directory / "into"
    target.mkdir()
    root = os.open(target, os.O_RDONLY)
    try:
        return unpack_stream(
            io.BytesIO(content), root, total_bytes=10**8, files=1000, memory_bytes=2 * 10**8
        )
    finally:
        os.close(root)


async def code(directory: Path, content: bytes, limits: Limits | None = None) -> str:
    with pytest.raises(SourceError) as caught:
        await unpacked(directory, content, limits)
    return caught.value.code


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
async def test_a_good_tar_is_unpacked(tmp_path: Path, mode: str) -> None:
    content = make_tar(
        entry("./", tarfile.DIRTYPE, mode=0o755),
        entry("./src/run", mode=0o755),
        entry("link", tarfile.SYMTYPE, "src/run"),
        entry("src/up", tarfile.SYMTYPE, "../link"),
        entry("hard", tarfile.LNKTYPE, "src/run", mode=0o755),
        mode=mode,
    )

    found = await unpacked(tmp_path, content)

    assert (found / "src/up").read_bytes() == (found / "hard").read_bytes() == b"evil"
    assert os.access(found / "src/run", os.X_OK)


@pytest.mark.parametrize(
    "headers",
    [
        [entry("/etc/evil")],
        [entry("../evil")],
        [entry("a/../../evil")],
        [entry("..")],
        [entry("a", tarfile.SYMTYPE, "/etc/passwd")],
        [entry("a", tarfile.SYMTYPE, "../evil")],
        [entry("a/b", tarfile.SYMTYPE, "../../evil")],
        [entry("y", tarfile.SYMTYPE, "x/.."), entry("x", tarfile.SYMTYPE, ".")],
        [entry("a", tarfile.SYMTYPE, "."), entry("a/b")],
        [entry("a", tarfile.SYMTYPE, "b"), entry("a")],
        [entry("a", tarfile.DIRTYPE), entry("a", tarfile.SYMTYPE, "a")],
        [entry("a", tarfile.DIRTYPE), entry("a")],
        [entry("a"), entry("a", tarfile.DIRTYPE)],
        [entry("a"), entry("a/b")],
        [entry("/".join("d" * 300))],
        [entry("a", tarfile.LNKTYPE, "a")],
        [entry("d", tarfile.DIRTYPE), entry("a", tarfile.LNKTYPE, "d")],
        [entry("a", tarfile.LNKTYPE, "/etc/passwd")],
        [entry("a", tarfile.LNKTYPE, "../evil")],
        [entry("s", tarfile.SYMTYPE, "t"), entry("h", tarfile.LNKTYPE, "s")],
        [entry(".", tarfile.SYMTYPE, "a")],
        [entry("a/..", tarfile.REGTYPE)],
        [entry("null", tarfile.CHRTYPE)],
        [entry("disk", tarfile.BLKTYPE)],
        [entry("pipe", tarfile.FIFOTYPE)],
        [entry("x" * 5000)],
    ],
)
def test_a_hostile_member_is_refused(tmp_path: Path, headers: list[tarfile.TarInfo]) -> None:
    with pytest.raises(ArchiveError) as caught:
        unpack_here(tmp_path, make_tar(*headers))

    assert caught.value.code == FaultCode.SOURCE_INVALID


MODES = st.integers(0, 0o7777)


@settings(max_examples=100, deadline=None)
@given(MODES, MODES, MODES)
@example(0o4755, 0o1777, 0o755)
def test_all_twelve_bits_of_modes_are_reported(file: int, directory: int, link: int) -> None:
    headers = [
        entry("file", mode=file),
        entry("program", mode=file | 0o100),
        entry("linked", mode=file),
        entry("hard", tarfile.LNKTYPE, "linked", mode=link),
        entry("directory", tarfile.DIRTYPE, mode=directory),
    ]
    with TemporaryDirectory() as folder:
        report = unpack_here(Path(folder), make_tar(*headers))
        found = {}
        for path in (Path(folder) / "into").iterdir():
            status = path.stat()
            found[path.name] = report.modes.get(status.st_ino, default_mode(status))

    # The last header of a file counts, as in Docker.
    assert found == {
        "file": file,
        "program": file | 0o100,
        "linked": link,
        "hard": link,
        "directory": directory,
    }


async def test_a_refusal_has_the_code_that_the_unpacking_process_gives(tmp_path: Path) -> None:
    assert await code(tmp_path, make_tar(entry("../evil"))) == FaultCode.SOURCE_INVALID


PARTS = st.sampled_from(["a", "b", "..", ".", "", "/", "a/..", "\u202e", "~", "C:", "\\"])
PATHS = st.lists(PARTS, min_size=1, max_size=5).map("/".join)
KINDS = st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(PATHS, KINDS, PATHS), min_size=1, max_size=6))
@example([("a", tarfile.SYMTYPE, "a//")])
def test_no_name_leads_outside(
    members: list[tuple[str, bytes, str]],
) -> None:
    headers = [entry(name, kind, target, 0o755) for name, kind, target in members]
    with TemporaryDirectory() as folder:
        with contextlib.suppress(ArchiveError):
            unpack_here(Path(folder), make_tar(*headers))

        assert _is_closed(Path(folder))


def _is_closed(top: Path) -> bool:
    """Return whether nothing was written outside of the directory, and no link leads out."""
    inside = os.path.realpath(top / "into")
    found = [
        Path(parent, name)
        for parent, directories, files in os.walk(inside)
        for name in [*directories, *files]
    ]
    led_to = [os.path.realpath(path) for path in found if not _is_loop(path)]
    beside = {path.name for path in top.iterdir()} - {"into"}
    return not beside and all(path.startswith(inside) for path in led_to)


def _is_loop(path: Path) -> bool:
    """Return whether a link leads to itself, so nowhere: `os.path.realpath` says ``/`` of some."""
    try:
        path.stat()
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


STARTS = st.sampled_from([b"", b"\x1f\x8b\x08\0", b"BZh91AY&SY", b"\xfd7zXZ\0"])


@settings(max_examples=100, deadline=None)
@given(STARTS, st.binary(max_size=2000))
def test_an_upload_that_is_not_a_tar_is_corrupt(start: bytes, garbage: bytes) -> None:
    with TemporaryDirectory() as folder, pytest.raises(ArchiveError) as caught:
        unpack_here(Path(folder), start + garbage + b"x")

    assert caught.value.code == FaultCode.SOURCE_CORRUPT


async def test_a_tar_that_is_cut_is_corrupt(tmp_path: Path) -> None:
    content = make_tar(entry("a"), content=b"x" * 5000, mode="w:gz")

    assert await code(tmp_path, content[: len(content) // 2]) == FaultCode.SOURCE_CORRUPT


@pytest.mark.parametrize("limits", [Limits(total_bytes=50_000_000), Limits(files=0)])
async def test_a_tar_that_unfolds_beyond_the_limits_is_refused(
    tmp_path: Path, limits: Limits
) -> None:
    bomb = make_tar(entry("zeros"), content=b"\0" * 60_000_000, mode="w:gz")

    assert len(bomb) < 100_000
    assert await code(tmp_path, bomb, limits) == FaultCode.SOURCE_TOO_LARGE


async def test_an_upload_is_received_unchanged(tmp_path: Path) -> None:
    content = os.urandom(10_000)

    await receive(pieces(content), tmp_path / "a", sha256=hashlib.sha256(content).hexdigest())

    assert (tmp_path / "a").read_bytes() == content


async def test_a_wrong_checksum_is_a_retryable_failure(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        await receive(pieces(b"abc"), tmp_path / "a", sha256="0" * 64)

    assert (caught.value.code, caught.value.retryable) == (FaultCode.SOURCE_ALTERED, True)


async def test_an_upload_beyond_the_limit_is_refused_before_its_end(tmp_path: Path) -> None:
    limits = Limits(total_bytes=5000)

    with pytest.raises(SourceError) as caught:
        await receive(pieces(b"x" * 1_000_000), tmp_path / "a", limits=limits)

    assert caught.value.code == FaultCode.SOURCE_TOO_LARGE
    assert (tmp_path / "a").stat().st_size <= 5000


async def test_memory_stays_flat_for_any_size_of_upload(tmp_path: Path) -> None:
    async def much() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield bytes(256 * 1024)

    tracemalloc.start()
    try:
        await receive(much(), tmp_path / "a")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 5_000_000
