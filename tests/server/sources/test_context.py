"""Contexts, packed from a directory."""

import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from shared.errors import SourceError
from shared.faults import FaultCode
from worker.server.sources.context import OUTSIDE, Context, pack
from worker.server.sources.limits import Limits

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


async def test_a_directory_is_packed_with_all_that_is_in_it(sources: Path) -> None:
    context = await packed(sources)

    assert set(members(context)) == {*FILES, "src", "doc"}
    assert (context.dockerfile, context.text) == ("Dockerfile", "FROM scratch\n")


async def test_the_pieces_that_are_read_are_the_archive(sources: Path) -> None:
    (sources / "big").write_bytes(b"x" * 1_000_000)
    context = await packed(sources)

    content = b"".join([chunk async for chunk in context.read()])

    assert content == context.archive.read_bytes()


async def test_what_is_ignored_stays_behind_but_not_the_dockerfile(sources: Path) -> None:
    write(sources, {".dockerignore": "**/*.pyc\ndoc\n!doc/README.md\nDockerfile\n.dockerignore\n"})

    found = members(await packed(sources))

    assert set(found) == {"Dockerfile", ".dockerignore", "src", "src/a.py", "doc/README.md"}


async def test_a_dockerfile_has_an_ignore_file_of_its_own(sources: Path) -> None:
    own = {"a.Dockerfile": "FROM a", "a.Dockerfile.dockerignore": "doc"}
    write(sources, {".dockerignore": "src", **own})

    found = members(await packed(sources, dockerfile="a.Dockerfile"))

    assert "src/a.py" in found
    assert "doc" not in found


async def test_a_subdirectory_is_a_context_and_the_dockerfile_may_lie_outside(
    sources: Path,
) -> None:
    context = await packed(sources, "src")

    assert set(members(context)) == {"a.py", "b.pyc", OUTSIDE}
    assert context.dockerfile == OUTSIDE


async def test_a_dockerfile_in_the_context_is_named_from_there(sources: Path) -> None:
    write(sources, {"src/docker/Dockerfile": "FROM b"})

    context = await packed(sources, "src", "src/docker/Dockerfile")

    assert context.dockerfile == "docker/Dockerfile"


async def test_links_stay_links_wherever_they_lead(sources: Path) -> None:
    (sources / "out").symlink_to("/etc/passwd")
    (sources / "loop").symlink_to(".")

    found = members(await packed(sources))

    assert found["out"].linkname == "/etc/passwd"
    assert found["loop"].issym()
    assert "loop/Dockerfile" not in found


async def test_modes_are_kept_and_owners_are_not(sources: Path) -> None:
    (sources / "run").write_text("#!/bin/sh\n")
    (sources / "run").chmod(0o755)

    member = members(await packed(sources))["run"]

    assert (member.mode, member.uid, member.uname) == (0o755, 0, "")


@pytest.mark.parametrize("path", ["..", "../..", "src/../..", "out", "none", "Dockerfile", "\0"])
async def test_a_path_that_is_no_directory_of_the_sources_is_refused(
    sources: Path, path: str
) -> None:
    (sources / "out").symlink_to("/etc")

    assert await code(sources, path) == FaultCode.SOURCE_INVALID


@pytest.mark.parametrize("link", ["/etc/passwd", "../other"])
@pytest.mark.parametrize("name", ["Dockerfile", ".dockerignore"])
async def test_a_steering_file_that_leads_outside_is_refused(
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
