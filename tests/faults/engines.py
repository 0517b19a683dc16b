"""Engines with a fault: one Engine for each, on a disk of its own, behind a socket that may fail.

```text
worker ──► socket ──► Engine
           │ a transfer's answer is cut after its first line, or ends there
           │ a transfer is refused, as by a proxy that allows other calls alone
           └ at the first line of a transfer the Engine is killed, or hangs from then on
```
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from shared.coroutines import end
from tests.fakes.certificates import Authority
from tests.faults.fault import Strike
from tests.faults.scene import start_engine
from worker.local.engines import LocalEngine
from worker.local.namespaces import Namespace

TRANSFER = re.compile(rb"POST (?:/v[\d.]+)?/(?:images/create|images/.+/push|build)[? ]")
BUILD = re.compile(rb"POST (?:/v[\d.]+)?/build[? ]")
OF_BUILDS = frozenset({Strike.CUTS_BUILDS, Strike.HANGS_AMID_BUILD})
HANGING = frozenset({Strike.HANGS, Strike.HANGS_AMID, Strike.HANGS_AMID_BUILD})
HEAD_END = b"\r\n\r\n"
FORBIDDEN = (
    b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n"
    b"<html><body><h1>403 Forbidden</h1>\nRequest forbidden by administrative rules.\n"
    b"</body></html>\n"
)
"""The answer of HAProxy, which is what socket proxies are made of."""


@dataclass(frozen=True)
class StruckEngine:
    """An Engine and its fault; ``docker_host`` is the address that the worker has."""

    local: LocalEngine
    strike: Strike | None
    docker_host: str
    calls: set[asyncio.Task[None] | None] = field(default_factory=set)

    @asynccontextmanager
    async def struck(self) -> AsyncIterator[None]:
        """Let the fault be there within the block, and an Engine that was hit go on after it."""
        if self.strike is Strike.AWAY:
            await asyncio.to_thread(self.local.kill)
        if self.strike is Strike.HANGS:
            await asyncio.to_thread(self.local.freeze)
        try:
            yield
        finally:
            if self.strike is Strike.KILLED and not self.local.child.is_alive:
                await asyncio.to_thread(self.local.start_again)
            if self.strike in HANGING:
                self.local.thaw()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one call to the Engine, or let it fail."""
        self.calls.add(asyncio.current_task())
        try:
            head = await reader.readuntil(HEAD_END)
            is_struck = (BUILD if self.strike in OF_BUILDS else TRANSFER).match(head)
            if is_struck and self.strike is Strike.REFUSES:
                writer.write(FORBIDDEN)
                await writer.drain()
            else:
                await self._forward(head, reader, writer, is_struck=bool(is_struck))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _forward(
        self,
        head: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        is_struck: bool,
    ) -> None:
        path = self.local.docker_host.removeprefix("unix://")
        answer, request = await asyncio.open_unix_connection(path)
        request.write(head)
        sending = asyncio.create_task(_copy(reader, request))
        try:
            if is_struck:
                await self._break_off(answer, writer, sending)
            else:
                await _copy(answer, writer)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            request.transport.abort()

    async def _break_off(
        self,
        answer: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        client: asyncio.Task[None],
    ) -> None:
        """Forward the first line of a transfer's answer, and let the fault strike then."""
        head = await answer.readuntil(HEAD_END)
        writer.write(head)
        if b"chunked" not in head.lower():
            return await _copy(answer, writer)
        size = await answer.readuntil(b"\r\n")
        writer.write(size + await answer.readexactly(int(size, 16) + 2))
        await writer.drain()
        match self.strike:
            case Strike.KILLED:
                await asyncio.to_thread(self.local.kill)
            case Strike.HANGS_AMID | Strike.HANGS_AMID_BUILD:
                await asyncio.to_thread(self.local.freeze)
                await client  # until the worker gives up
            case Strike.ENDS:
                writer.write(b"0\r\n\r\n")
                await writer.drain()
            case _:
                pass
        return None


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while content := await reader.read(64 * 1024):
        writer.write(content)
        await writer.drain()


@asynccontextmanager
async def open_struck_engine(
    directory: Path, authority: Authority, strike: Strike | None, disk_bytes: int
) -> AsyncIterator[StruckEngine]:
    """Start an Engine in a network of its own; end it when the block is left."""
    namespace = await asyncio.to_thread(Namespace.create, "faults-engine")
    try:
        (directory / "engine").mkdir(parents=True)
        local = await asyncio.to_thread(
            lambda: start_engine(directory / "engine", namespace, authority, disk_bytes=disk_bytes)
        )
        path = directory / "proxy.sock"
        engine = StruckEngine(local, strike, f"unix://{path}" if strike else local.docker_host)
        try:
            server = await asyncio.start_unix_server(engine.serve, path)
            try:
                yield engine
            finally:
                server.close()
                await end(*(call for call in engine.calls if call))
        finally:
            with contextlib.suppress(ProcessLookupError):
                local.thaw()
            await asyncio.to_thread(local.kill)
    finally:
        await asyncio.to_thread(namespace.remove)
