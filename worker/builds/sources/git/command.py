"""Run the ``git`` command so that fetched content cannot influence it.

Fetched repositories are not trusted. So git gets only our configuration, no hooks, no filters, no
submodules, no other protocol and no terminal. The login is passed in the environment, which only
our own user can read, and neither on a command line nor on disk.
"""

import asyncio
import os
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from shared.coroutines import end
from worker.builds.sources.git.remote import GitRemote
from worker.processes import read_end, running

_SETTINGS = {
    "core.hooksPath": os.devnull,
    "core.attributesFile": os.devnull,
    "core.fsmonitor": "false",
    "core.autocrlf": "false",
    "credential.helper": "",
    "fetch.recurseSubmodules": "false",
    # Keep the pack like a clone does: fewer than 100 objects would otherwise be unpacked.
    "fetch.unpackLimit": "1",
    "submodule.recurse": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "http.followRedirects": "false",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "60",
    "protocol.version": "2",
    "advice.detachedHead": "false",
}


class GitError(Exception):
    """A failure of git; ``output`` is the end of its output, without any of our secrets."""

    def __init__(self, output: str) -> None:
        super().__init__(output)
        self.output = output


@dataclass(frozen=True)
class Git:
    """git in a separate folder, with a work tree beside it."""

    folder: Path
    tree: Path
    remote: GitRemote

    async def run(self, *arguments: str) -> None:
        """Run git; raise `GitError` unless it succeeds."""
        async with self._running(*arguments) as process:
            _, output = await asyncio.gather(read_end(process.stdout), read_end(process.stderr))
            await self._require_success(process, output)

    async def lines(self, *arguments: str) -> AsyncIterator[bytes]:
        """Run git and yield the entries of its output, which end with zero bytes."""
        async with self._running(*arguments) as process:
            reading = asyncio.create_task(read_end(process.stderr))
            try:
                assert process.stdout  # noqa: S101 - it is piped
                try:
                    while True:
                        yield (await process.stdout.readuntil(b"\0"))[:-1]
                except asyncio.IncompleteReadError:
                    pass  # the end
                except asyncio.LimitOverrunError as error:
                    raise GitError("git printed an entry that is too long") from error
                await self._require_success(process, await reading)
            finally:
                await end(reading)

    def _running(self, *arguments: str) -> AbstractAsyncContextManager[Process]:
        return running("git", *arguments, cwd=self.tree, env=self._environment())

    async def _require_success(self, process: Process, output: str) -> None:
        if await process.wait():
            raise GitError(output)

    def _environment(self) -> Mapping[str, str]:
        settings = {**_SETTINGS, **self.remote.git_settings}
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
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "true",
            "GIT_LFS_SKIP_SMUDGE": "1",
            **self.remote.git_environment,
            **numbered,
        }


def is_plain_path(tree: Path, path: str) -> bool:
    """Return whether no link leads to the path in a work tree.

    A tree may have one name twice; then git may write a link where something else is expected.
    """
    return (tree / path).resolve() == tree.resolve() / path
