"""Accept connections one by one, so that the limit is checked before each is served."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from api.sockets.connections import Connections
from api.sockets.encryption import encrypt
from shared.coroutines import end
from shared.errors import SetupError
from shared.networks import network_of
from shared.tls import ServerCertificate

BACKLOG = 1024
PAUSE_SECONDS = 0.1
BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\n"
    b"content-length: 0\r\n\r\n"
)

log = structlog.get_logger()


class Acceptor:
    """Listen, and serve each admitted connection with its own protocol object.

    asyncio's own server accepts its whole backlog before the first protocol can refuse a
    connection, and logs a line for each that it cannot accept.
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        connections: Connections,
        make_protocol: Callable[[], asyncio.Protocol],
        certificate: ServerCertificate | None = None,
    ) -> None:
        self._certificate = certificate
        self._handshakes: set[asyncio.Task[None]] = set()
        self._connections = connections
        self._make_protocol = make_protocol
        self._tasks = [asyncio.create_task(self._accept(listener)) for listener in listeners]

    def close(self) -> None:
        for task in (*self._tasks, *self._handshakes):
            task.cancel()

    async def wait_closed(self) -> None:
        await end(*self._tasks, *self._handshakes)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        is_short = False
        with listener:
            while True:
                try:
                    accepted, peer = await loop.sock_accept(listener)
                except OSError as error:
                    # Too few open files, too little memory, or the client has already disconnected.
                    if not is_short:
                        log.warning("accept_failed", error=error.strerror)
                    is_short = True
                    await asyncio.sleep(PAUSE_SECONDS)
                    continue
                is_short = False
                address = network_of(str(peer[0]))
                if self._connections.admit(address):
                    await self._serve(accepted, address)
                elif self._certificate is None:
                    _refuse(accepted)
                else:
                    accepted.close()
                # sock_accept does not yield while connections are queued: let other tasks run.
                await asyncio.sleep(0)

    async def _serve(self, accepted: socket.socket, address: str) -> None:
        loop = asyncio.get_running_loop()
        if self._certificate is not None:
            # In a task: other clients must not wait for this one's handshake.
            task = loop.create_task(
                encrypt(
                    accepted,
                    address,
                    self._connections,
                    self._certificate.context,
                    self._make_protocol,
                )
            )
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)
            return
        try:
            await loop.connect_accepted_socket(self._make_protocol, accepted)
        except OSError:
            accepted.close()


async def listen(host: str, port: int) -> list[socket.socket]:
    """Open sockets that listen at all addresses of the host.

    Raises:
        SetupError: an address is not this machine's, or is in use.
    """
    loop = asyncio.get_running_loop()
    listeners: list[socket.socket] = []
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, address in {(each[0], each[4]) for each in found}:
            listeners.append(_listen(family, address))
    except OSError as error:
        for listener in listeners:
            listener.close()
        raise SetupError(
            f"cannot listen on {host}, port {port}: {error.strerror}",
            remedy="Choose another host or port with --host and --port.",
        ) from error
    return listeners


def _listen(family: int, address: tuple[Any, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Connections inherit it. Without it the second part of an answer waits 40 ms for an
        # acknowledgement of the first.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.settimeout(0)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _refuse(accepted: socket.socket) -> None:
    with accepted, contextlib.suppress(OSError):
        accepted.settimeout(0)
        accepted.send(BUSY)
