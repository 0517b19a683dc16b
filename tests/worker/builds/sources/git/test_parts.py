"""Submodules and LFS files of a repository are fetched with it."""

import base64
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from shared.errors import SourceError
from shared.faults import FaultCode
from shared.jobs.sources import GitSource
from shared.networks import RegistryNetworks, parse_networks
from tests.fakes.git import TOKEN, GitServer, make_pointer
from tests.fakes.web import open_fake, says
from worker.builds.sources.git.checkout import Checkout, fetch
from worker.builds.sources.git.lfs_pointers import parse_pointer
from worker.builds.sources.git.submodules import is_same_origin, resolve_url
from worker.builds.sources.limits import Limits

NETWORKS = parse_networks("loopback")
ATTRIBUTES = b"*.bin filter=lfs diff=lfs merge=lfs -text\n"


async def get(
    server: GitServer,
    directory: Path,
    *,
    allow_missing: bool = False,
    token: str = "",
    limits: Limits | None = None,
    networks: RegistryNetworks = NETWORKS,
) -> Checkout:
    return await fetch(
        GitSource(url=server.url("app")),
        SecretStr(token) if token else None,
        directory,
        networks,
        limits or Limits(),
        allow_missing=allow_missing,
    )


@contextmanager
def refused(code: FaultCode = FaultCode.SOURCE_INCOMPLETE) -> Iterator[list[str]]:
    """Require that the block fails with this code; yield the message."""
    messages: list[str] = []
    with pytest.raises(SourceError) as caught:
        yield messages
    assert caught.value.code == code
    assert caught.value.remedy
    messages.append(caught.value.message)


async def test_submodules_are_fetched_at_any_host_and_depth(
    server: GitServer, other: GitServer, directory: Path
) -> None:
    leaf = other.create("leaf").commit({"leaf": b"1"})
    middle = server.create("middle").commit(
        {"middle": b"2"}, submodules={"deep/leaf": (other.url("leaf"), leaf)}
    )
    server.create("app").commit({"own": b"3"}, submodules={"lib/middle": ("../middle", middle)})

    found = await get(server, directory)

    assert (found.directory / "lib/middle/deep/leaf/leaf").read_bytes() == b"1"
    assert (found.directory / "lib/middle/middle").read_bytes() == b"2"
    assert not found.missing
    assert any(leaf in note for note in found.notes)
    assert os.listdir(directory) == ["tree"]  # noqa: PTH208 - in a coroutine


async def test_a_submodule_is_at_its_pinned_commit(server: GitServer, directory: Path) -> None:
    library = server.create("library")
    first = library.commit({"version": b"1"})
    library.commit({"version": b"2"})
    server.create("app").commit({}, submodules={"library": ("./../library", first)})

    found = await get(server, directory)

    assert (found.directory / "library/version").read_bytes() == b"1"


async def test_the_token_is_sent_only_to_submodules_and_files_of_its_own_origin(
    server: GitServer, other: GitServer, directory: Path
) -> None:
    near = server.create("near", is_private=True).commit({"near": b"1"})
    far = other.create("far").commit({"far": b"2"})
    server.files = f"http://{other.fake.host}/lfs"
    server.given = {"X-Signed": "yes", "Host": "evil.example"}
    pointer = server.keep(b"large")
    other.lfs = server.lfs
    server.create("app", is_private=True).commit(
        {".gitattributes": ATTRIBUTES, "a.bin": pointer},
        submodules={"near": ("../near", near), "far": (other.url("far"), far)},
    )

    found = await get(server, directory, token=TOKEN)

    assert (found.directory / "near/near").exists()
    assert (found.directory / "far/far").exists()
    assert (found.directory / "a.bin").read_bytes() == b"large"
    assert other.fake.requests
    assert not other.fake.authorizations
    fetched = next(one for one in other.fake.requests if one.path.startswith("/lfs/"))
    assert (fetched.headers["X-Signed"], fetched.headers["Host"]) == ("yes", other.fake.host)
    sent = base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
    assert f"Basic {sent}" in server.fake.authorizations


URLS = [
    "git@127.0.0.1:team/library",
    "ssh://git@127.0.0.1/library",
    "file:///etc",
    "/etc",
    "ext::sh -c touch% /tmp/evil",
    "--upload-pack=touch evil",
    "../../../../../library",
    "../none",
    "http://169.254.169.254/library",
    "http://10.1.2.3/library",
    "",
]


async def test_missing_submodules_fail_the_build_unless_that_is_allowed(
    server: GitServer, directory: Path, tmp_path: Path
) -> None:
    submodules = {f"library{index}": (url, "a" * 40) for index, url in enumerate(URLS)}
    server.create("app").commit({"own": b"1"}, submodules=submodules)

    with refused() as messages:
        await get(server, directory)
    found = await get(server, tmp_path / "again", allow_missing=True)

    assert len(found.missing) == len(URLS)
    for path, missing in zip(sorted(submodules), found.missing, strict=True):
        assert f"submodule {path} (" in messages[0]
        assert f"submodule {path} (" in missing
        assert not list((found.directory / path).iterdir())
    assert (found.directory / "own").read_bytes() == b"1"


async def test_a_private_submodule_elsewhere_and_a_lost_commit_are_named(
    server: GitServer, other: GitServer, directory: Path
) -> None:
    library = server.create("library").commit({"a": b"1"})
    other.create("private", is_private=True)
    modules = {"lost": ("../library", "a" * 40), "private": (other.url("private"), library)}
    server.create("app").commit({}, submodules=modules)

    with refused() as messages:
        await get(server, directory, token=TOKEN)

    assert "submodule lost" in messages[0]
    assert "submodule private" in messages[0]


async def test_a_submodule_link_without_an_entry_is_missing(
    server: GitServer, directory: Path
) -> None:
    repository = server.create("app")
    repository.commit({".gitmodules": b'[submodule "a"]\n\tpath = a\n\turl = ../none\n'})

    found = await get(server, directory)

    assert not found.missing


@pytest.mark.parametrize("limits", [Limits(nesting=1), Limits(repositories=2)])
async def test_submodules_that_nest_too_deep_or_are_too_many_are_refused(
    server: GitServer, directory: Path, limits: Limits
) -> None:
    leaf = server.create("leaf").commit({"a": b"1"})
    middle = server.create("middle").commit({}, submodules={"leaf": ("../leaf", leaf)})
    server.create("app").commit({}, submodules={"middle": ("../middle", middle)})

    with refused(FaultCode.SOURCE_TOO_LARGE):
        await get(server, directory, limits=limits)


async def test_the_limits_include_submodules_and_lfs_files(
    server: GitServer, directory: Path, tmp_path: Path
) -> None:
    half = server.create("half").commit({"big": bytes(60_000)})
    attributes = {".gitattributes": ATTRIBUTES, "a.bin": server.keep(bytes(60_000))}
    server.create("app").commit(attributes, submodules={"half": ("../half", half)})

    with refused(FaultCode.SOURCE_TOO_LARGE):
        await get(server, directory, limits=Limits(total_bytes=100_000))
    found = await get(server, tmp_path / "again", limits=Limits(total_bytes=200_000))

    assert not found.missing


async def test_the_limit_of_transferred_bytes_includes_submodules(
    server: GitServer, directory: Path, tmp_path: Path
) -> None:
    """Files are empty here, so that their names alone are transferred: 375,000 bytes."""
    names = [secrets.token_urlsafe(180) for _ in range(2000)]
    half = server.create("half").commit(dict.fromkeys(names, b""))
    app = server.create("app")
    limits = Limits(total_bytes=650_000)

    app.commit({}, submodules={"one": ("../half", half)})
    found = await get(server, directory, limits=limits)
    app.commit({}, submodules={"one": ("../half", half), "two": ("../half", half)})
    with refused(FaultCode.SOURCE_TOO_LARGE):
        await get(server, tmp_path / "again", limits=limits)

    assert len(os.listdir(found.directory / "one")) == len(names)  # noqa: PTH208


async def test_lfs_files_replace_their_pointers_and_keep_their_modes(
    server: GitServer, directory: Path
) -> None:
    content = os.urandom(300_000)
    repository = server.create("app")
    program = repository.work / "program.bin"
    program.touch()
    program.chmod(0o755)
    repository.commit(
        {
            ".gitattributes": ATTRIBUTES,
            "a.bin": server.keep(content),
            "deep/same.bin": server.keep(content),
            "program.bin": server.keep(b"#!/bin/sh\n"),
            "empty.bin": b"",
        }
    )

    found = await get(server, directory)

    assert (found.directory / "a.bin").read_bytes() == content
    assert (found.directory / "deep/same.bin").read_bytes() == content
    assert os.access(found.directory / "program.bin", os.X_OK)
    assert len([line for line in server.fake.lines if line.startswith("GET /lfs/")]) == 2


async def test_an_unmarked_pointer_is_kept_and_reported(server: GitServer, directory: Path) -> None:
    pointer = make_pointer("a" * 64, 5)
    server.create("app").commit({"example.txt": pointer})

    found = await get(server, directory)

    assert (found.directory / "example.txt").read_bytes() == pointer
    assert any("look like LFS pointers" in note for note in found.notes)


async def test_missing_lfs_files_fail_the_build_unless_that_is_allowed(
    server: GitServer, directory: Path, tmp_path: Path
) -> None:
    damaged = make_pointer("a" * 64, 5).replace(b"oid sha256", b"oid md5")
    server.create("app").commit(
        {
            ".gitattributes": ATTRIBUTES,
            "here.bin": server.keep(b"here"),
            "gone.bin": make_pointer("a" * 64, 5),
            "damaged.bin": damaged,
        }
    )

    with refused() as messages:
        await get(server, directory)
    found = await get(server, tmp_path / "again", allow_missing=True)

    assert "LFS file gone.bin" in messages[0]
    assert "LFS file damaged.bin" in messages[0]
    assert "here.bin" not in messages[0]
    assert len(found.missing) == 2
    assert (found.directory / "here.bin").read_bytes() == b"here"
    assert (found.directory / "gone.bin").read_bytes() == make_pointer("a" * 64, 5)


@pytest.mark.parametrize("href", ["http://169.254.169.254/a", "file:///etc/passwd", "ftp://a/b"])
async def test_an_lfs_file_at_a_forbidden_address_is_not_requested(
    server: GitServer, directory: Path, href: str
) -> None:
    server.files = href
    server.create("app").commit({".gitattributes": ATTRIBUTES, "a.bin": server.keep(b"x")})

    with refused():
        await get(server, directory)


@pytest.mark.parametrize("content", [b"shorter", b"another content of 31 bytes !!!", b"x" * 5000])
async def test_another_lfs_file_than_its_pointer_names_is_refused(
    server: GitServer, directory: Path, content: bytes
) -> None:
    pointer = server.keep(b"this is the content of 31 bytes")
    server.lfs = dict.fromkeys(server.lfs, content)
    server.create("app").commit({".gitattributes": ATTRIBUTES, "a.bin": pointer})

    with refused(FaultCode.SOURCE_ALTERED):
        await get(server, directory, allow_missing=True)


async def test_a_named_lfs_server_is_used_without_the_token(
    server: GitServer, other: GitServer, directory: Path
) -> None:
    other.create("store")
    pointer = other.keep(b"elsewhere")
    config = f"[lfs]\n\turl = {other.url('store')}/info/lfs\n".encode()
    server.create("app", is_private=True).commit(
        {".gitattributes": ATTRIBUTES, ".lfsconfig": config, "a.bin": pointer}
    )

    found = await get(server, directory, token=TOKEN)

    assert (found.directory / "a.bin").read_bytes() == b"elsewhere"
    assert not other.fake.authorizations


@pytest.mark.parametrize(
    ("status", "text", "code"),
    [
        (200, "[" * 100_000, FaultCode.SOURCE_INCOMPLETE),
        (200, '{"objects": [{}]}', FaultCode.SOURCE_INCOMPLETE),
        (403, "", FaultCode.SOURCE_INCOMPLETE),
        (429, "", FaultCode.RATE_LIMITED),
        (503, "", FaultCode.SOURCE_UNREACHABLE),
    ],
)
async def test_each_answer_of_an_lfs_server_has_its_code(
    server: GitServer, directory: Path, status: int, text: str, code: FaultCode
) -> None:
    async with open_fake(says(status, text=text)) as fake:
        config = f"[lfs]\n\turl = http://{fake.host}/lfs\n".encode()
        server.create("app").commit(
            {".gitattributes": ATTRIBUTES, ".lfsconfig": config, "a.bin": server.keep(b"x")}
        )

        with refused(code):
            await get(server, directory)


@pytest.mark.parametrize(
    ("parent", "url", "found"),
    [
        ("https://a.example/team/app.git", "../lib.git", "https://a.example/team/lib.git"),
        ("https://a.example/team/app", "../../other/lib/", "https://a.example/other/lib"),
        ("https://a.example/team/app", "./sub", "https://a.example/team/app/sub"),
        ("https://a.example/team/app", "https://b.example/x", "https://b.example/x"),
        ("git@a.example:team/app.git", "../lib.git", "git@a.example:team/lib.git"),
        ("git@a.example:/srv/app.git", "../lib.git", "git@a.example:/srv/lib.git"),
        ("ssh://git@a.example:2222/team/app", "../lib", "ssh://git@a.example:2222/team/lib"),
        ("git@a.example:team/app", "git@b.example:x", "git@b.example:x"),
    ],
)
def test_a_relative_url_is_resolved_as_in_git(parent: str, url: str, found: str) -> None:
    assert resolve_url(parent, url) == found


@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        ("https://a.example/y", True),
        ("https://A.example:443/y", True),
        ("http://a.example/x", False),
        ("https://a.example:8443/x", False),
        ("https://a.example.evil/x", False),
        ("https://a.example@evil/x", False),
        ("https://a.example:x/", False),
    ],
)
def test_an_origin_is_scheme_host_and_port(other: str, *, is_same: bool) -> None:
    assert is_same_origin("https://a.example/x", other) is is_same


@given(st.binary(max_size=300))
def test_no_pointer_breaks_its_reader(content: bytes) -> None:
    found = parse_pointer(make_pointer("a" * 64, 5)[:-1] + content)

    assert found is None or found[0] == "a" * 64
