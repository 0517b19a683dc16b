"""Sources out of a git repository: one commit, shallow, with its submodules and LFS files.

The repository is asked what it has before git runs, and its files are counted and weighed before
one of them is written. What belongs to it is fetched by the same rules: checked addresses, http or
https, limits for all of it together; the login goes to the repository's own origin alone.
"""

import asyncio
import contextlib
import os
import shutil
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from shared.coroutines import end
from shared.errors import RefusedNetworkError, SetupError, SourceError
from shared.faults import FaultCode
from shared.jobs.commands import GitSource
from shared.networks import RegistryNetworks
from worker.builds.sources.git.command import Git, GitError
from worker.builds.sources.git.lfs import fetch_files, find_endpoint
from worker.builds.sources.git.lfs_pointers import MAX_POINTER_BYTES, find_pointers
from worker.builds.sources.git.refs import Offer, Remote, ask, open_remote
from worker.builds.sources.git.submodules import (
    GITMODULES,
    Submodule,
    is_same_origin,
    read_submodules,
    resolve_url,
)
from worker.builds.sources.limits import LIMITS, Limits
from worker.builds.sources.unpacker import MAX_DEPTH, MAX_PATH

SIZE_CHECK_SECONDS = 0.25
MIN_FREE_BYTES = 4 * 1024 * 1024
MAX_GITMODULES_BYTES = 256 * 1024
SHOWN = 20

_HEX = frozenset("0123456789abcdef")
_LINK, _FILES = b"160000", {b"100644", b"100755"}
_ENDING = {FaultCode.SOURCE_TOO_LARGE, FaultCode.DISK_FULL, FaultCode.SOURCE_INCOMPLETE}


@dataclass(frozen=True)
class Checkout:
    """The files of one commit; ``directory`` holds nothing of git itself.

    ``missing`` is what could not be fetched, with the reasons; ``notes`` what was besides.
    """

    directory: Path
    commit: str
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


async def fetch(
    source: GitSource,
    token: SecretStr | None,
    directory: Path,
    networks: RegistryNetworks,
    limits: Limits = LIMITS,
    *,
    allow_missing: bool = False,
) -> Checkout:
    """Fetch the commit that ``source`` names into ``directory``, which is empty.

    Raises:
        SourceError: ``revision_not_found``, ``source_too_large``, ``transfer_timeout``, or what
            `worker.builds.sources.git.refs` finds wrong with the repository;
            ``source_incomplete``, a submodule or an LFS file cannot be had, unless that is allowed.
        SetupError: there is no git on this server.
    """
    if shutil.which("git") is None:
        raise SetupError("git is not installed", remedy="Install the package git on this server.")
    limit = asyncio.timeout(limits.time.total_seconds())
    try:
        async with limit:
            fetching = _Fetching(source, token, directory, networks, limits)
            checkout = await fetching.run()
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise SourceError(
            FaultCode.TRANSFER_TIMEOUT,
            f"{source.url} was not fetched within {limits.time.total_seconds():g} s",
        ) from error
    if checkout.missing and not allow_missing:
        raise SourceError(
            FaultCode.SOURCE_INCOMPLETE, f"{source.url} lacks {'; '.join(checkout.missing)}"
        )
    return checkout


@dataclass
class _Tree:
    """What a commit has besides plain files: links to submodules, and what may be a pointer."""

    links: list[tuple[str, str]] = field(default_factory=list)
    small: list[str] = field(default_factory=list)


@dataclass
class _Fetching:
    """One fetch with all that belongs to it; its limits hold for that together."""

    source: GitSource
    token: SecretStr | None
    directory: Path
    networks: RegistryNetworks
    limits: Limits
    repositories: int = 0
    fetched_bytes: int = 0
    total_bytes: int = 0
    files: int = 0
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    async def run(self) -> Checkout:
        offer = await ask(await self._open(self.source.url))
        commit = choose_commit(offer, self.source)
        tree = self.directory / "tree"
        tree.mkdir(parents=True)
        await self._fetch(offer, commit, tree)
        return Checkout(tree, commit, shorten(self.missing), shorten(self.notes))

    async def _open(self, url: str) -> Remote:
        """The login is for the origin of the source itself."""
        token = self.token if is_same_origin(url, self.source.url) else None
        return await open_remote(url, self.source.username, token, self.networks)

    async def _fetch(
        self, offer: Offer, commit: str, tree: Path, prefix: str = "", nesting: int = 0
    ) -> None:
        """Fetch one repository into ``tree``, which is ``prefix`` in that of the source."""
        git = Git(self.directory / f"git{self.repositories or ''}", tree, offer.remote)
        self.repositories += 1
        await git.run("init", "--quiet")
        url = offer.remote.url
        fetching = git.run("fetch", "--quiet", "--depth=1", "--no-tags", "--", url, commit)
        try:
            await self._within_limits(git.folder, fetching)
            found = await self._weigh(git, commit)
            await git.run("checkout", "--quiet", "--detach", "--force", commit)
            submodules = await read_submodules(git, commit, found.links)
            await self._fetch_lfs(git, commit, found.small, prefix)
        except GitError as error:
            raise _as_source_error(error, offer, commit, self.directory) from error
        await asyncio.to_thread(shutil.rmtree, git.folder)
        for submodule in submodules:
            await self._fetch_submodule(submodule, offer, tree, prefix, nesting)

    async def _fetch_submodule(
        self, submodule: Submodule, parent: Offer, tree: Path, prefix: str, nesting: int
    ) -> None:
        path = f"{prefix}{submodule.path}"
        if nesting == self.limits.nesting or self.repositories >= self.limits.repositories:
            raise SourceError(
                FaultCode.SOURCE_TOO_LARGE, f"{self.source.url} has too many submodules"
            )
        place = tree / submodule.path
        if not await asyncio.to_thread(_is_own_place, tree, submodule.path):
            raise SourceError(FaultCode.SOURCE_INVALID, f"{path[:200]!r} is no place of its own")
        try:
            remote = await self._open(resolve_url(parent.remote.url, submodule.url))
            await self._fetch(await ask(remote), submodule.commit, place, f"{path}/", nesting + 1)
        except (SourceError, RefusedNetworkError) as error:
            if error.retryable or error.code in _ENDING:
                raise
            self.missing.append(f"submodule {path} ({error.message})")
        else:
            self.notes.append(f"submodule {path}: {submodule.commit} of {remote.url}")

    async def _fetch_lfs(self, git: Git, commit: str, small: list[str], prefix: str) -> None:
        """Put files in the place of pointers to them."""
        pointers = await find_pointers(git, small)
        if pointers.unmarked:
            count = len(pointers.unmarked)
            self.notes.append(f"{count} files look like LFS pointers, but no attribute says so")
        self.missing += [f"LFS file {prefix}{path} (damaged pointer)" for path in pointers.damaged]
        if not pointers.found:
            return
        self._count(sum(pointer.size for pointer in pointers.found), 0)
        try:
            remote = await self._open_lfs(git, commit)
        except (SourceError, RefusedNetworkError) as error:
            if error.retryable:
                raise
            reasons = {pointer.path: error.message for pointer in pointers.found}
        else:
            draft = git.folder / "lfs-draft"
            reasons = await fetch_files(remote, pointers.found, self.networks, draft)
        fetched = len(pointers.found) - len(reasons)
        self.notes.append(f"{fetched} LFS files of {git.remote.url}")
        self.missing += [f"LFS file {prefix}{path} ({why})" for path, why in reasons.items()]

    async def _open_lfs(self, git: Git, commit: str) -> Remote:
        """The endpoint that ``.lfsconfig`` names, else the one beside the repository."""
        named = ""
        with contextlib.suppress(GitError):
            command = ("config", "--blob", f"{commit}:.lfsconfig", "-z", "--get", "lfs.url")
            async for entry in git.lines(*command):
                named = entry.decode(errors="replace")
        if not named:
            url = find_endpoint(git.remote.url)
            return Remote(url, git.remote.addresses, git.remote.authorization)
        if git.remote.url.startswith("https://") and not named.startswith("https://"):
            raise SourceError(FaultCode.SOURCE_INVALID, "its LFS server has no https:// URL")
        return await self._open(named)

    async def _weigh(self, git: Git, commit: str) -> _Tree:
        """Before a byte is written: a small repository can unfold to anything."""
        found = _Tree()
        async for entry in git.lines("ls-tree", "-r", "-l", "-z", "--full-tree", commit):
            described, _, name = entry.partition(b"\t")
            mode, _, id_, size = described.split()
            path = os.fsdecode(name)
            size_bytes = int(size) if size.isdigit() else 0
            self._count(size_bytes, 1)
            if len(name) > MAX_PATH or path.count("/") > MAX_DEPTH:
                raise SourceError(FaultCode.SOURCE_INVALID, f"{path[:200]!r}... is too deep")
            if path == GITMODULES and size_bytes > MAX_GITMODULES_BYTES:
                raise SourceError(FaultCode.SOURCE_TOO_LARGE, f"{GITMODULES} is too large")
            if mode == _LINK:
                found.links.append((path, id_.decode()))
            elif mode in _FILES and 0 < size_bytes < MAX_POINTER_BYTES:
                found.small.append(path)
        return found

    def _count(self, size_bytes: int, files: int) -> None:
        self.total_bytes += size_bytes
        self.files += files
        self.limits.require("the repository", total_bytes=self.total_bytes, files=self.files)

    async def _within_limits(self, folder: Path, work: Coroutine[Any, Any, None]) -> None:
        """Do the work for as long as what it puts into the folder is within the limits.

        Raises:
            SourceError: ``source_too_large``.
        """
        working = asyncio.create_task(work)
        size = 0
        try:
            while not working.done():
                await asyncio.wait({working}, timeout=SIZE_CHECK_SECONDS)
                size = await asyncio.to_thread(_size, folder)
                self.limits.require("the repository", total_bytes=self.fetched_bytes + size)
            await working
        finally:
            await end(working)
        self.fetched_bytes += size


def shorten(texts: list[str]) -> tuple[str, ...]:
    """The first ones, and how many there are besides."""
    more = len(texts) - SHOWN
    return (*texts[:SHOWN], f"{more} more") if more > 0 else tuple(texts)


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


def _is_own_place(tree: Path, path: str) -> bool:
    """Whether a directory of a checkout is just there, behind no link."""
    place = tree / path
    return place.is_dir() and place.resolve() == tree.resolve() / path


def _size(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += Path(place, name).lstat().st_size
    return total


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
