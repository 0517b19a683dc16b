"""The ``git`` command, run so that what it fetches has nothing to say.

What is fetched is somebody else's. So git gets no configuration but ours, no hooks, no filters, no
submodules of its own choice, no other protocol, no terminal; the login goes through the
environment, which only our own user can read, and neither onto a command line nor onto the disk.
"""

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from shared.coroutines import end
from worker.builds.sources.git.refs import Remote

MAX_WORDS = 300

_SETTINGS = {
    "core.hooksPath": os.devnull,
    "core.attributesFile": os.devnull,
    "core.fsmonitor": "false",
    "core.autocrlf": "false",
    "credential.helper": "",
    "fetch.recurseSubmodules": "false",
    # As a clone does it: less than 100 objects would be unpacked, and each pressed together anew.
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
    """git ended badly; ``words`` are its last ones, without anything of ours in them."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words = words


@dataclass(frozen=True)
class Git:
    """git in a folder of its own, with a work tree beside it."""

    folder: Path
    tree: Path
    remote: Remote

    async def run(self, *arguments: str) -> None:
        """Raises `GitError` unless git succeeds."""
        async with self._running(*arguments) as process:
            _, words = await asyncio.gather(_last(process.stdout), _last(process.stderr))
            await self._require_success(process, words)

    async def lines(self, *arguments: str) -> AsyncIterator[bytes]:
        """What git prints, entry by entry, each ended by a zero byte."""
        async with self._running(*arguments) as process:
            reading = asyncio.create_task(_last(process.stderr))
            try:
                assert process.stdout  # noqa: S101 - it is piped
                try:
                    while True:
                        yield (await process.stdout.readuntil(b"\0"))[:-1]
                except asyncio.IncompleteReadError:
                    pass  # the end
                except asyncio.LimitOverrunError as error:
                    raise GitError("git says a word that is too long") from error
                await self._require_success(process, await reading)
            finally:
                await end(reading)

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
            for stream in (process.stdout, process.stderr):
                await _last(stream)  # a transport closes at the end of its pipes
            await process.wait()

    async def _require_success(self, process: Process, words: str) -> None:
        if await process.wait():
            raise GitError(words)

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
