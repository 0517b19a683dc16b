"""A tiny upload that would freeze or exhaust a worker is refused, quickly and with a code."""

import asyncio
import gzip
import io
import lzma
import os
import resource
import tarfile
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from shared.errors import SourceError
from shared.faults import FaultCode
from tests.waiting import wait_until
from worker.builds.sources.limits import Limits
from worker.builds.sources.upload import UNPACKER, unpack

QUICKLY_SECONDS = 20
PROCESSOR_LIMIT_WITHIN_SECONDS = 40.0
"""Far longer than a second of processor time takes, far shorter than the whole upload."""
SMALL_BYTES = 50_000_000


def header(name: str, kind: bytes, size: int) -> bytes:
    made = tarfile.TarInfo(name)
    made.type, made.size = kind, size
    return made.tobuf(tarfile.GNU_FORMAT)


def pax_header_of_digits() -> bytes:
    """Such an archive stops Python's own reader for minutes."""
    return gzip.compress(header("x", tarfile.XHDTYPE, 300_000) + b"1" * 300_000 + bytes(2000))


def small_pax_header_of_digits() -> bytes:
    """Within what a PAX header may have."""
    return gzip.compress(header("x", tarfile.XHDTYPE, 200_000) + b"1" * 200_000 + bytes(2000))


def pax_record_with_a_length_of_digits() -> bytes:
    """More than Python turns into a number."""
    record = b"1" * 5000 + b" a=b\n"
    padded = record.ljust(-len(record) // 512 * -512, b"\0")
    return gzip.compress(header("x", tarfile.XHDTYPE, len(record)) + padded + bytes(2000))


def long_name() -> bytes:
    """800 MB in less than one."""
    piece = gzip.compress(b"a" * 8_000_000)
    return gzip.compress(header("x", tarfile.GNUTYPE_LONGNAME, 800_000_000)) + piece * 100


def long_link() -> bytes:
    return gzip.compress(header("x", tarfile.GNUTYPE_LONGLINK, 1 << 40) + b"a" * 10_000)


def endless_global_headers() -> bytes:
    record = b"30 comment=12345678901234567890"[:29] + b"\n"
    one = header("g", tarfile.XGLTYPE, len(record)) + record.ljust(512, b"\0")
    return gzip.compress(one * 10_000)


def huge_dictionary() -> bytes:
    return _with_dictionary(lzma.compress(bytes(100_000)), 0x25)  # 1.5 GiB


def _with_dictionary(content: bytes, bits: int) -> bytes:
    """Change the size in the header of the first block (xz's file format, section 3.1)."""
    size = (content[12] + 1) * 4
    block = bytearray(content[12 : 12 + size])
    block[4] = bits
    block[-4:] = zlib.crc32(block[:-4]).to_bytes(4, "little")
    return content[:12] + bytes(block) + content[12 + size :]


def huge_numbers() -> bytes:
    evil = bytearray(header("a", tarfile.REGTYPE, 0))
    evil[124:136] = b"\x80" + b"\xff" * 11
    evil[148:156] = b" " * 8
    evil[148:156] = b"%06o\0 " % sum(evil)
    return bytes(evil) + bytes(1024)


def many_directories() -> bytes:
    """Each of few members makes many."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for index in range(50):
            tar.addfile(tarfile.TarInfo("/".join([f"{index}", *"d" * 200, "file"])))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (pax_header_of_digits, FaultCode.SOURCE_INVALID),
        (small_pax_header_of_digits, FaultCode.SOURCE_CORRUPT),
        (pax_record_with_a_length_of_digits, FaultCode.SOURCE_CORRUPT),
        (long_name, FaultCode.SOURCE_INVALID),
        (long_link, FaultCode.SOURCE_INVALID),
        (endless_global_headers, FaultCode.SOURCE_CORRUPT),
        (huge_dictionary, FaultCode.SOURCE_TOO_LARGE),
        (huge_numbers, FaultCode.SOURCE_TOO_LARGE),
        (many_directories, FaultCode.SOURCE_TOO_LARGE),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_a_hostile_archive_is_refused_quickly_and_in_little_memory(
    tmp_path: Path, make: Callable[[], bytes], code: FaultCode
) -> None:
    (tmp_path / "upload").write_bytes(make())
    (tmp_path / "into").mkdir()
    ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.monotonic()

    with pytest.raises(SourceError) as caught:
        await unpack(tmp_path / "upload", tmp_path / "into", Limits(files=5000))

    assert (caught.value.code, caught.value.retryable) == (code, False)
    assert time.monotonic() - start < QUICKLY_SECONDS
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - ours
    assert grown * 1024 < SMALL_BYTES


async def test_the_unpacking_process_has_no_secret_and_no_socket_and_ends_with_its_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The unpacker waits for an upload that never ends; a cancelled job ends it."""
    monkeypatch.setenv("WHARF_CANARY", "s3cret-canary")
    os.mkfifo(tmp_path / "upload")
    (tmp_path / "into").mkdir()
    listening = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    held = os.open(tmp_path / "upload", os.O_RDWR)
    unpacking = asyncio.create_task(unpack(tmp_path / "upload", tmp_path / "into"))
    await wait_until(lambda: _is_limited(tmp_path / "into"))
    (process,) = _unpackers(tmp_path / "into")
    environment = (process / "environ").read_bytes()
    files = [str(file.readlink()) for file in (process / "fd").iterdir()]
    limits = (process / "limits").read_text()

    unpacking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await unpacking

    assert not _unpackers(tmp_path / "into")
    assert b"s3cret-canary" not in environment
    assert not any(file.startswith("socket:") for file in files)
    assert "Max address space         536870912" in limits
    listening.close()
    os.close(held)


async def test_an_upload_that_takes_too_much_processor_time_is_ended(tmp_path: Path) -> None:
    one = header("d", tarfile.DIRTYPE, 0)
    (tmp_path / "upload").write_bytes(gzip.compress(one * 20_000) * 200)
    (tmp_path / "into").mkdir()
    limits = Limits(files=10**9, processor_time=timedelta(seconds=1), time=timedelta(hours=1))

    async with asyncio.timeout(PROCESSOR_LIMIT_WITHIN_SECONDS):
        with pytest.raises(SourceError) as caught:
            await unpack(tmp_path / "upload", tmp_path / "into", limits)

    assert caught.value.code == FaultCode.SOURCE_TOO_LARGE
    assert "too long" in caught.value.message


async def test_an_upload_that_never_ends_is_given_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "upload")
    (tmp_path / "into").mkdir()
    held = os.open(tmp_path / "upload", os.O_RDWR)

    with pytest.raises(SourceError) as caught:
        await unpack(tmp_path / "upload", tmp_path / "into", Limits(time=timedelta(seconds=0.5)))

    assert caught.value.code == FaultCode.SOURCE_TOO_LARGE
    assert not _unpackers(tmp_path / "into")
    os.close(held)


def _unpackers(directory: Path) -> list[Path]:
    """The processes that unpack there."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            is_there = (process / "cwd").readlink() == directory
            if is_there and UNPACKER.encode() in (process / "cmdline").read_bytes():
                found.append(process)
    return found


def _is_limited(directory: Path) -> bool:
    return any("536870912" in (process / "limits").read_text() for process in _unpackers(directory))
