"""The directory of contexts, on a disk that is too small."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from api.errors import DiskFullError
from api.uploads.store import ContextStore
from shared.ids import make_id
from tests.small_disks import open_small_disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for 64 KiB."""
    with open_small_disk(tmp_path, 64 * 1024) as disk:
        yield disk


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
