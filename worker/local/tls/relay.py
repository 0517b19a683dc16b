"""TLS in front of a server that has none: the embedded PostgreSQL and Valkey listen on loopback.

Each accepted connection gets a handshake with the newest certificate, and one connection to the
server behind. Open connections keep their certificate. One address gets a part of the connections
only, so that it cannot take those of the others.
"""

import asyncio
import contextlib
import math
import socket
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import structlog

from shared.coroutines import end
from shared.errors import SetupError
from shared.networks import network_of
from shared.tls import ServerCertificate

CHUNK_BYTES = 64 * 1024
BACKLOG = 256
MAX_CONNECTIONS = 1000
MAX_OF_ADDRESS = 100
"""The connections of one address, or of one IPv6 /64 network; a server's worker needs a few."""

WARN_SECONDS = 60.0
HANDSHAKE_SECONDS = 10.0
CONNECT_SECONDS = 5.0
CLOSE_SECONDS = 2.0
PAUSE_SECONDS = 0.1

KEEPALIVE = {
    socket.TCP_KEEPIDLE: 5,
    socket.TCP_KEEPINTVL: 5,
    socket.TCP_KEEPCNT: 2,
    socket.TCP_USER_TIMEOUT: 15_000,
}
"""A client whose network is gone is noticed after about 15 s; the last one is milliseconds."""

SSL_REQUEST, GSS_REQUEST, CANCEL_REQUEST = 80877103, 80877104, 80877102
"""The codes of requests in place of a start-up message (PostgreSQL's manual, section 54.7)."""

MAX_STARTUP_BYTES = 10_000
NO_TLS = "this port accepts TLS only: connect with sslmode=verify-full"

Negotiate = Callable[[socket.socket], Awaitable[bool]]
"""Speak the protocol's words before TLS; return whether the handshake follows."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Address:
    """A host and a port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read ``HOST:PORT``; an IPv6 address is in brackets.

        Raises:
            ValueError: another form.
        """
        host, separator, port = text.rpartition(":")
        if not separator or not host:
            raise ValueError(f"not HOST:PORT: {text}")
        return cls(host.removeprefix("[").removesuffix("]"), int(port))


async def at_once(_accepted: socket.socket) -> bool:
    """Begin with the handshake: what a client of the broker does."""
    return True


async def after_ssl_request(accepted: socket.socket) -> bool:
    """Answer PostgreSQL's ``SSLRequest``; refuse a client that does not ask for TLS."""
    loop = asyncio.get_running_loop()
    for _ in range(2):
        length, code = struct.unpack("!II", await _receive(accepted, 8))
        if (length, code) == (8, SSL_REQUEST):
            # Nothing more is read: what a stranger added in clear is not taken for the client's.
            await loop.sock_sendall(accepted, b"S")
            return True
        if (length, code) != (8, GSS_REQUEST):
            break
        await loop.sock_sendall(accepted, b"N")
    if code != CANCEL_REQUEST and 8 <= length <= MAX_STARTUP_BYTES:
        # Unread bytes would reset the connection, and the client would not see the message.
        await _receive(accepted, length - 8)
        await loop.sock_sendall(accepted, _fatal(NO_TLS))
    return False


@dataclass
class Relay:
    """Pass the connections of one port on to ``target``: at most ``per_address`` of one address.

    ``clock`` is in seconds.
    """

    target: Address
    certificate: ServerCertificate
    negotiate: Negotiate
    per_address: int = MAX_OF_ADDRESS
    clock: Callable[[], float] = time.monotonic
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _of_address: Counter[str] = field(default_factory=Counter)
    _warned_at: float = -math.inf

    @asynccontextmanager
    async def listening(self, address: Address) -> AsyncIterator[None]:
        """Listen at ``address`` while the block runs.

        Raises:
            SetupError: the address is not this machine's, or is in use.
        """
        listener = _listen(address)
        accepting = asyncio.create_task(self._accept(listener))
        try:
            yield
        finally:
            await end(accepting, *self._tasks)
            listener.close()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, peer = await loop.sock_accept(listener)
            except OSError as error:
                log.warning("accept_failed", error=error.strerror)
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            address = network_of(str(peer[0]))
            if not self._has_room(address):
                accepted.close()
                continue
            task = asyncio.create_task(self._serve(accepted))
            self._tasks.add(task)
            self._of_address[address] += 1
            task.add_done_callback(partial(self._forget, address))

    def _has_room(self, address: str) -> bool:
        """Return whether one more connection fits; warn once a minute if not."""
        open_now, of_address = len(self._tasks), self._of_address[address]
        if open_now < MAX_CONNECTIONS and of_address < self.per_address:
            return True
        now = self.clock()
        if now - self._warned_at >= WARN_SECONDS:
            self._warned_at = now
            log.warning("relay_full", address=address, of_address=of_address, connections=open_now)
        return False

    def _forget(self, address: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._of_address -= Counter((address,))

    async def _serve(self, accepted: socket.socket) -> None:
        # A client that leaves, or speaks no TLS, is no fault of ours.
        with accepted, contextlib.suppress(OSError, EOFError, TimeoutError):
            _keep_alive(accepted)
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                if not await self.negotiate(accepted):
                    return
                client = await self._encrypt(accepted)
            try:
                await self._connect(*client)
            finally:
                await _close(client[1])

    async def _encrypt(
        self, accepted: socket.socket
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=CHUNK_BYTES)
        transport, protocol = await loop.connect_accepted_socket(
            lambda: asyncio.StreamReaderProtocol(reader),
            accepted,
            ssl=self.certificate.context,
            ssl_handshake_timeout=HANDSHAKE_SECONDS,
            ssl_shutdown_timeout=CLOSE_SECONDS,
        )
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(CONNECT_SECONDS):
            behind = await asyncio.open_connection(
                self.target.host, self.target.port, limit=CHUNK_BYTES
            )
        ways = [
            asyncio.create_task(_pass_on(reader, behind[1])),
            asyncio.create_task(_pass_on(behind[0], writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end(*ways)
            await _close(behind[1])


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()


async def _close(writer: asyncio.StreamWriter) -> None:
    """Send what is left and close; give up on a peer that takes nothing."""
    writer.close()
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await writer.wait_closed()
    except TimeoutError:
        writer.transport.abort()
    except OSError:
        return


async def _receive(accepted: socket.socket, size: int) -> bytes:
    """Receive exactly so many bytes.

    Raises:
        EOFError: the client closed the connection.
    """
    received = b""
    while len(received) < size:
        part = await asyncio.get_running_loop().sock_recv(accepted, size - len(received))
        if not part:
            raise EOFError
        received += part
    return received


def _fatal(message: str) -> bytes:
    """Return an ``ErrorResponse`` of PostgreSQL: ``28000``, no valid authorization."""
    fields = b"".join(
        kind + text.encode() + b"\0"
        for kind, text in ((b"S", "FATAL"), (b"V", "FATAL"), (b"C", "28000"), (b"M", message))
    )
    return b"E" + struct.pack("!I", len(fields) + 5) + fields + b"\0"


def _keep_alive(accepted: socket.socket) -> None:
    accepted.settimeout(0)
    accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE.items():
        accepted.setsockopt(socket.IPPROTO_TCP, option, value)


def _listen(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.settimeout(0)
        listener.bind((address.host, address.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise SetupError(
            f"cannot listen on {address.host}, port {address.port}: {error.strerror}"
        ) from error
    return listener
