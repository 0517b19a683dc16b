"""An HTTP proxy that only tunnels (``CONNECT``), and looks every name up as loopback."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class ConnectProxy:
    """``asked`` are the places that tunnels were asked for; ``status`` is what it answers."""

    status: str = "200 OK"
    asked: list[str] = field(default_factory=list)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        place = head.split()[1].decode()
        self.asked.append(place)
        writer.write(f"HTTP/1.1 {self.status}\r\n\r\n".encode())
        if self.status.startswith("200"):
            there = await asyncio.open_connection("127.0.0.1", int(place.rpartition(":")[2]))
            with contextlib.suppress(OSError):
                await asyncio.gather(_carry(reader, there[1]), _carry(there[0], writer))
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
