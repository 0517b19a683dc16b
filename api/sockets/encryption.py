"""TLS for accepted connections; a client that does not finish its handshake is closed."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable

from api.sockets.connections import Awaited, Connections, Patience

CLOSE_SECONDS = 2.0


class Handshake:
    """A connection during its TLS handshake: it counts, and is closed to make room."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.active_at = asyncio.get_running_loop().time()
        self._task = asyncio.current_task()

    def awaited(self) -> Awaited:
        return Awaited.HEAD

    def has_request(self) -> bool:
        return False

    def check(self, patience: Patience, now: float) -> bool:
        """Close the connection if its client took too long; return whether it did."""
        is_over = patience.is_over(self.awaited(), now - self.active_at, 0)
        if is_over:
            self.abort()
        return is_over

    def abort(self) -> None:
        if self._task is not None:
            self._task.cancel()


async def encrypt(
    accepted: socket.socket,
    address: str,
    connections: Connections,
    context: ssl.SSLContext,
    make_protocol: Callable[[], asyncio.Protocol],
) -> None:
    """Do the handshake of an accepted connection, then serve it."""
    handshake = Handshake(address)
    connections.add(handshake)
    try:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await asyncio.get_running_loop().connect_accepted_socket(
                make_protocol,
                accepted,
                ssl=context,
                ssl_shutdown_timeout=CLOSE_SECONDS,
            )
            return
        accepted.close()
    finally:
        connections.discard(handshake)
