"""Fetch the sources of a git repository: one shallow commit with its submodules and LFS files.

The refs are read before git runs, and the number and size of the files are checked before one of
them is written. Submodules and LFS files follow the same rules: checked addresses, http, https or
SSH, common limits. The login is sent only to the repository's own origin.
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
from shared.faults import FAULTS, FaultCode
from shared.jobs.sources import GitSource
from shared.networks import RegistryNetworks
from worker.builds.sources.git.command import Git, GitError, is_plain_path
from worker.builds.sources.git.lfs import fetch_files
from worker.builds.sources.git.lfs_pointers import MAX_POINTER_BYTES, find_pointers
from worker.builds.sources.git.origin import Origin, open_origin
from worker.builds.sources.git.refs import Advertisement, open_client
from worker.builds.sources.git.remote import Remote
from worker.builds.sources.git.revisions import choose_commit, shorten
from worker.builds.sources.git.submodules import (
    GITMODULES,
    Submodule,
    read_submodules,
    resolve_url,
)
from worker.builds.sources.limits import LIMITS, Limits
from worker.builds.sources.unpacker import MAX_DEPTH, MAX_PATH

SIZE_CHECK_SECONDS = 0.25
MIN_FREE_BYTES = 4 * 1024 * 1024
MAX_GITMODULES_BYTES = 256 * 1024
MAX_REMEDIES = 3

SHA256_CHARACTERS = 64
DEPTHS = (50, 1000, 2**31 - 1)
"""The depths to which branches are fetched in search of a commit; the last one is all."""

_SUBMODULE, _FILES = b"160000", {b"100644", b"100755"}
_FATAL = {FaultCode.SOURCE_TOO_LARGE, FaultCode.DISK_FULL, FaultCode.SOURCE_INCOMPLETE}


@dataclass(frozen=True)
class Checkout:
    """The files of one commit; ``directory`` holds none of git's own files.

    ``missing`` lists the parts that could not be fetched, with the reasons; ``notes`` lists the
    fetched submodules and LFS files.
    """

    directory: Path
    commit: str
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    remedies: tuple[str, ...] = ()


async def fetch(
    source: GitSource,
    secret: SecretStr | None,
    directory: Path,
    networks: RegistryNetworks,
    limits: Limits = LIMITS,
    *,
    allow_missing: bool = False,
) -> Checkout:
    """Fetch the commit that ``source`` names into ``directory``, which is empty.

    ``secret`` is the token of a repository behind http or https, the deploy key of one behind SSH.

    Raises:
        SourceError: ``revision_not_found``, ``source_too_large``, ``transfer_timeout``, or an error
            of `worker.builds.sources.git.origin`; ``source_incomplete``, a submodule or an LFS file
            cannot be fetched, unless that is allowed.
        SetupError: there is no git on this server.
    """
    if shutil.which("git") is None:
        raise SetupError("git is not installed", remedy="Install the package git on this server.")
    limit = asyncio.timeout(limits.time.total_seconds())
    try:
        async with limit, open_origin(source, secret, networks, directory / "ssh") as origin:
            checkout = await _Fetching(origin, directory, limits).run()
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise SourceError(
            FaultCode.TRANSFER_TIMEOUT,
            f"{source.url} was not fetched within {limits.time.total_seconds():g} s",
        ) from error
    if checkout.missing and not allow_missing:
        raise SourceError(
            FaultCode.SOURCE_INCOMPLETE,
            f"submodules or LFS files of {source.url} could not be fetched: "
            f"{'; '.join(checkout.missing)}",
            remedy=" ".join((*checkout.remedies, FAULTS[FaultCode.SOURCE_INCOMPLETE].remedy)),
        )
    return checkout


@dataclass
class _Tree:
    """The entries of a commit that need more work: submodules and possible LFS pointers."""

    links: list[tuple[str, str]] = field(default_factory=list)
    small: list[str] = field(default_factory=list)


@dataclass
class _Fetching:
    """One fetch with its submodules and LFS files, which share its limits."""

    origin: Origin
    directory: Path
    limits: Limits
    repositories: int = 0
    fetched_bytes: int = 0
    total_bytes: int = 0
    files: int = 0
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    remedies: dict[str, None] = field(default_factory=dict)

    async def run(self) -> Checkout:
        source = self.origin.source
        advertisement = await self.origin.fetch_refs(source.url)
        commit = choose_commit(advertisement, source)
        tree = self.directory / "tree"
        tree.mkdir(parents=True)
        await self._fetch(advertisement, commit, tree)
        missing, notes = shorten(self.missing), shorten(self.notes)
        return Checkout(tree, commit, missing, notes, tuple(self.remedies)[:MAX_REMEDIES])

    async def _fetch(
        self,
        advertisement: Advertisement,
        commit: str,
        tree: Path,
        prefix: str = "",
        nesting: int = 0,
    ) -> None:
        """Fetch one repository into ``tree``; ``prefix`` is its path in the source's tree."""
        git = Git(self.directory / f"git{self.repositories or ''}", tree, advertisement.remote)
        self.repositories += 1
        is_sha256 = len(commit) == SHA256_CHARACTERS
        await git.run("init", "--quiet", *(["--object-format=sha256"] if is_sha256 else []))
        try:
            await self._fetch_commit(git, advertisement, commit)
            found = await self._check_tree(git, commit)
            await git.run("checkout", "--quiet", "--detach", "--force", commit)
            submodules = await read_submodules(git, commit, found.links)
            await self._fetch_lfs(git, commit, found.small, prefix)
        except GitError as error:
            raise _as_source_error(error, advertisement, commit, self.directory) from error
        await asyncio.to_thread(shutil.rmtree, git.folder)
        for submodule in submodules:
            await self._fetch_submodule(submodule, advertisement, tree, prefix, nesting)

    async def _fetch_commit(self, git: Git, advertisement: Advertisement, commit: str) -> None:
        """Fetch the commit alone; if the server gives only branches, these until it is there.

        Raises:
            GitError: the first one, if no branch leads to the commit.
        """
        url = advertisement.remote.git_url
        try:
            fetching = git.run("fetch", "--quiet", "--depth=1", "--no-tags", "--", url, commit)
            return await self._within_limits(git.folder, fetching)
        except GitError as error:
            if commit in advertisement.refs.values():
                raise
            refused = error
        for depth in DEPTHS:
            words = (f"--depth={depth}", "--no-tags", "--", url, "+refs/heads/*:refs/fetched/*")
            try:
                fetching = git.run("fetch", "--quiet", *words)
                await self._within_limits(git.folder, fetching)
            except GitError:
                break
            if await _has_commit(git, commit):
                return None
        raise refused

    async def _fetch_submodule(
        self, submodule: Submodule, parent: Advertisement, tree: Path, prefix: str, nesting: int
    ) -> None:
        path = f"{prefix}{submodule.path}"
        if nesting == self.limits.nesting or self.repositories >= self.limits.repositories:
            raise SourceError(
                FaultCode.SOURCE_TOO_LARGE,
                f"{self.origin.source.url} has too many submodules",
                remedy="Remove submodules that the build does not need.",
            )
        subtree = tree / submodule.path
        if not await asyncio.to_thread(_is_plain_directory, tree, submodule.path):
            raise SourceError(FaultCode.SOURCE_INVALID, f"{path[:200]!r} is not a plain directory")
        try:
            url = resolve_url(parent.remote.url, submodule.url)
            found = await self.origin.fetch_refs(url)
            await self._fetch(found, submodule.commit, subtree, f"{path}/", nesting + 1)
        except (SourceError, RefusedNetworkError) as error:
            if error.retryable or error.code in _FATAL:
                raise
            self.missing.append(f"submodule {path} ({error.message})")
            self.remedies[error.remedy] = None
        else:
            self.notes.append(f"submodule {path}: {submodule.commit} of {found.remote.url}")

    async def _fetch_lfs(self, git: Git, commit: str, small: list[str], prefix: str) -> None:
        """Replace LFS pointers by their files."""
        pointers = await find_pointers(git, small)
        if pointers.unmarked:
            count = len(pointers.unmarked)
            self.notes.append(f"{count} files look like LFS pointers, but have no LFS attribute")
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
            self.remedies[error.remedy] = None
        else:
            draft = git.folder / "lfs-draft"
            async with open_client() as client:
                networks = self.origin.networks
                reasons = await fetch_files(client, remote, pointers.found, networks, draft)
        fetched = len(pointers.found) - len(reasons)
        self.notes.append(f"{fetched} LFS files of {git.remote.url}")
        self.missing += [f"LFS file {prefix}{path} ({reason})" for path, reason in reasons.items()]

    async def _open_lfs(self, git: Git, commit: str) -> Remote:
        """Open the endpoint that ``.lfsconfig`` names, else the default of the repository."""
        named = ""
        with contextlib.suppress(GitError):
            command = ("config", "--blob", f"{commit}:.lfsconfig", "-z", "--get", "lfs.url")
            async for entry in git.lines(*command):
                named = entry.decode(errors="replace")
        return await self.origin.open_lfs(git.remote, named)

    async def _check_tree(self, git: Git, commit: str) -> _Tree:
        """Check the number and size of the files before one is written, and sort the entries."""
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
            if mode == _SUBMODULE:
                found.links.append((path, id_.decode()))
            elif mode in _FILES and 0 < size_bytes < MAX_POINTER_BYTES:
                found.small.append(path)
        return found

    def _count(self, size_bytes: int, files: int) -> None:
        self.total_bytes += size_bytes
        self.files += files
        self.limits.require("the repository", total_bytes=self.total_bytes, files=self.files)

    async def _within_limits(self, folder: Path, work: Coroutine[Any, Any, None]) -> None:
        """Do the work while the size of the folder is within the limits.

        Raises:
            SourceError: ``source_too_large``.
        """
        working = asyncio.create_task(work)
        size = 0
        try:
            while not working.done():
                await asyncio.wait({working}, timeout=SIZE_CHECK_SECONDS)
                size = await asyncio.to_thread(_folder_size, folder)
                self.limits.require("the repository", total_bytes=self.fetched_bytes + size)
            await working
        finally:
            await end(working)
        self.fetched_bytes += size


async def _has_commit(git: Git, commit: str) -> bool:
    try:
        await git.run("cat-file", "-e", f"{commit}^{{commit}}")
    except GitError:
        return False
    return True


def _is_plain_directory(tree: Path, path: str) -> bool:
    """Return whether the path is a directory of the checkout that no link leads to."""
    return (tree / path).is_dir() and is_plain_path(tree, path)


def _folder_size(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += Path(parent, name).lstat().st_size
    return total


def _as_source_error(
    error: GitError, advertisement: Advertisement, commit: str, directory: Path
) -> SourceError:
    """Choose the error from known facts; git's output is only evidence."""
    where = advertisement.remote.url
    if shutil.disk_usage(directory).free < MIN_FREE_BYTES:
        return SourceError(FaultCode.DISK_FULL, f"the disk has no space for the sources of {where}")
    if commit not in advertisement.refs.values():
        return SourceError(
            FaultCode.REVISION_NOT_FOUND,
            f"{where} does not have the commit {commit}",
            evidence=error.output,
        )
    return SourceError(
        FaultCode.SOURCE_UNREACHABLE, f"{where} was not fetched", evidence=error.output
    )
