"""A tree that has one name twice leads no submodule and no LFS file out of the checkout."""

from pathlib import Path

import pytest

from shared.faults import FaultCode
from tests.fakes.git import GitServer
from tests.worker.builds.sources.git.test_parts import ATTRIBUTES, get, refused


async def test_a_submodule_is_not_written_through_a_link(
    server: GitServer, directory: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    library = server.create("library").commit({"evil": b"1"})
    app = server.create("app")
    modules = '[submodule "a"]\n\tpath = a\n\turl = ../library\n'
    app.commit_tree(
        ("100644", ".gitmodules", app.keep(modules.encode())),
        ("160000", "a", library),
        ("120000", "a", app.keep(str(outside).encode())),
    )

    with refused(FaultCode.SOURCE_INVALID):
        await get(server, directory, allow_missing=True)

    assert not any(outside.iterdir())


@pytest.mark.parametrize("is_there", [True, False])
async def test_an_lfs_file_is_not_written_through_a_link(
    server: GitServer, directory: Path, tmp_path: Path, *, is_there: bool
) -> None:
    outside = tmp_path / "a.bin"
    pointer = server.keep(b"evil")
    if is_there:
        outside.write_bytes(pointer)
    app = server.create("app")
    inner = app.keep(b"100644 a.bin\0" + bytes.fromhex(app.keep(pointer)), "tree")
    app.commit_tree(
        ("100644", ".gitattributes", app.keep(ATTRIBUTES)),
        ("40000", "a", inner),
        ("120000", "a", app.keep(str(tmp_path).encode())),
    )

    with refused(FaultCode.SOURCE_INVALID):
        await get(server, directory, allow_missing=True)

    assert outside.exists() == is_there
    assert not is_there or outside.read_bytes() == pointer
