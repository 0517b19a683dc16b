"""A server of unary gRPC calls on one connection that the client opened.

A builder calls it to request secrets and logins. h2 reads and writes the frames;
``doc/PROTOCOL-HTTP2.md`` of the gRPC project defines how calls are encoded in them.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
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

Method = Callable[[bytes], bytes]
"""Answers one message with one message; raises `CallError`."""

MAX_REQUEST = 64 * 1024
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
    path: str
    content: bytearray = field(default_factory=bytearray)


@dataclass
class _Reply:
    """The unsent part of a response."""

    content: memoryview
    status: Status
    message: str
    is_started: bool = False


async def serve(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, methods: Mapping[str, Method]
) -> None:
    """Answer calls of ``methods`` (``/package.Service/Method``) until the client disconnects.

    Raises:
        h2.exceptions.ProtocolError: it does not speak HTTP/2.
        OSError: the connection broke.
    """
    service = _Service(methods)
    writer.write(service.begin())
    try:
        while content := await reader.read(_READ_BYTES):
            service.feed(content)
            writer.write(service.unsent())
            await writer.drain()
    except ProtocolError:
        writer.write(service.unsent())  # the client gets the error
        raise


class _Service:
    """The calls of one connection, without its input and output."""

    def __init__(self, methods: Mapping[str, Method]) -> None:
        self._methods = methods
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
                path = dict(headers).get(b":path", b"")
                self._calls[stream] = _Call(path.decode(errors="replace"))
            case DataReceived(stream_id=stream, data=data, flow_controlled_length=length):
                self._wire.acknowledge_received_data(length, stream)
                call = self._calls[stream]
                call.content += data[: MAX_REQUEST + _HEAD_BYTES + 1 - len(call.content)]
            case StreamEnded(stream_id=stream):
                self._replies[stream] = self._reply(self._calls.pop(stream))
            case StreamReset(stream_id=stream):
                self._calls.pop(stream, None)
                self._replies.pop(stream, None)
            case ConnectionTerminated():
                self._replies.clear()
            case _:
                pass  # h2 itself handles settings, pings and windows

    def _reply(self, call: _Call) -> _Reply:
        try:
            response = self._method(call.path)(_message(call.content))
        except CallError as error:
            return _Reply(memoryview(b""), error.status, error.message)
        head = b"\0" + len(response).to_bytes(4, "big")
        return _Reply(memoryview(head + response), Status.OK, "")

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
        while reply.content:
            room = self._wire.local_flow_control_window(stream)
            size = min(room, self._wire.max_outbound_frame_size, len(reply.content))
            if size <= 0:
                return
            self._wire.send_data(stream, bytes(reply.content[:size]))
            reply.content = reply.content[size:]
        self._wire.send_headers(
            stream,
            (("grpc-status", str(int(reply.status))), ("grpc-message", quote(reply.message))),
            end_stream=True,
        )
        del self._replies[stream]


def _message(content: bytearray) -> bytes:
    """Return the single message of a call: a byte for "not compressed", the length, the content."""
    if len(content) > MAX_REQUEST + _HEAD_BYTES:
        raise CallError(Status.RESOURCE_EXHAUSTED, "the message is too long")
    head, message = content[:_HEAD_BYTES], content[_HEAD_BYTES:]
    if len(head) < _HEAD_BYTES or head[0] or int.from_bytes(head[1:], "big") != len(message):
        raise CallError(Status.INTERNAL, "expected one uncompressed message")
    return bytes(message)
