"""An HTTP proxy that only tunnels (``CONNECT``), and resolves every name to loopback."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class ConnectProxy:
    """The proxy; ``targets`` are the requested ``host:port``, ``status`` is its response."""

    status: str = "200 OK"
    targets: list[str] = field(default_factory=list)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        target = head.split()[1].decode()
        self.targets.append(target)
        writer.write(f"HTTP/1.1 {self.status}\r\n\r\n".encode())
        if self.status.startswith("200"):
            connection = await asyncio.open_connection("127.0.0.1", int(target.rpartition(":")[2]))
            with contextlib.suppress(OSError):
                await asyncio.gather(_carry(reader, connection[1]), _carry(connection[0], writer))
        writer.close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65536):
        writer.write(chunk)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def open_connect_proxy(status: str = "200 OK") -> AsyncIterator[ConnectProxy]:
    proxy = ConnectProxy(status)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.url = "http://{}:{}".format(*server.sockets[0].getsockname()[:2])
    async with server:
        yield proxy
