import stat
from pathlib import Path

import pytest

from worker.jobs.workspaces import Workspaces


async def test_a_folder_is_private_and_is_removed_after_the_build(tmp_path: Path) -> None:
    workspaces = Workspaces.open(tmp_path / "builds")

    async def build() -> None:
        async with workspaces.folder() as folder:
            (folder / "file").write_text("x")
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        await build()
    assert list(workspaces.directory.iterdir()) == []


async def test_folders_of_a_killed_worker_are_removed_at_the_next_start(tmp_path: Path) -> None:
    left = Workspaces.open(tmp_path / "builds").directory / "left" / "sources"
    left.mkdir(parents=True)

    again = Workspaces.open(tmp_path / "builds")

    assert list(again.directory.iterdir()) == []
    assert stat.S_IMODE(again.directory.stat().st_mode) == 0o700
