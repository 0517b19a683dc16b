"""gRPC calls on one connection, made by an h2 client on a real socket."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded, TrailersReceived
from h2.exceptions import ProtocolError

from worker.engine.builds.grpc import MAX_REQUEST, CallError, Metadata, Status, serve

ECHO, DENY, LONG = "/test.Test/Echo", "/test.Test/Deny", "/test.Test/Long"
ECHOES = "/test.Test/Echoes"
LONG_RESPONSE = bytes(range(256)) * 2_000


def deny(_: bytes) -> bytes:
    raise CallError(Status.NOT_FOUND, "not for you: 100 %")


class Echoes:
    """An exchange that returns each message twice, until it gets an empty one."""

    def __init__(self, metadata: Metadata) -> None:
        self.received = list(metadata.get("greeting", ()))
        self.messages = [text.encode() for text in self.received]
        self.has_ended = False
        if not self.messages:
            raise CallError(Status.NOT_FOUND, "no greeting")

    def receive(self, message: bytes) -> None:
        if message == b"fail":
            raise CallError(Status.INTERNAL, "refused by the test")
        self.has_ended = not message
        self.messages.append(message)

    def send(self) -> Iterator[bytes | None]:
        while self.messages or not self.has_ended:
            if self.messages:
                yield from [self.messages.pop(0)] * 2
            else:
                yield None


METHODS = {ECHO: lambda message: message, DENY: deny, LONG: lambda _: LONG_RESPONSE}


@dataclass
class GrpcResponse:
    headers: dict[bytes, bytes] = field(default_factory=dict)
    trailers: dict[bytes, bytes] = field(default_factory=dict)
    content: bytes = b""
    has_ended: bool = False

    @property
    def status(self) -> int:
        return int(self.trailers[b"grpc-status"])

    @property
    def messages(self) -> list[bytes]:
        found, at = list[bytes](), 0
        while at < len(self.content):
            size = int.from_bytes(self.content[at + 1 : at + 5], "big")
            found.append(self.content[at + 5 : at + 5 + size])
            at += 5 + size
        return found

    @property
    def message(self) -> bytes:
        assert self.content[:5] == b"\0" + (len(self.content) - 5).to_bytes(4, "big")
        return self.content[5:]


@dataclass
class GrpcClient:
    """A client that opens streams, updates windows as it reads, and keeps the responses."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    wire: H2Connection = field(
        default_factory=lambda: H2Connection(H2Configuration(client_side=True))
    )
    responses: dict[int, GrpcResponse] = field(default_factory=dict)
    unsent: dict[int, bytes] = field(default_factory=dict)
    open: set[int] = field(default_factory=set)

    def call(
        self, path: str, content: bytes, *greetings: str, stays_open: bool = False
    ) -> GrpcResponse:
        """Start a call with these bytes as its content, or as the start of it."""
        stream = self.wire.get_next_available_stream_id()
        self.wire.send_headers(
            stream,
            [
                *((":method", "POST"), (":scheme", "http"), (":path", path)),
                *((":authority", "test"), ("content-type", "application/grpc"), ("te", "trailers")),
                *(("greeting", greeting) for greeting in greetings),
            ],
        )
        self.unsent[stream] = content
        self.open |= {stream} if stays_open else set()
        self.responses[stream] = GrpcResponse()
        return self.responses[stream]

    def send(self) -> None:
        self.queue()
        self.writer.write(self.wire.data_to_send())

    def queue(self) -> None:
        """Prepare as much of the calls as the windows allow, without sending it."""
        for stream, content in list(self.unsent.items()):
            size = min(self.wire.local_flow_control_window(stream), 16_384, len(content))
            if size == len(content):
                self.wire.send_data(stream, content, end_stream=stream not in self.open)
                del self.unsent[stream]
            elif size:
                self.wire.send_data(stream, content[:size])
                self.unsent[stream] = content[size:]

    async def wait_for(self, *responses: GrpcResponse) -> None:
        async with asyncio.timeout(10):
            while not all(response.has_ended for response in responses):
                self.send()
                self._handle(await self.reader.read(64 * 1024))

    def _handle(self, content: bytes) -> None:
        assert content, "hung up"
        for event in self.wire.receive_data(content):
            match event:
                case ResponseReceived(stream_id=stream, headers=headers):
                    self.responses[stream].headers = dict(headers)
                case TrailersReceived(stream_id=stream, headers=headers):
                    self.responses[stream].trailers = dict(headers)
                case DataReceived(stream_id=stream, data=data, flow_controlled_length=length):
                    self.responses[stream].content += data
                    self.wire.acknowledge_received_data(length, stream)
                case StreamEnded(stream_id=stream):
                    self.responses[stream].has_ended = True
                case _:
                    pass


@dataclass
class GrpcServer:
    """A server for one connection; ``ended`` is the error that ended it, or ``None``."""

    path: Path
    ended: asyncio.Future[BaseException | None]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer, METHODS, {ECHOES: Echoes})
        except (ProtocolError, OSError) as error:
            self.ended.set_result(error)
        else:
            self.ended.set_result(None)
        finally:
            writer.close()


@asynccontextmanager
async def open_grpc_server(directory: Path) -> AsyncIterator[GrpcServer]:
    server = GrpcServer(directory / "grpc.sock", asyncio.get_running_loop().create_future())
    async with await asyncio.start_unix_server(server.serve, server.path):
        yield server


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[GrpcServer]:
    async with open_grpc_server(tmp_path) as server:
        yield server


@pytest.fixture
async def client(server: GrpcServer) -> AsyncIterator[GrpcClient]:
    client = GrpcClient(*await asyncio.open_unix_connection(server.path))
    client.wire.initiate_connection()
    yield client
    client.writer.close()
    async with asyncio.timeout(10):
        assert await server.ended is None


def framed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


async def test_several_calls_are_answered(client: GrpcClient) -> None:
    messages = [b"", b"one", bytes(10_000)]
    responses = [client.call(ECHO, framed(message)) for message in messages]

    await client.wait_for(*responses)

    assert [response.message for response in responses] == messages
    assert {response.status for response in responses} == {Status.OK}
    assert responses[0].headers[b":status"] == b"200"
    assert responses[0].headers[b"content-type"] == b"application/grpc"


@pytest.mark.parametrize("stays_open", [True, False])
async def test_an_exchange_ends_with_its_last_message(
    client: GrpcClient, *, stays_open: bool
) -> None:
    large = bytes(range(256)) * 200
    content = b"".join(framed(message) for message in (b"one", large, b"two", b""))

    response = client.call(ECHOES, content, "hello", "again", stays_open=stays_open)
    other = client.call(ECHO, framed(b"another call"))
    await client.wait_for(response, other)

    sent = [b"hello", b"again", b"one", large, b"two", b""]
    assert response.messages == [message for message in sent for _ in range(2)]
    assert (response.status, other.message) == (Status.OK, b"another call")


@pytest.mark.parametrize(
    ("content", "greeting", "status"),
    [
        (framed(b"fail"), ["hello"], Status.INTERNAL),
        (framed(b"one"), [], Status.NOT_FOUND),
        (b"\0" + (MAX_REQUEST + 1).to_bytes(4, "big"), ["hello"], Status.RESOURCE_EXHAUSTED),
        (b"\1" + framed(b"packed")[1:], ["hello"], Status.INTERNAL),
    ],
)
async def test_a_failed_exchange_ends_and_the_next_one_is_answered(
    client: GrpcClient, content: bytes, greeting: list[str], status: Status
) -> None:
    failed = client.call(ECHOES, content, *greeting, stays_open=True)
    good = client.call(ECHOES, framed(b""), "hello")

    await client.wait_for(failed, good)

    assert (failed.status, good.status) == (status, Status.OK)
    assert good.messages[:2] == [b"hello", b"hello"]


async def test_a_response_longer_than_the_window_is_sent_completely(client: GrpcClient) -> None:
    responses = [client.call(LONG, framed(b"")) for _ in range(3)]

    await client.wait_for(*responses)

    assert all(response.message == LONG_RESPONSE for response in responses)


async def test_a_refusal_has_its_reason_in_the_trailers(client: GrpcClient) -> None:
    response = client.call(DENY, framed(b""))

    await client.wait_for(response)

    assert (response.status, response.content) == (Status.NOT_FOUND, b"")
    assert response.trailers[b"grpc-message"] == b"not%20for%20you%3A%20100%20%25"


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        ("/test.Test/None", framed(b""), Status.UNIMPLEMENTED),
        (ECHO, b"", Status.INTERNAL),
        (ECHO, framed(b"short")[:-1], Status.INTERNAL),
        (ECHO, framed(b"more") + b"!", Status.INTERNAL),
        (ECHO, b"\1" + framed(b"compressed")[1:], Status.INTERNAL),
        (ECHO, framed(bytes(MAX_REQUEST + 1)), Status.RESOURCE_EXHAUSTED),
    ],
)
async def test_an_unknown_or_malformed_call_is_refused_and_the_next_one_answered(
    client: GrpcClient, path: str, content: bytes, status: Status
) -> None:
    wrong, right = client.call(path, content), client.call(ECHO, framed(b"right"))

    await client.wait_for(wrong, right)

    assert (wrong.status, wrong.content) == (status, b"")
    assert right.message == b"right"


async def test_a_call_that_is_reset_at_once_does_not_affect_others(client: GrpcClient) -> None:
    taken_back = client.call(ECHO, framed(b"never mind"))
    [stream] = client.responses
    client.queue()
    client.wire.reset_stream(stream)
    response = client.call(ECHO, framed(b"still here"))

    await client.wait_for(response)

    assert response.message == b"still here"
    assert not taken_back.has_ended


async def test_a_client_that_disconnects_during_a_call_is_not_an_error(client: GrpcClient) -> None:
    client.call(LONG, framed(b""))
    client.queue()
    client.wire.close_connection()

    client.send()


async def test_a_call_without_a_path_is_refused(client: GrpcClient) -> None:
    stream = client.wire.get_next_available_stream_id()
    response = client.responses[stream] = GrpcResponse()
    tunnel = ((":method", "CONNECT"), (":authority", "test"))
    client.wire.send_headers(stream, tunnel, end_stream=True)

    await client.wait_for(response)

    assert response.status == Status.UNIMPLEMENTED


async def test_a_client_without_http_2_ends_the_connection(server: GrpcServer) -> None:
    _, writer = await asyncio.open_unix_connection(server.path)

    writer.write(b"GET / HTTP/1.1\r\n\r\n" + bytes(100))

    async with asyncio.timeout(10):
        assert isinstance(await server.ended, ProtocolError)
    writer.close()
