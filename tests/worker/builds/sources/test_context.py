"""Contexts are packed from a directory."""

import os
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from shared.errors import SourceError
from shared.faults import FaultCode
from worker.builds.sources.context import MAX_TEXT_BYTES, OUTSIDE_DOCKERFILE, Context, pack
from worker.builds.sources.limits import Limits
from worker.engine.builds.files import list_entries

FILES = {"Dockerfile": "FROM scratch\n", "src/a.py": "1", "src/b.pyc": "2", "doc/README.md": "3"}


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    return write(tmp_path / "sources", FILES)


def write(directory: Path, files: Mapping[str, str]) -> Path:
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(content)
    return directory


async def packed(
    sources: Path, path: str = ".", dockerfile: str = "Dockerfile", limits: Limits | None = None
) -> Context:
    return await pack(sources, path, dockerfile, sources.parent / "c.tar", limits or Limits())


async def code(sources: Path, path: str = ".", dockerfile: str = "Dockerfile") -> str:
    with pytest.raises(SourceError) as caught:
        await packed(sources, path, dockerfile)
    return caught.value.code


def members(context: Context) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(context.archive) as tar:
        return {member.name: member for member in tar}


async def test_a_directory_is_packed_with_all_its_content(sources: Path) -> None:
    context = await packed(sources)

    assert set(members(context)) == {*FILES, "src", "doc"}
    assert (context.dockerfile, context.text) == ("Dockerfile", "FROM scratch\n")


async def test_a_context_is_read_in_pieces(sources: Path) -> None:
    (sources / "big").write_bytes(b"x" * 1_000_000)
    context = await packed(sources)

    files = await context.make_files(context.text)
    content = b"".join([chunk async for chunk in files.read()])

    assert content == context.archive.read_bytes()


async def test_an_ignored_file_is_excluded_but_not_the_dockerfile(sources: Path) -> None:
    write(sources, {".dockerignore": "**/*.pyc\ndoc\n!doc/README.md\nDockerfile\n.dockerignore\n"})

    context = await packed(sources)

    kept = {"Dockerfile", ".dockerignore"}
    assert set(members(context)) == {*kept, "src", "src/a.py", "doc/README.md"}
    assert context.hidden == kept


async def test_a_dockerfile_may_have_its_own_ignore_file(sources: Path) -> None:
    own = {"a.Dockerfile": "FROM a", "a.Dockerfile.dockerignore": "doc"}
    write(sources, {".dockerignore": "src", **own})

    found = members(await packed(sources, dockerfile="a.Dockerfile"))

    assert "src/a.py" in found
    assert "doc" not in found


async def test_a_subdirectory_is_a_context_and_the_dockerfile_may_lie_outside(
    sources: Path,
) -> None:
    context = await packed(sources, "src")

    assert set(members(context)) == {"a.py", "b.pyc", ".dockerignore", OUTSIDE_DOCKERFILE}
    assert context.dockerfile == OUTSIDE_DOCKERFILE
    assert context.hidden == {".dockerignore", OUTSIDE_DOCKERFILE}


async def test_a_dockerfile_from_outside_is_excluded_along_with_what_was_excluded_before(
    sources: Path,
) -> None:
    write(sources, {"src/.dockerignore": "*.pyc"})

    context = await packed(sources, "src")

    with tarfile.open(context.archive) as tar:
        file = tar.extractfile(".dockerignore")
        assert file is not None
        assert file.read() == f"*.pyc\n{OUTSIDE_DOCKERFILE}\n".encode()
    assert context.hidden == {OUTSIDE_DOCKERFILE}


async def test_a_dockerfile_in_the_context_is_named_from_there(sources: Path) -> None:
    write(sources, {"src/docker/Dockerfile": "FROM b"})

    context = await packed(sources, "src", "src/docker/Dockerfile")

    assert context.dockerfile == "docker/Dockerfile"


async def test_a_changed_dockerfile_is_read_last_and_copied_as_it_was(sources: Path) -> None:
    context = await packed(sources)

    files = await context.make_files("FROM pinned\n")

    with tarfile.open(context.archive) as tar:
        first, last = [member for member in tar if member.name == "Dockerfile"]
        contents = [tar.extractfile(member) for member in (first, last)]
        texts = [content.read() for content in contents if content]
    assert texts == [b"FROM scratch\n", b"FROM pinned\n"]
    assert files.dockerfile == b"FROM pinned\n"
    [entry] = [entry for entry in list_entries(files.archive) if entry.path == "Dockerfile"]
    assert entry.offset == first.offset_data


async def test_a_dockerfile_that_is_too_long_is_refused(sources: Path) -> None:
    write(sources, {"Dockerfile": "FROM scratch\n" + "#" * MAX_TEXT_BYTES})

    assert await code(sources) == FaultCode.SOURCE_INVALID


async def test_links_are_packed_as_links(sources: Path) -> None:
    (sources / "out").symlink_to("/etc/passwd")
    (sources / "loop").symlink_to(".")

    found = members(await packed(sources))

    assert found["out"].linkname == "/etc/passwd"
    assert found["loop"].issym()
    assert "loop/Dockerfile" not in found


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000])
async def test_modes_are_those_of_git_with_any_umask(sources: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write(sources, {"deep/file": "1"})
        os.close(os.open(sources / "deep/program", os.O_CREAT | os.O_WRONLY, 0o777))
    finally:
        os.umask(before)

    found = members(await packed(sources))

    modes = [found[name].mode for name in ("deep", "deep/file", "deep/program")]
    assert modes == [0o755, 0o644, 0o755]
    assert (found["deep"].uid, found["deep"].uname) == (0, "")


async def test_known_modes_are_kept(sources: Path) -> None:
    requested = {"Dockerfile": 0o4755, "src": 0o2775, "doc": 0o1777, "src/a.py": 0o400}
    modes = {(sources / name).stat().st_ino: mode for name, mode in requested.items()}

    context = await pack(sources, ".", "Dockerfile", sources.parent / "c.tar", modes=modes)

    found = members(context)
    assert {name: found[name].mode for name in requested} == requested
    assert context.set_id_files == 1


async def test_a_hard_link_is_packed_as_one_without_content(sources: Path) -> None:
    (sources / "big").write_bytes(b"x" * 600)
    for index in range(9):
        os.link(sources / "big", sources / f"link{index}")

    found = members(await packed(sources, limits=Limits(total_bytes=1000)))

    assert {found[f"link{index}"].linkname for index in range(9)} == {"big"}


async def test_a_special_file_is_refused(sources: Path) -> None:
    os.mkfifo(sources / "pipe")

    assert await code(sources) == FaultCode.SOURCE_INVALID


async def test_a_tree_that_is_too_deep_is_refused(sources: Path) -> None:
    write(sources, {"/".join("d" * 400): "1"})

    assert await code(sources) == FaultCode.SOURCE_INVALID


@pytest.mark.parametrize("path", ["..", "../..", "src/../..", "out", "none", "Dockerfile", "\0"])
async def test_a_path_outside_of_the_sources_is_refused(sources: Path, path: str) -> None:
    (sources / "out").symlink_to("/etc")

    assert await code(sources, path) == FaultCode.SOURCE_INVALID


@pytest.mark.parametrize("link", ["/etc/passwd", "../other"])
@pytest.mark.parametrize("name", ["Dockerfile", ".dockerignore"])
async def test_a_dockerfile_or_ignore_file_that_leads_outside_is_refused(
    sources: Path, name: str, link: str
) -> None:
    write(sources.parent, {"other": "x"})
    (sources / name).unlink(missing_ok=True)
    (sources / name).symlink_to(link)

    assert await code(sources) == FaultCode.SOURCE_INVALID


async def test_a_missing_dockerfile_is_named(sources: Path) -> None:
    assert await code(sources, dockerfile="none") == FaultCode.DOCKERFILE_INVALID


@pytest.mark.parametrize("limits", [Limits(total_bytes=10), Limits(files=3)])
async def test_a_context_beyond_the_limits_is_refused(sources: Path, limits: Limits) -> None:
    with pytest.raises(SourceError) as caught:
        await packed(sources, limits=limits)

    assert caught.value.code == FaultCode.SOURCE_TOO_LARGE
