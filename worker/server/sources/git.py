"""Sources out of a git repository: one commit, shallow, by the ``git`` command.

The repository is asked what it has before git runs, and its files are counted and weighed before
one of them is written.
"""

import asyncio
import contextlib
import os
import shutil
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from shared.coroutines import end
from shared.errors import SetupError, SourceError
from shared.faults import FaultCode
from shared.jobs.commands import GitSource
from shared.networks import RegistryNetworks
from worker.server.sources.command import Git, GitError
from worker.server.sources.limits import LIMITS, Limits
from worker.server.sources.refs import Offer, ask, open_remote

LOOK_SECONDS = 0.25
MIN_FREE_BYTES = 4 * 1024 * 1024

_HEX = frozenset("0123456789abcdef")


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
    git = Git(directory / "git", directory / "tree", offer.remote)
    git.tree.mkdir(parents=True)
    await git.run("init", "--quiet")
    url = offer.remote.url
    fetching = git.run("fetch", "--quiet", "--depth=1", "--no-tags", "--", url, commit)
    try:
        await _within(limits, git.folder, fetching)
        await _require_size(git, commit, limits)
        await git.run("checkout", "--quiet", "--detach", "--force", commit)
    except GitError as error:
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


async def _require_size(git: Git, commit: str, limits: Limits) -> None:
    """Before a byte is written: a small repository can unfold to anything."""
    files = total = 0
    async for entry in git.lines("ls-tree", "-r", "-l", "-z", "--full-tree", commit):
        size = entry.partition(b"\t")[0].split()[-1]
        files, total = files + 1, total + (int(size) if size.isdigit() else 0)
        limits.require("the repository", total_bytes=total, files=files)


def _as_source_error(error: GitError, offer: Offer, commit: str, directory: Path) -> SourceError:
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
