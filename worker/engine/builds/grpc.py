"""A server of gRPC calls on one connection that the client opened.

A builder calls it to request secrets, logins and files. h2 reads and writes the frames;
``doc/PROTOCOL-HTTP2.md`` of the gRPC project defines how calls are encoded in them.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol
from urllib.parse import quote

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RequestReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import ProtocolError

Metadata = Mapping[str, Sequence[str]]
"""The headers of a call, each with all its values."""


class Exchange(Protocol):
    """A call in which each side sends any number of messages."""

    def receive(self, message: bytes) -> None:
        """Take a message of the client; raises `CallError`."""

    def send(self) -> Iterator[bytes | None]:
        """Yield the messages to send, and ``None`` to wait for one of the client; then it ends."""


Method = Callable[[bytes], bytes]
"""Answers one message with one message; raises `CallError`."""

OpenExchange = Callable[[Metadata], Exchange]
"""Begins an exchange; raises `CallError`."""

MAX_REQUEST = 64 * 1024
"""The maximum size of a message of the client."""

_READ_BYTES = 64 * 1024
_HEAD_BYTES = 5
_RESPONSE_HEADERS = ((":status", "200"), ("content-type", "application/grpc"))


class Status(IntEnum):
    """The status codes of ``doc/statuscodes.md`` that are used here."""

    OK = 0
    NOT_FOUND = 5
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13


class CallError(Exception):
    """A call failed; the caller gets this status and message."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass
class _Call:
    """A call and the unread part of its request; ``exchange`` is set if it is one."""

    path: str
    content: bytearray = field(default_factory=bytearray)
    exchange: Exchange | None = None


@dataclass
class _Reply:
    """The unsent part of a response; ``more`` yields further messages."""

    content: memoryview = field(default_factory=lambda: memoryview(b""))
    status: Status = Status.OK
    message: str = ""
    more: Iterator[bytes | None] = field(default_factory=lambda: iter(()))
    is_started: bool = False


async def serve(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    methods: Mapping[str, Method],
    exchanges: Mapping[str, OpenExchange] | None = None,
) -> None:
    """Answer calls (``/package.Service/Method``) until the client disconnects.

    An exchange may read files, so the calls are handled in a thread.

    Raises:
        h2.exceptions.ProtocolError: it does not speak HTTP/2.
        OSError: the connection broke.
    """
    service = _Service(methods, exchanges or {})
    writer.write(service.begin())
    try:
        while content := await reader.read(_READ_BYTES):
            await asyncio.to_thread(service.feed, content)
            writer.write(service.unsent())
            await writer.drain()
    except ProtocolError:
        writer.write(service.unsent())  # the client gets the error
        raise


class _Service:
    """The calls of one connection, without its input and output."""

    def __init__(
        self, methods: Mapping[str, Method], exchanges: Mapping[str, OpenExchange]
    ) -> None:
        self._methods = methods
        self._exchanges = exchanges
        self._calls: dict[int, _Call] = {}
        self._replies: dict[int, _Reply] = {}
        self._wire = H2Connection(H2Configuration(client_side=False))

    def begin(self) -> bytes:
        self._wire.initiate_connection()
        return self.unsent()

    def unsent(self) -> bytes:
        return self._wire.data_to_send()

    def feed(self, content: bytes) -> None:
        """Handle all received events, then respond: a call may be reset in the same data."""
        for event in self._wire.receive_data(content):
            self._handle(event)
        for stream in list(self._replies):
            self._send(stream)

    def _handle(self, event: Event) -> None:
        match event:
            case RequestReceived(stream_id=stream, headers=headers):
                self._begin(stream, headers)
            case DataReceived(stream_id=stream, data=data, flow_controlled_length=length):
                self._wire.acknowledge_received_data(length, stream)
                self._receive(stream, data)
            case StreamEnded(stream_id=stream):
                call = self._calls.pop(stream, None)
                if call is not None and call.exchange is None:
                    self._replies[stream] = self._reply(call)
            case StreamReset(stream_id=stream):
                self._calls.pop(stream, None)
                self._replies.pop(stream, None)
            case ConnectionTerminated():
                self._replies.clear()
            case _:
                pass  # h2 itself handles settings, pings and windows

    def _begin(self, stream: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        metadata = dict[str, list[str]]()
        for name, value in headers:
            found = metadata.setdefault(name.decode(errors="replace"), [])
            found.append(value.decode(errors="replace"))
        call = self._calls[stream] = _Call(metadata.get(":path", [""])[0])
        if open_exchange := self._exchanges.get(call.path):
            try:
                call.exchange = open_exchange(metadata)
                self._replies[stream] = _Reply(more=call.exchange.send())
            except CallError as error:
                self._fail(stream, error)

    def _receive(self, stream: int, data: bytes) -> None:
        call = self._calls.get(stream)
        if call is None:
            return  # the rest of a request that was answered before its end
        if call.exchange is None:
            call.content += data[: MAX_REQUEST + _HEAD_BYTES + 1 - len(call.content)]
            return
        call.content += data
        try:
            while (message := _take_message(call.content)) is not None:
                call.exchange.receive(message)
        except CallError as error:
            self._fail(stream, error)

    def _reply(self, call: _Call) -> _Reply:
        try:
            response = self._method(call.path)(_message(call.content))
        except CallError as error:
            return _Reply(status=error.status, message=error.message)
        return _Reply(_frame(response))

    def _fail(self, stream: int, error: CallError) -> None:
        """End a call with this error; what was not sent yet is left out."""
        self._calls.pop(stream, None)
        reply = self._replies.setdefault(stream, _Reply())
        reply.content, reply.more = memoryview(b""), iter(())
        reply.status, reply.message = error.status, error.message

    def _method(self, path: str) -> Method:
        if path not in self._methods:
            raise CallError(Status.UNIMPLEMENTED, f"{path} is not offered here")
        return self._methods[path]

    def _send(self, stream: int) -> None:
        """Send as much of a reply as the flow-control window allows, and finally its trailers."""
        reply = self._replies[stream]
        if not reply.is_started:
            self._wire.send_headers(stream, _RESPONSE_HEADERS)
            reply.is_started = True
        while reply.content or self._continue(stream, reply):
            room = self._wire.local_flow_control_window(stream)
            size = min(room, self._wire.max_outbound_frame_size, len(reply.content))
            if size <= 0:
                return
            self._wire.send_data(stream, bytes(reply.content[:size]))
            reply.content = reply.content[size:]

    def _continue(self, stream: int, reply: _Reply) -> bool:
        """Return whether there is another message to send now; end the call after the last one."""
        try:
            message = next(reply.more)
        except StopIteration:
            self._end(stream, reply)
            return False
        except CallError as error:
            self._fail(stream, error)
            self._end(stream, reply)
            return False
        if message is None:
            return False
        reply.content = _frame(message)
        return True

    def _end(self, stream: int, reply: _Reply) -> None:
        self._wire.send_headers(
            stream,
            (("grpc-status", str(int(reply.status))), ("grpc-message", quote(reply.message))),
            end_stream=True,
        )
        del self._replies[stream]
        self._calls.pop(stream, None)


def _frame(message: bytes) -> memoryview:
    return memoryview(b"\0" + len(message).to_bytes(4, "big") + message)


def _take_message(content: bytearray) -> bytes | None:
    """Remove and return the first message; ``None`` if it has not arrived completely."""
    size = int.from_bytes(content[1:_HEAD_BYTES], "big")
    if len(content) >= _HEAD_BYTES and size > MAX_REQUEST:
        raise CallError(Status.RESOURCE_EXHAUSTED, "the message is too long")
    if len(content) < _HEAD_BYTES + size or len(content) < _HEAD_BYTES:
        return None
    message = _message(content[: _HEAD_BYTES + size])
    del content[: _HEAD_BYTES + size]
    return message


def _message(content: bytearray) -> bytes:
    """Return the single message of a call: a byte for "not compressed", the length, the content."""
    if len(content) > MAX_REQUEST + _HEAD_BYTES:
        raise CallError(Status.RESOURCE_EXHAUSTED, "the message is too long")
    head, message = content[:_HEAD_BYTES], content[_HEAD_BYTES:]
    if len(head) < _HEAD_BYTES or head[0] or int.from_bytes(head[1:], "big") != len(message):
        raise CallError(Status.INTERNAL, "expected one uncompressed message")
    return bytes(message)
