"""A TCP proxy on real sockets that counts what passes, and can be slow, cut off or stall.

It is an asyncio server in the test's own loop: what it does can be changed while it runs.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

CHUNK_BYTES = 16 * 1024


@dataclass
class Proxy:
    """Between a client and ``target``; every limit may be set at any time.

    ``bytes_per_second`` slows each direction of each connection down. ``cut_after_bytes`` is per
    connection: it is reset (RST) when so much has passed. ``stall_after_bytes`` is for all
    connections together: then nothing moves any more, and nobody notices. ``replaced`` are bytes of
    the target, and the bytes that the client gets in their place. ``round_trips`` counts how often
    a client sent something and was answered.
    """

    target: tuple[str, int]
    bytes_per_second: int | None = None
    cut_after_bytes: int | None = None
    stall_after_bytes: int | None = None
    replaced: tuple[bytes, bytes] | None = None
    down_bytes: int = 0
    up_bytes: int = 0
    connections: int = 0
    round_trips: int = 0
    address: str = ""
    port: int = 0
    is_closed: bool = False
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _moved: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def total_bytes(self) -> int:
        """Both directions: ``down_bytes`` came from the target, ``up_bytes`` from clients."""
        return self.down_bytes + self.up_bytes

    @property
    def host(self) -> str:
        """``address:port``."""
        return f"{self.address}:{self.port}"

    async def wait_for(self, total_bytes: int, *, seconds: float = 20) -> None:
        """Return once so much has passed; `TimeoutError` after ``seconds``."""
        async with asyncio.timeout(seconds), self._moved:
            await self._moved.wait_for(lambda: self.total_bytes >= total_bytes)

    async def wait_until_quiet(self, *, quiet_seconds: float = 0.5, seconds: float = 2) -> None:
        """Return once nothing passes any more; `TimeoutError` if that takes over ``seconds``."""
        async with asyncio.timeout(seconds + quiet_seconds):
            while await self._moves_within(quiet_seconds):
                pass

    async def _moves_within(self, seconds: float) -> bool:
        before = self.total_bytes
        try:
            await self.wait_for(before + 1, seconds=seconds)
        except TimeoutError:
            return False
        return True

    async def serve(
        self, client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter
    ) -> None:
        link = _Link(self, [client_writer])
        if self.is_closed:
            link.reset()
            return
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            reader, writer = await asyncio.open_connection(*self.target)
            link.writers.append(writer)
            async with asyncio.TaskGroup() as group:
                group.create_task(link.carry(client_reader, writer, is_down=False))
                group.create_task(link.carry(reader, client_writer, is_down=True))
        link.reset()
        self._tasks.discard(task)

    def reset(self) -> None:
        """Reset (RST) all connections that are open now."""
        self.end()

    def end(self) -> list[asyncio.Task[None]]:
        for task in self._tasks:
            task.cancel()
        return list(self._tasks)

    async def count(self, size: int, *, is_down: bool) -> None:
        if is_down:
            self.down_bytes += size
        else:
            self.up_bytes += size
        async with self._moved:
            self._moved.notify_all()

    def is_stalled(self) -> bool:
        return self.stall_after_bytes is not None and self.total_bytes >= self.stall_after_bytes


@dataclass
class _Link:
    """One connection through the proxy."""

    proxy: Proxy
    writers: list[asyncio.StreamWriter]
    passed_bytes: int = 0
    awaits_answer: bool = False

    async def carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_down: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(CHUNK_BYTES):
                await self._let_pass(len(chunk))
                if is_down and self.proxy.replaced is not None:
                    chunk = chunk.replace(*self.proxy.replaced)
                self._count_round_trip(is_down=is_down)
                writer.write(chunk)
                await writer.drain()
                await self.proxy.count(len(chunk), is_down=is_down)
                self._cut_if_due(len(chunk))
            writer.write_eof()
            return
        self.reset()

    async def _let_pass(self, size: int) -> None:
        if self.proxy.is_stalled():
            await asyncio.Event().wait()
        if self.proxy.bytes_per_second:
            await asyncio.sleep(size / self.proxy.bytes_per_second)

    def _count_round_trip(self, *, is_down: bool) -> None:
        if not is_down and not self.awaits_answer:
            self.proxy.round_trips += 1
        self.awaits_answer = not is_down

    def _cut_if_due(self, size: int) -> None:
        self.passed_bytes += size
        limit = self.proxy.cut_after_bytes
        if limit is not None and self.passed_bytes >= limit:
            self.reset()

    def reset(self) -> None:
        for writer in self.writers:
            writer.transport.abort()


@asynccontextmanager
async def open_proxy(
    target: tuple[str, int],
    *,
    listen: str = "127.0.0.1",
    bytes_per_second: int | None = None,
    cut_after_bytes: int | None = None,
    stall_after_bytes: int | None = None,
    replaced: tuple[bytes, bytes] | None = None,
) -> AsyncIterator[Proxy]:
    """A proxy that listens on a free port of ``listen`` until the block is left."""
    proxy = Proxy(target, bytes_per_second, cut_after_bytes, stall_after_bytes, replaced)
    listening = socket.create_server((listen, 0))
    if bytes_per_second:
        # What waits in a large buffer still passes, seconds after its sender has stopped.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * CHUNK_BYTES)
    server = await asyncio.start_server(proxy.serve, sock=listening)
    proxy.address, proxy.port = server.sockets[0].getsockname()[:2]
    try:
        yield proxy
    finally:
        server.close()
        proxy.is_closed = True
        await asyncio.gather(*proxy.end(), return_exceptions=True)
        await server.wait_closed()
        # Connections that are reset close in the next round of the loop.
        await asyncio.sleep(0)
