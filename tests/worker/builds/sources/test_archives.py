"""Damaged archives are refused or unpacked unchanged."""

import bz2
import gzip
import hashlib
import io
import lzma
import os
import random
import tarfile
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.errors import SourceError
from shared.faults import FaultCode
from worker.builds.sources.decompress import ArchiveError
from worker.builds.sources.tar import BLOCK_BYTES, parse_records
from worker.builds.sources.unpacker import Unpacked, unpack_stream
from worker.builds.sources.upload import receive, unpack

Pack = Callable[[bytes], bytes]

EVERY_BITS = 97
RANDOM = random.Random(1)  # noqa: S311 - content that is not compressed
FILES = {
    "Dockerfile": b"FROM scratch\nCOPY . /\n",
    "src/exact": RANDOM.randbytes(1024),
    "src/empty": b"",
    f"src/{'long' * 30}": RANDOM.randbytes(1500),
    "last": b"x",
}
OTHER_MODES = {"src/exact": 0o4755, "last": 0o400}


def plain(content: bytes) -> bytes:
    return content


PACKS = [plain, gzip.compress, bz2.compress, lzma.compress]
COMPRESSED = PACKS[1:]


def make_sample(format_: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format_) as tar:
        for name, content in FILES.items():
            header = tarfile.TarInfo(name)
            header.size, header.mode = len(content), OTHER_MODES.get(name, 0o644)
            tar.addfile(header, io.BytesIO(content))
    # Without the padding to 20 blocks, which no cut and no flip would be noticed in.
    return buffer.getvalue().rstrip(b"\0").ljust(_whole(buffer), b"\0") + bytes(2 * BLOCK_BYTES)


def _whole(buffer: io.BytesIO) -> int:
    used = len(buffer.getvalue().rstrip(b"\0"))
    return used + -used % BLOCK_BYTES


def unpacked(content: bytes) -> tuple[dict[str, bytes], Unpacked]:
    """Unpack a tar; return its files by their paths, and the report."""
    with TemporaryDirectory() as folder:
        root = os.open(folder, os.O_RDONLY)
        try:
            report = unpack_stream(
                io.BytesIO(content), root, total_bytes=10**7, files=100, memory_bytes=2 * 10**8
            )
        finally:
            os.close(root)
        modes = {
            str(path.relative_to(folder)): report.modes.get(path.lstat().st_ino)
            for path in Path(folder).rglob("*")
        }
        assert {name: mode for name, mode in modes.items() if mode} == OTHER_MODES
        found = {
            str(path.relative_to(folder)): path.read_bytes()
            for path in Path(folder).rglob("*")
            if path.is_file()
        }
    return found, report


def code(content: bytes) -> str:
    with pytest.raises(ArchiveError) as caught:
        unpacked(content)
    return caught.value.code


@pytest.mark.parametrize("format_", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("pack", PACKS)
def test_a_complete_archive_is_unpacked_unchanged(pack: Pack, format_: int) -> None:
    found, report = unpacked(pack(make_sample(format_)))

    assert found == FILES
    assert report.files == len(FILES)
    assert not report.notes


@pytest.mark.parametrize("pack", PACKS)
def test_an_archive_that_is_cut_anywhere_is_corrupt(pack: Pack) -> None:
    whole = pack(make_sample())
    cuts = [*range(0, len(whole), BLOCK_BYTES), len(whole) - 1]

    codes = {cut: code(whole[:cut]) for cut in cuts if not _has_end_mark(pack, whole[:cut])}

    assert len(codes) >= len(cuts) - 1
    assert set(codes.values()) == {FaultCode.SOURCE_CORRUPT}


def _has_end_mark(pack: Pack, content: bytes) -> bool:
    """Return whether the end mark is there; one of two blocks of zeros is enough."""
    return pack is plain and content == make_sample()[:-BLOCK_BYTES]


def test_one_block_of_zeros_at_the_end_is_an_end_mark() -> None:
    assert unpacked(make_sample()[:-BLOCK_BYTES])[0] == FILES


@pytest.mark.parametrize("type_", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_an_archive_that_ends_before_the_member_of_a_header_is_corrupt(type_: bytes) -> None:
    content = b"11 path=ab\n" if type_ == tarfile.XHDTYPE else b"ab\0"
    header = tarfile.TarInfo("header")
    header.type, header.size = type_, len(content)
    extension = header.tobuf(tarfile.USTAR_FORMAT) + content.ljust(BLOCK_BYTES, b"\0")

    assert code(make_sample()[: -2 * BLOCK_BYTES] + extension + bytes(2 * BLOCK_BYTES)) == (
        FaultCode.SOURCE_CORRUPT
    )


@pytest.mark.parametrize("pack", COMPRESSED)
def test_a_flipped_bit_of_a_compressed_archive_changes_nothing_or_is_refused(pack: Pack) -> None:
    whole = pack(make_sample())
    refused = 0

    for bit in range(0, len(whole) * 8, EVERY_BITS):
        with suppress(ArchiveError):
            refused += 1
            assert unpacked(_flip(whole, bit))[0] == FILES
            refused -= 1

    assert refused > len(whole) * 8 / EVERY_BITS * 0.9


def test_a_flipped_bit_of_a_plain_tar_is_refused_except_in_content() -> None:
    """A tar has checksums of its headers only; the upload's digest covers the content."""
    whole = make_sample()
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        content = [
            range(8 * (member.offset + BLOCK_BYTES), 8 * (member.offset_data + _padded(member)))
            for member in tar
        ]

    for bit in range(0, len(whole) * 8, EVERY_BITS):
        if not any(bit in bits for bits in content):
            assert code(_flip(whole, bit)) == FaultCode.SOURCE_CORRUPT


def _padded(member: tarfile.TarInfo) -> int:
    return member.size + -member.size % BLOCK_BYTES


async def test_a_flipped_bit_in_the_content_of_a_plain_tar_is_found_by_its_digest(
    tmp_path: Path,
) -> None:
    whole = make_sample()
    sha256 = hashlib.sha256(whole).hexdigest()

    for bit in range(0, len(whole) * 8, 97 * EVERY_BITS):
        with pytest.raises(SourceError) as caught:
            await receive(_chunks(_flip(whole, bit)), tmp_path / "a", sha256=sha256)
        assert caught.value.code == FaultCode.SOURCE_ALTERED


async def _chunks(content: bytes) -> AsyncIterator[bytes]:
    yield content


def _flip(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize("pack", COMPRESSED)
def test_members_of_a_compressed_file_are_one_archive(pack: Pack) -> None:
    whole = make_sample()

    assert unpacked(pack(whole[:1000]) + pack(whole[1000:]))[0] == FILES
    assert code(pack(whole[:1000]) + pack(whole[1000:])[:-4]) == FaultCode.SOURCE_CORRUPT


@pytest.mark.parametrize("pack", PACKS)
def test_padding_may_follow_an_archive_and_nothing_else(pack: Pack) -> None:
    whole = pack(make_sample())

    assert unpacked(whole + bytes(100 * BLOCK_BYTES))[0] == FILES
    assert code(whole + b"garbage") == FaultCode.SOURCE_CORRUPT
    assert code(whole + bytes(BLOCK_BYTES) + b"garbage") == FaultCode.SOURCE_CORRUPT


@pytest.mark.parametrize("pack", PACKS)
def test_a_second_archive_after_the_first_is_refused(pack: Pack) -> None:
    assert code(pack(make_sample() + make_sample())) == FaultCode.SOURCE_CORRUPT


def test_an_upload_compressed_with_zstd_is_refused_with_a_remedy() -> None:
    with pytest.raises(ArchiveError) as caught:
        unpacked(b"\x28\xb5\x2f\xfd" + bytes(100))

    assert caught.value.code == FaultCode.SOURCE_INVALID
    assert "gzip" in caught.value.remedy


async def test_a_damaged_upload_fails_permanently_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(_flip(gzip.compress(make_sample()), 9000))
    (tmp_path / "into").mkdir()

    with pytest.raises(SourceError) as caught:
        await unpack(tmp_path / "a", tmp_path / "into")

    assert (caught.value.code, caught.value.retryable) == (FaultCode.SOURCE_CORRUPT, False)
    assert "upload" in caught.value.remedy


@example(b"a=\n")
@given(st.lists(st.sampled_from([b"1", b"6", b" ", b"a", b"=", b"\n"]), max_size=20).map(b"".join))
def test_no_pax_header_breaks_or_blocks_its_reader(content: bytes) -> None:
    with suppress(ArchiveError):
        read = b"".join(b"%s=%s" % record for record in parse_records(content).items())
        assert len(read) < len(content) or not content
