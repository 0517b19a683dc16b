"""Servers that fail below HTTP: they stay silent, disconnect, or speak another protocol."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def open_socket(
    behaviour: Behaviour, *, listen: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[str]:
    """Open a server that handles every connection by ``behaviour``; yield its ``address:port``."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await behaviour(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(serve, listen, port)
    try:
        yield f"{listen}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


async def be_silent(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    """Accept the connection and never respond."""
    await asyncio.Event().wait()


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Cut the connection with an RST at the first byte."""
    await reader.read(1)
    raw: socket.socket = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def say(banner: bytes) -> Behaviour:
    """Respond to the first bytes with something that is neither TLS nor HTTP."""

    async def behaviour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(banner)
        await writer.drain()
        writer.write_eof()
        await reader.read()

    return behaviour
