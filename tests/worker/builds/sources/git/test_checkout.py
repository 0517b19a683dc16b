"""Sources are fetched from a real git repository over HTTP."""

import asyncio
import contextlib
import os
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from shared.errors import RefusedNetworkError, SourceError
from shared.faults import FaultCode
from shared.jobs.sources import GitSource
from shared.networks import parse_networks
from tests.fakes.git import TOKEN, USER, GitServer
from tests.fakes.sockets import be_silent, open_socket
from tests.fakes.web import open_fake, says
from tests.waiting import wait_until
from worker.builds.sources.git.checkout import Checkout, fetch
from worker.builds.sources.git.refs import parse_refs
from worker.builds.sources.limits import Limits

NETWORKS = parse_networks("public,private,loopback")
FILES = {"Dockerfile": b"FROM scratch\n", "app/main.py": b"print()\n"}


async def get(
    source: GitSource, directory: Path, token: str | None = None, limits: Limits | None = None
) -> Checkout:
    secret = SecretStr(token) if token else None
    async with asyncio.timeout(20):
        return await fetch(source, secret, directory, NETWORKS, limits or Limits())


async def fail(
    source: GitSource, directory: Path, token: str | None = None, limits: Limits | None = None
) -> SourceError:
    with pytest.raises(SourceError) as caught:
        await get(source, directory, token, limits)
    return caught.value


async def test_the_head_is_fetched_by_default(server: GitServer, directory: Path) -> None:
    commit = server.create("app").commit(FILES)

    found = await get(GitSource(url=server.url("app")), directory)

    assert found.commit == commit
    assert (found.directory / "app/main.py").read_bytes() == b"print()\n"
    assert not (found.directory / ".git").exists()


async def test_a_branch_a_tag_and_a_commit_are_found(server: GitServer, tmp_path: Path) -> None:
    repository = server.create("app")
    first = repository.commit(FILES)
    repository.tag("v1")
    second = repository.commit({"new": b"1"}, branch="feature/x")
    sources = [
        GitSource(url=server.url("app"), branch="main"),
        GitSource(url=server.url("app"), branch="feature/x"),
        GitSource(url=server.url("app"), branch="v1"),
        GitSource(url=server.url("app"), commit=first.upper()),
    ]

    found = [
        (await get(source, tmp_path / str(index))).commit for index, source in enumerate(sources)
    ]

    assert found == [first, second, first, first]


async def test_a_commit_that_no_branch_points_to_is_fetched(
    server: GitServer, directory: Path
) -> None:
    repository = server.create("app")
    old = repository.commit(FILES)
    repository.commit({"new": b"1"})

    found = await get(GitSource(url=server.url("app"), commit=old), directory)

    assert found.commit == old
    assert not (found.directory / "new").exists()


async def test_a_commit_behind_the_tip_is_fetched_from_a_server_without_single_commits(
    server: GitServer, tmp_path: Path
) -> None:
    server.gives_single_commits = False
    repository = server.create("app")
    old = repository.commit(FILES)
    for number in range(60):
        repository.commit({"new": b"%d" % number}, branch="feature")

    found = await get(GitSource(url=server.url("app"), commit=old), tmp_path / "found")
    missing = await fail(GitSource(url=server.url("app"), commit="0" * 39 + "1"), tmp_path / "none")

    assert found.commit == old
    assert not (found.directory / "new").exists()
    assert missing.code == FaultCode.REVISION_NOT_FOUND


async def test_a_repository_with_sha_256_is_fetched(server: GitServer, directory: Path) -> None:
    commit = server.create("app", object_format="sha256").commit(FILES)

    found = await get(GitSource(url=server.url("app")), directory)

    assert len(commit) == 64
    assert found.commit == commit
    assert (found.directory / "app/main.py").exists()


@pytest.mark.parametrize(
    ("branches", "chosen"), [(["trunk"], "trunk"), (["a", "master"], "master"), (["a", "b"], "")]
)
async def test_a_default_branch_is_found_where_head_names_none(
    server: GitServer, directory: Path, branches: list[str], chosen: str
) -> None:
    repository = server.create("app")
    commits = {name: repository.commit({name: b""}, branch=name) for name in branches}
    source = GitSource(url=server.url("app"))

    if chosen:
        found = await get(source, directory)
        assert found.commit == commits[chosen]
    else:
        error = await fail(source, directory)
        assert error.code == FaultCode.REVISION_NOT_FOUND
        assert "has no default branch; its branches are a, b" in error.message


async def test_a_private_repository_opens_with_its_token_only(
    server: GitServer, directory: Path
) -> None:
    server.create("app", is_private=True).commit(FILES)
    source = GitSource(url=server.url("app"), username=USER)

    nobody = await fail(source, directory)
    wrong = await fail(source, directory, "wr0ng-token")
    found = await get(source, directory, TOKEN)

    assert nobody.code == FaultCode.SOURCE_NOT_FOUND
    assert wrong.code == FaultCode.SOURCE_DENIED
    assert "wr0ng-token" not in f"{wrong!r}{wrong.fault()!r}"
    assert found.commit


async def test_the_token_is_on_no_command_line_and_in_no_file(
    server: GitServer, directory: Path
) -> None:
    server.create("app", is_private=True).commit({"big": os.urandom(6_000_000)})
    seen: list[str] = []
    fetching = asyncio.create_task(
        get(GitSource(url=server.url("app"), username=USER), directory, TOKEN)
    )

    while not fetching.done():
        seen += await asyncio.to_thread(_readable, directory)
    await fetching

    assert any("fetch\0--quiet\0--depth=1" in readable for readable in seen)
    assert not any(TOKEN in readable for readable in seen)
    login = server.fake.authorizations[-1].removeprefix("Basic ")
    assert not any(login in readable for readable in seen)


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ({"url": "none"}, FaultCode.SOURCE_NOT_FOUND),
        ({"branch": "none"}, FaultCode.REVISION_NOT_FOUND),
        ({"commit": "a" * 40}, FaultCode.REVISION_NOT_FOUND),
        ({"commit": "abc1234"}, FaultCode.REVISION_NOT_FOUND),
        ({"commit": "--upload-pack=x"}, FaultCode.REVISION_NOT_FOUND),
    ],
)
async def test_a_missing_revision_is_named(
    server: GitServer, directory: Path, source: dict[str, str], code: FaultCode
) -> None:
    server.create("app").commit(FILES)
    url = server.url(source.get("url", "app"))

    error = await fail(GitSource.model_validate({**source, "url": url}), directory)

    assert error.code == code
    assert error.remedy
    assert not error.retryable


async def test_an_empty_repository_has_no_commit_yet(server: GitServer, directory: Path) -> None:
    server.create("app")

    error = await fail(GitSource(url=server.url("app")), directory)

    assert error.code == FaultCode.REVISION_NOT_FOUND


@pytest.mark.parametrize(
    "url",
    [
        "git@github.com:a b.git",
        "ssh://github.com/a",
        "file:///etc",
        "/etc",
        "ext::sh -c x",
        "https://",
        "https://a:b@127.0.0.1/x",
        "http://127.0.0.1:99999/x",
        "http://127.0.0.1/a b",
        "--upload-pack=x",
    ],
)
async def test_only_a_plain_url_is_accepted(directory: Path, url: str) -> None:
    assert (await fail(GitSource(url=url), directory)).code == FaultCode.SOURCE_INVALID


async def test_a_forbidden_address_gets_no_request(server: GitServer, directory: Path) -> None:
    source = GitSource(url=server.url("app"))

    with pytest.raises(RefusedNetworkError):
        await fetch(source, None, directory, parse_networks("public"))

    assert not server.fake.requests


async def test_a_token_is_not_sent_over_the_network_without_tls(directory: Path) -> None:
    error = await fail(GitSource(url="http://10.255.255.1/app"), directory, TOKEN)

    assert error.code == FaultCode.SOURCE_INVALID
    assert "https" in error.remedy


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://no-such-host.invalid/a", {FaultCode.DNS_NOT_FOUND, FaultCode.DNS_FAILURE}),
        ("http://127.0.0.1:9/a", {FaultCode.SOURCE_UNREACHABLE}),
    ],
)
async def test_an_unknown_host_is_named(directory: Path, url: str, code: set[FaultCode]) -> None:
    assert (await fail(GitSource(url=url), directory)).code in code


async def test_https_to_a_plain_server_is_reported(server: GitServer, directory: Path) -> None:
    url = server.url("app").replace("http", "https")

    assert (await fail(GitSource(url=url), directory)).code == FaultCode.TLS_NOT_OFFERED


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (200, "text/html", FaultCode.SOURCE_NOT_FOUND),
        (404, "text/plain", FaultCode.SOURCE_NOT_FOUND),
        (429, "text/plain", FaultCode.RATE_LIMITED),
        (503, "text/plain", FaultCode.SOURCE_UNREACHABLE),
        (200, "application/x-git-upload-pack-advertisement", FaultCode.SOURCE_NOT_FOUND),
    ],
)
async def test_each_answer_of_a_server_has_its_code(
    directory: Path, status: int, kind: str, code: FaultCode
) -> None:
    async with open_fake(says(status, text="<html>", kind=kind)) as fake:
        error = await fail(GitSource(url=f"http://{fake.host}/app"), directory)

    assert error.code == code


async def test_only_a_redirect_within_the_host_is_followed(
    server: GitServer, directory: Path
) -> None:
    server.create("app.git").commit(FILES)
    server.moved = {"app": "/app.git", "away": "http://elsewhere.invalid/app", "loop": "/loop"}

    found = await get(GitSource(url=server.url("app")), directory)
    codes = [
        (await fail(GitSource(url=server.url(name)), directory, TOKEN)).code
        for name in ("away", "loop")
    ]

    assert found.commit
    assert codes == [FaultCode.SOURCE_NOT_FOUND] * 2


@pytest.mark.parametrize(
    ("files", "limits"),
    [
        ({"big": os.urandom(3_000_000)}, Limits(total_bytes=1_000_000)),
        ({"zeros": b"\0" * 3_000_000}, Limits(total_bytes=1_000_000)),
        ({str(number): b"x" for number in range(20)}, Limits(files=10)),
    ],
    ids=["on its way", "unfolded", "many files"],
)
async def test_a_repository_beyond_the_limits_is_refused(
    server: GitServer, directory: Path, files: dict[str, bytes], limits: Limits
) -> None:
    server.create("app").commit(files)

    error = await fail(GitSource(url=server.url("app")), directory, limits=limits)

    assert error.code == FaultCode.SOURCE_TOO_LARGE
    assert not any((directory / "tree").iterdir())


async def test_a_fetch_times_out_and_leaves_no_process(directory: Path) -> None:
    async with open_socket(be_silent) as address:
        limits = Limits(time=timedelta(milliseconds=300))
        error = await fail(GitSource(url=f"http://{address}/app"), directory, limits=limits)

    assert error.code == FaultCode.TRANSFER_TIMEOUT


async def test_cancelling_a_fetch_ends_git_and_its_helpers(
    server: GitServer, directory: Path
) -> None:
    server.create("app").commit({"big": os.urandom(10_000_000)})
    fetching = asyncio.create_task(get(GitSource(url=server.url("app")), directory))
    await wait_until(lambda: _processes(directory) > 0)

    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching

    assert _processes(directory) == 0


async def test_hooks_and_filters_do_not_run_and_links_stay_links(
    server: GitServer, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker, hook, config = (tmp_path / name for name in ("ran", "post-checkout", "config"))
    hook.write_text(f"#!/bin/sh\ntouch {marker}\n")
    hook.chmod(0o755)
    config.write_text(f'[core]\nhooksPath = {tmp_path}\n[filter "evil"]\nsmudge = touch {marker}\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    server.create("app").commit(
        {
            ".gitattributes": b"* filter=evil\n",
            ".gitmodules": f'[submodule "a"]\n\tpath = a\n\turl = file://{tmp_path}\n'.encode(),
            "plain": b"1",
        },
        links={"link": "/etc/passwd"},
    )

    found = await get(GitSource(url=server.url("app")), directory)

    assert not marker.exists()
    assert (found.directory / "link").is_symlink()
    assert (found.directory / "plain").read_bytes() == b"1"


@given(st.binary(max_size=200))
def test_no_advertisement_breaks_its_reader(garbage: bytes) -> None:
    refs = {}

    with contextlib.suppress(SourceError):
        refs = parse_refs(garbage)

    assert all(len(commit) in {40, 64} for commit in refs.values())


NAMES = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=20)


@given(st.dictionaries(NAMES, st.binary(min_size=20, max_size=20).map(bytes.hex), max_size=5))
def test_an_advertisement_is_read_back(refs: dict[str, str]) -> None:
    lines = [f"{commit} {name}\0caps\n".encode() for name, commit in refs.items()]
    packets = b"".join(b"%04x%b" % (len(line) + 4, line) for line in lines)

    assert parse_refs(b"001e# service=git-upload-pack\n0000" + packets + b"0000") == refs


def _readable(directory: Path) -> list[str]:
    """Return all that others can read while git runs: command lines and the repository's files."""
    readable = []
    for path in [*Path("/proc").glob("[0-9]*/cmdline"), *directory.glob("git/*")]:
        with contextlib.suppress(OSError):
            readable.append(path.read_text(errors="replace"))
    return readable


def _processes(directory: Path) -> int:
    """Return the number of processes whose repository is in the directory."""
    found = 0
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            found += f"GIT_DIR={directory}".encode() in path.read_bytes()
    return found
