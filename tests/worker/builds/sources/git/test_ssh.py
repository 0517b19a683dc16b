"""Sources are fetched over SSH from a real sshd, with one deploy key and a pinned host key."""

import asyncio
import base64
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pydantic import SecretStr

from shared.errors import RefusedNetworkError, SourceError
from shared.faults import FaultCode
from shared.jobs.sources import GitSource
from shared.networks import parse_networks
from shared.ssh.keys import DeployKey
from tests.fakes.git import GitServer
from tests.fakes.git_ssh import SshGitServer, open_ssh_git_server
from tests.fakes.sockets import be_silent, open_socket
from worker.builds.sources.git.checkout import Checkout, fetch
from worker.builds.sources.git.origin import open_origin
from worker.builds.sources.limits import Limits

NETWORKS = parse_networks("loopback")
FILES = {"Dockerfile": b"FROM scratch\n", "app/main.py": b"print()\n"}
LFS = b"*.bin filter=lfs diff=lfs merge=lfs -text\n"
KEY = DeployKey.generate()


@pytest.fixture
async def ssh(tmp_path: Path) -> AsyncIterator[SshGitServer]:
    (tmp_path / "ssh").mkdir()
    async with open_ssh_git_server(tmp_path / "ssh") as server:
        server.authorize(KEY)
        yield server


def source_of(server: SshGitServer, name: str = "app", **fields: object) -> GitSource:
    given = {"url": server.url(name), "host_keys": (server.fingerprint,), **fields}
    return GitSource.model_validate(given)


async def get(
    source: GitSource, directory: Path, key: DeployKey | None = KEY, *, allow_missing: bool = False
) -> Checkout:
    secret = SecretStr(key.to_text()) if key else None
    async with asyncio.timeout(30):
        return await fetch(
            source, secret, directory, NETWORKS, Limits(), allow_missing=allow_missing
        )


async def fail(source: GitSource, directory: Path, key: DeployKey | None = KEY) -> SourceError:
    with pytest.raises(SourceError) as caught:
        await get(source, directory, key)
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize(
    "key",
    [
        KEY,
        DeployKey(rsa.generate_private_key(65537, 2048)),
        DeployKey(ec.generate_private_key(ec.SECP256R1())),
        DeployKey(ec.generate_private_key(ec.SECP521R1())),
    ],
    ids=["ed25519", "rsa", "ecdsa-256", "ecdsa-521"],
)
async def test_a_repository_is_fetched_with_each_kind_of_key(
    ssh: SshGitServer, directory: Path, key: DeployKey
) -> None:
    ssh.authorize(key)
    commit = ssh.create("app").commit(FILES)

    found = await get(source_of(ssh), directory, key)

    assert found.commit == commit
    assert (found.directory / "app/main.py").read_bytes() == b"print()\n"


@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
async def test_a_host_is_recognized_by_each_kind_of_key(
    ssh: SshGitServer, directory: Path, kind: str
) -> None:
    await ssh.stop()
    ssh.make_host_key(kind)
    await ssh.start()
    commit = ssh.create("app").commit(FILES)

    assert (await get(source_of(ssh), directory)).commit == commit


async def test_branches_and_commits_behind_the_tip_are_found_over_ssh(
    ssh: SshGitServer, tmp_path: Path
) -> None:
    repository = ssh.create("app")
    first = repository.commit(FILES)
    second = repository.commit({"new": b"1"}, branch="feature/x")
    sources = (source_of(ssh, branch="feature/x"), source_of(ssh, commit=first))

    found = [
        (await get(source, tmp_path / str(index))).commit for index, source in enumerate(sources)
    ]

    assert found == [second, first]


async def test_a_wrong_key_is_denied_and_a_missing_repository_is_not_found(
    ssh: SshGitServer, tmp_path: Path
) -> None:
    ssh.create("app").commit(FILES)

    denied = await fail(source_of(ssh), tmp_path / "1", DeployKey.generate())
    missing = await fail(source_of(ssh, "none"), tmp_path / "2")
    without = await fail(source_of(ssh), tmp_path / "3", None)

    assert denied.code == without.code == FaultCode.SOURCE_DENIED
    assert "does not accept the deploy key" in denied.message
    assert missing.code == FaultCode.SOURCE_NOT_FOUND
    assert not (denied.retryable or missing.retryable)


async def test_an_unknown_host_is_shown_and_not_trusted(ssh: SshGitServer, directory: Path) -> None:
    ssh.create("app").commit(FILES)

    error = await fail(source_of(ssh, host_keys=()), directory)

    assert error.code == FaultCode.HOST_KEY_NOT_PINNED
    assert ssh.fingerprint in error.message
    assert "customGitHostKey" in error.remedy
    assert not directory.joinpath("tree").exists()


async def test_a_changed_host_key_has_a_code_of_its_own_and_is_not_retried(
    ssh: SshGitServer, directory: Path
) -> None:
    ssh.create("app").commit(FILES)
    pinned = source_of(ssh)
    await ssh.stop()
    ssh.make_host_key()
    await ssh.start()

    error = await fail(pinned, directory)

    assert (error.code, error.retryable) == (FaultCode.HOST_KEY_CHANGED, False)
    assert ssh.fingerprint in error.message
    assert pinned.host_keys[0] in error.message


async def test_ssh_itself_verifies_the_host_key_before_the_key_is_used(
    ssh: SshGitServer, directory: Path
) -> None:
    ssh.create("app").commit(FILES)
    source = source_of(ssh)
    secret = SecretStr(KEY.to_text())
    async with open_origin(source, secret, NETWORKS, directory / "ssh") as origin:
        other = DeployKey.generate().public_line
        known_hosts = directory / "ssh/known_hosts"
        await asyncio.to_thread(known_hosts.write_text, f"git-server {other}\n")

        with pytest.raises(SourceError) as caught:
            await origin.fetch_refs(source.url)

        assert origin.session
        assert origin.session.agent.listings == origin.session.agent.signatures == 0
    assert caught.value.code == FaultCode.SOURCE_UNREACHABLE


async def test_a_submodule_of_the_same_host_is_fetched_and_another_host_gets_no_key(
    ssh: SshGitServer, server: GitServer, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    pinned = ssh.create("lib").commit({"lib": b"1"})
    public = server.create("public").commit({"public": b"1"})
    async with open_ssh_git_server(tmp_path / "elsewhere") as elsewhere:
        elsewhere.authorize(KEY)
        other = elsewhere.create("other").commit({"other": b"1"})
        ssh.create("app").commit(
            FILES,
            submodules={
                "same": ("../lib", pinned),
                "full": (ssh.url("lib"), pinned),
                "web": (server.url("public"), public),
                "other": (elsewhere.url("other"), other),
            },
        )

        found = await get(source_of(ssh), tmp_path / "fetched", allow_missing=True)

    for name in ("same/lib", "full/lib", "web/public"):
        assert (found.directory / name).exists()
    [missing] = found.missing
    assert "submodule other" in missing
    assert f"127.0.0.1:{elsewhere.port}, and the deploy key is only" in missing
    assert not server.fake.authorizations


async def test_a_submodule_behind_ssh_of_a_source_without_ssh_is_named(
    ssh: SshGitServer, server: GitServer, directory: Path
) -> None:
    pinned = ssh.create("lib").commit({"lib": b"1"})
    server.create("app").commit(FILES, submodules={"lib": (ssh.url("lib"), pinned)})

    error = await fail(GitSource(url=server.url("app")), directory, None)

    assert error.code == FaultCode.SOURCE_INCOMPLETE
    assert "behind SSH at 127.0.0.1" in error.message
    assert error.remedy.startswith("Give it an https:// URL or a relative one")


async def test_lfs_files_are_fetched_with_the_login_that_the_host_gives_over_ssh(
    ssh: SshGitServer, server: GitServer, tmp_path: Path
) -> None:
    content = os.urandom(1000)
    pointer = server.keep(content)
    server.create("app", is_private=True)
    login = base64.b64encode(b"x:glpat-s3cret-token-77").decode()
    ssh.create("app").commit({**FILES, ".gitattributes": LFS, "a.bin": pointer})

    without = await fail(source_of(ssh), tmp_path / "without")
    ssh.offer_lfs(f"{server.url('app')}/info/lfs", f"Basic {login}")
    found = await get(source_of(ssh), tmp_path / "with")

    assert without.code == FaultCode.SOURCE_INCOMPLETE
    assert "offers no LFS files over SSH" in without.message
    assert (found.directory / "a.bin").read_bytes() == content


async def test_the_deploy_key_is_in_no_file_and_on_no_command_line(
    ssh: SshGitServer, directory: Path
) -> None:
    ssh.create("app").commit({"big": os.urandom(6_000_000)})
    canaries = [line for line in KEY.to_text().splitlines()[2:-1] if len(line) > 20]
    seen: list[str] = []
    fetching = asyncio.create_task(get(source_of(ssh), directory))

    while not fetching.done():
        seen += await asyncio.to_thread(_readable, directory)
    await fetching

    assert any("GIT_SSH_COMMAND" in text for text in seen)
    assert any("-oStrictHostKeyChecking=yes" in text for text in seen)
    assert canaries
    assert not any(canary in text for canary in canaries for text in seen)
    assert not (directory / "ssh/agent").exists()


async def test_a_forbidden_address_and_a_silent_server_are_named(
    ssh: SshGitServer, directory: Path
) -> None:
    ssh.create("app").commit(FILES)
    secret = SecretStr(KEY.to_text())

    with pytest.raises(RefusedNetworkError):
        await fetch(source_of(ssh), secret, directory, parse_networks("public"))
    async with open_socket(be_silent) as address:
        url = f"ssh://git@{address}/app"
        source = GitSource(url=url, host_keys=("SHA256:x",))
        with pytest.raises(SourceError) as caught:
            await fetch(source, secret, directory, NETWORKS, Limits(time=Limits().time / 900))
    await ssh.stop()
    away = await fail(source_of(ssh), directory)

    assert caught.value.code == FaultCode.TRANSFER_TIMEOUT
    assert (away.code, away.retryable) == (FaultCode.SOURCE_UNREACHABLE, True)


def _readable(directory: Path) -> list[str]:
    """Return the files of a fetch, and all command lines and environments."""
    paths = [*Path("/proc").glob("[0-9]*/cmdline"), *Path("/proc").glob("[0-9]*/environ")]
    # git removes folders meanwhile; the next look sees the others.
    with contextlib.suppress(FileNotFoundError):
        paths.extend(directory.rglob("*"))
    readable = []
    for path in paths:
        with contextlib.suppress(OSError):
            readable.append(path.read_text(errors="replace"))
    return readable
