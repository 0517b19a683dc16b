"""Sources out of a git repository: one commit, shallow, by the ``git`` command.

What is fetched is somebody else's. So git gets no configuration but ours, no hooks, no filters, no
submodules, no other protocol, no terminal; the login goes through the environment, which only our
own user can read, and neither onto a command line nor onto the disk.
"""

import asyncio
import contextlib
import os
import shutil
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from shared.coroutines import end
from shared.errors import SetupError, SourceError
from shared.faults import FaultCode
from shared.jobs.commands import GitSource
from shared.networks import RegistryNetworks
from worker.server.sources.limits import LIMITS, Limits
from worker.server.sources.refs import Offer, Remote, ask, open_remote

LOOK_SECONDS = 0.25
MIN_FREE_BYTES = 4 * 1024 * 1024
MAX_WORDS = 300

_HEX = frozenset("0123456789abcdef")
_SETTINGS = {
    "core.hooksPath": os.devnull,
    "core.attributesFile": os.devnull,
    "core.fsmonitor": "false",
    "core.autocrlf": "false",
    "credential.helper": "",
    "fetch.recurseSubmodules": "false",
    "submodule.recurse": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "http.followRedirects": "false",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "60",
    "protocol.version": "2",
    "advice.detachedHead": "false",
}


@dataclass(frozen=True)
class Checkout:
    """The files of one commit; ``directory`` holds nothing of git itself."""

    directory: Path
    commit: str


async def fetch(
    source: GitSource,
    token: SecretStr | None,
    directory: Path,
    networks: RegistryNetworks,
    limits: Limits = LIMITS,
) -> Checkout:
    """Fetch the commit that ``source`` names into ``directory``, which is empty.

    Raises:
        SourceError: ``revision_not_found``, ``source_too_large``, ``transfer_timeout``, or what
            `worker.server.sources.refs` finds wrong with the repository.
        SetupError: there is no git on this server.
    """
    if shutil.which("git") is None:
        raise SetupError("git is not installed", remedy="Install the package git on this server.")
    limit = asyncio.timeout(limits.time.total_seconds())
    try:
        async with limit:
            remote = await open_remote(source.url, source.username, token, networks)
            offer = await ask(remote)
            return await _fetch(offer, source, directory, limits)
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise SourceError(
            FaultCode.TRANSFER_TIMEOUT,
            f"{source.url} was not fetched within {limits.time.total_seconds():g} s",
        ) from error


async def _fetch(offer: Offer, source: GitSource, directory: Path, limits: Limits) -> Checkout:
    commit = choose_commit(offer, source)
    git = _Git(directory / "git", directory / "tree", offer.remote)
    git.tree.mkdir(parents=True)
    await git.run("init", "--quiet")
    url = offer.remote.url
    fetching = git.run("fetch", "--quiet", "--depth=1", "--no-tags", "--", url, commit)
    try:
        await _within(limits, git.folder, fetching)
        await _require_size(git, commit, limits)
        await git.run("checkout", "--quiet", "--detach", "--force", commit)
    except _GitError as error:
        raise _as_source_error(error, offer, commit, directory) from error
    await asyncio.to_thread(shutil.rmtree, git.folder)
    return Checkout(git.tree, commit)


def choose_commit(offer: Offer, source: GitSource) -> str:
    """The commit to fetch: the one that is named, or what a branch or tag points to now.

    Raises:
        SourceError: ``revision_not_found``.
    """
    where = offer.remote.url
    if source.commit:
        commit = source.commit.lower()
        if len(commit) in {40, 64} and set(commit) <= _HEX:
            return commit
        raise SourceError(
            FaultCode.REVISION_NOT_FOUND,
            f"{source.commit[:80]!r} is no commit of {where}",
            remedy="Give all 40 signs of the commit's id.",
        )
    names = [source.branch or "HEAD"]
    if source.branch:
        tag = f"refs/tags/{source.branch}"
        names = [f"refs/heads/{source.branch}", f"{tag}^{{}}", tag]
    found = next((offer.refs[name] for name in names if name in offer.refs), None)
    if found is None:
        what = f"no branch or tag {source.branch[:200]!r}" if source.branch else "no commit yet"
        raise SourceError(FaultCode.REVISION_NOT_FOUND, f"{where} has {what}")
    return found


class _GitError(Exception):
    """git ended badly; ``words`` are its last ones, without anything of ours in them."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words = words


@dataclass(frozen=True)
class _Git:
    """git in a folder of its own, with a work tree beside it."""

    folder: Path
    tree: Path
    remote: Remote

    async def run(self, *arguments: str) -> None:
        """Raises `_GitError` unless git succeeds."""
        async with self._running(*arguments) as process:
            _, words = await asyncio.gather(_last(process.stdout), _last(process.stderr))
            await self._require_success(process, words)

    async def lines(self, *arguments: str) -> AsyncIterator[bytes]:
        """What git prints, entry by entry, each ended by a zero byte."""
        async with self._running(*arguments) as process:
            reading = asyncio.create_task(_last(process.stderr))
            try:
                assert process.stdout  # noqa: S101 - it is piped
                with contextlib.suppress(asyncio.IncompleteReadError):
                    while True:
                        yield (await process.stdout.readuntil(b"\0"))[:-1]
                await self._require_success(process, await reading)
            finally:
                reading.cancel()

    @asynccontextmanager
    async def _running(self, *arguments: str) -> AsyncIterator[Process]:
        process = await asyncio.create_subprocess_exec(
            "git",
            *arguments,
            cwd=self.tree,
            env=self._environment(),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            # Also its helpers, which talk to the network: they are in its group.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    async def _require_success(self, process: Process, words: str) -> None:
        if await process.wait():
            raise _GitError(words)

    def _environment(self) -> Mapping[str, str]:
        settings = {**_SETTINGS, **self._pin(), **self._login()}
        numbered = {}
        for index, (key, value) in enumerate(settings.items()):
            numbered[f"GIT_CONFIG_KEY_{index}"] = key
            numbered[f"GIT_CONFIG_VALUE_{index}"] = value
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.folder),
            "LC_ALL": "C",
            "GIT_DIR": str(self.folder),
            "GIT_WORK_TREE": str(self.tree),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_COUNT": str(len(settings)),
            "GIT_ALLOW_PROTOCOL": "http:https",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "true",
            "GIT_LFS_SKIP_SMUDGE": "1",
            **numbered,
        }

    def _pin(self) -> Mapping[str, str]:
        """The addresses that were checked are the ones that are used."""
        if self.remote.hostname in self.remote.addresses:
            return {}
        address = ",".join(f"[{one}]" if ":" in one else one for one in self.remote.addresses)
        return {"http.curloptResolve": f"{self.remote.hostname}:{self.remote.port}:{address}"}

    def _login(self) -> Mapping[str, str]:
        if self.remote.authorization is None:
            return {}
        header = f"Authorization: {self.remote.authorization.get_secret_value()}"
        return {f"http.{self.remote.url}.extraHeader": header}


async def _last(stream: asyncio.StreamReader | None) -> str:
    """The end of what is printed; a server may have git print without end."""
    kept = b""
    while stream is not None and (chunk := await stream.read(4096)):
        kept = (kept + chunk)[-MAX_WORDS:]
    return " ".join(kept.decode(errors="replace").split())


async def _within(limits: Limits, folder: Path, work: Coroutine[Any, Any, None]) -> None:
    """Do the work for as long as what it puts into the folder is within the limits.

    Raises:
        SourceError: ``source_too_large``.
    """
    working = asyncio.create_task(work)
    try:
        while not working.done():
            await asyncio.wait({working}, timeout=LOOK_SECONDS)
            size = await asyncio.to_thread(_size, folder)
            limits.require("the repository", total_bytes=size)
        await working
    finally:
        await end(working)


def _size(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += Path(place, name).lstat().st_size
    return total


async def _require_size(git: _Git, commit: str, limits: Limits) -> None:
    """Before a byte is written: a small repository can unfold to anything."""
    files = total = 0
    async for entry in git.lines("ls-tree", "-r", "-l", "-z", "--full-tree", commit):
        size = entry.partition(b"\t")[0].split()[-1]
        files, total = files + 1, total + (int(size) if size.isdigit() else 0)
        limits.require("the repository", total_bytes=total, files=files)


def _as_source_error(error: _GitError, offer: Offer, commit: str, directory: Path) -> SourceError:
    """Decided by what is known; git's words are only shown."""
    where = offer.remote.url
    if shutil.disk_usage(directory).free < MIN_FREE_BYTES:
        return SourceError(FaultCode.DISK_FULL, f"{where}: no room for the sources")
    if commit not in offer.refs.values():
        return SourceError(
            FaultCode.REVISION_NOT_FOUND, f"{where} gives no commit {commit}", evidence=error.words
        )
    return SourceError(
        FaultCode.SOURCE_UNREACHABLE, f"{where} was not fetched", evidence=error.words
    )
