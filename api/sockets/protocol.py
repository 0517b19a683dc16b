"""HTTP/1.1 as uvicorn speaks it, with the limits of `Connections` and one message framing."""

import asyncio
import fcntl
import re
import termios
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from api.sockets.connections import Awaited, Connections, Patience
from shared.networks import network_of

TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


MAX_HEAD_BYTES = 32 * 1024
_FOLDED = re.compile(rb"\n[ \t]")
_LENGTH = re.compile(rb"\ncontent-length:", re.IGNORECASE)


class StrictConnection(h11.Connection):
    """Refuse requests that a proxy could parse differently.

    RFC 9112: both ``Transfer-Encoding`` and ``Content-Length`` (section 6.1), two
    ``Content-Length`` (section 6.3), folded lines (section 5.2). They allow request smuggling.
    """

    def next_event(self) -> Any:
        before = self.trailing_data[0] if self.their_state is h11.IDLE else b""
        event = super().next_event()
        if isinstance(event, h11.Request):
            head = before[: len(before) - len(self.trailing_data[0])]
            names = {name for name, _ in event.headers}
            if {b"transfer-encoding", b"content-length"} <= names:
                raise h11.RemoteProtocolError(
                    "the request has both Transfer-Encoding and Content-Length: send one of them"
                )
            if len(_LENGTH.findall(head)) > 1 or _FOLDED.search(head):
                raise h11.RemoteProtocolError(
                    "the request has Content-Length twice, or a folded header line"
                )
            if len(head) > MAX_HEAD_BYTES:
                raise h11.RemoteProtocolError("the headers of the request are too long")
        return event


class HttpConnection(H11Protocol):
    """One client's connection."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        connections: Connections,
    ) -> None:
        super().__init__(config, server_state, app_state)
        self.conn = StrictConnection(h11.SERVER, MAX_HEAD_BYTES)
        self.address = ""
        self.active_at = self.loop.time()
        self._all = connections
        self._turn: tuple[object, ...] = ()
        self._since = self.active_at
        self._moved_bytes = 0
        self._unsent_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.address = network_of(self.client[0]) if self.client else ""
        self._all.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._all.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self.active_at = self.loop.time()
        super().data_received(data)

    def resume_writing(self) -> None:
        self.active_at = self.loop.time()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer 400 if the response has not begun; otherwise close the connection."""
        if getattr(self.cycle, "response_complete", True) is False:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            super().send_400_response(msg)
        else:
            self.abort()

    def awaited(self) -> Awaited:
        """Return the client's next action."""
        if self.flow.write_paused or self.transport.is_closing():
            return Awaited.READER
        if self.conn.their_state is h11.IDLE:
            return Awaited.HEAD
        if self.conn.their_state is h11.SEND_BODY:
            return Awaited.REST if self.cycle.response_complete else Awaited.BODY
        return Awaited.NOTHING

    def has_request(self) -> bool:
        """Return whether the start of the next request has arrived, but was not read yet."""
        connected = self.transport.get_extra_info("socket")
        if self.awaited() is not Awaited.HEAD or self.conn.trailing_data[0] or connected is None:
            return False
        try:
            return any(fcntl.ioctl(connected.fileno(), termios.FIONREAD, bytes(4)))
        except OSError:
            return False  # it was closed meanwhile

    def check(self, patience: Patience, now: float) -> bool:
        """Close the connection if its client took too long; return whether it did."""
        awaited, unsent = self.awaited(), self.transport.get_write_buffer_size()
        turn = (awaited, self.cycle)
        if turn != self._turn:
            self._turn, self._since, self._moved_bytes = turn, now, 0
        self._moved_bytes += max(0, self._unsent_bytes - unsent)
        self._unsent_bytes = unsent
        if patience.is_over(awaited, now - self._since, self._moved_bytes):
            self._end(awaited)
            return True
        if self._moved_bytes >= patience.moved_bytes:
            self._since, self._moved_bytes = now, 0
        return False

    def abort(self) -> None:
        self.transport.abort()

    def _end(self, awaited: Awaited) -> None:
        if awaited is not Awaited.HEAD:
            self.abort()
            return
        if self.conn.trailing_data[0] and not self.transport.is_closing():
            self.transport.write(TIMED_OUT)
        self.transport.close()
