"""The directory of contexts, on a disk that is too small."""

import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from api.errors import DiskFullError
from api.uploads.store import ContextStore
from shared.ids import make_id
from tests.worker.engine.parts import require_real_parts


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for 64 KiB."""
    require_real_parts()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", tmp_path], check=True)
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)


async def test_a_full_disk_is_named_and_nothing_of_the_upload_stays(small_disk: Path) -> None:
    store = ContextStore.open(small_disk, 1_000_000)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield bytes(20_000)

    with pytest.raises(DiskFullError) as caught:
        await store.receive(make_id(), chunks())

    assert caught.value.code == "disk_full"
    assert "WHARF_DATA_DIR" in caught.value.remedy
    assert list(store.directory.iterdir()) == []
