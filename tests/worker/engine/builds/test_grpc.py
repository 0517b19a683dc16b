"""gRPC calls on one connection, made by a client of h2 on a real socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded, TrailersReceived
from h2.exceptions import ProtocolError

from worker.engine.builds.grpc import MAX_REQUEST, CallError, Status, serve

ECHO, DENY, LONG = "/test.Test/Echo", "/test.Test/Deny", "/test.Test/Long"
LONG_ANSWER = bytes(range(256)) * 2_000


def deny(_: bytes) -> bytes:
    raise CallError(Status.NOT_FOUND, "not for you: 100 %")


METHODS = {ECHO: lambda message: message, DENY: deny, LONG: lambda _: LONG_ANSWER}


@dataclass
class Answer:
    headers: dict[bytes, bytes] = field(default_factory=dict)
    trailers: dict[bytes, bytes] = field(default_factory=dict)
    content: bytes = b""
    has_ended: bool = False

    @property
    def status(self) -> int:
        return int(self.trailers[b"grpc-status"])

    @property
    def message(self) -> bytes:
        assert self.content[:5] == b"\0" + (len(self.content) - 5).to_bytes(4, "big")
        return self.content[5:]


@dataclass
class Caller:
    """The other side: opens streams, gives room as it reads, keeps the answers."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    wire: H2Connection = field(
        default_factory=lambda: H2Connection(H2Configuration(client_side=True))
    )
    answers: dict[int, Answer] = field(default_factory=dict)
    unsent: dict[int, bytes] = field(default_factory=dict)

    def call(self, path: str, content: bytes) -> Answer:
        """Begin a call with these bytes on the wire."""
        stream = self.wire.get_next_available_stream_id()
        self.wire.send_headers(
            stream,
            [
                *((":method", "POST"), (":scheme", "http"), (":path", path)),
                *((":authority", "test"), ("content-type", "application/grpc"), ("te", "trailers")),
            ],
        )
        self.unsent[stream] = content
        self.answers[stream] = Answer()
        return self.answers[stream]

    def send(self) -> None:
        self.queue()
        self.writer.write(self.wire.data_to_send())

    def queue(self) -> None:
        """As much of the calls as there is room for, not yet on its way."""
        for stream, content in list(self.unsent.items()):
            size = min(self.wire.local_flow_control_window(stream), 16_384, len(content))
            if size == len(content):
                self.wire.send_data(stream, content, end_stream=True)
                del self.unsent[stream]
            elif size:
                self.wire.send_data(stream, content[:size])
                self.unsent[stream] = content[size:]

    async def ended(self, *answers: Answer) -> None:
        async with asyncio.timeout(10):
            while not all(answer.has_ended for answer in answers):
                self.send()
                self._hear(await self.reader.read(64 * 1024))

    def _hear(self, content: bytes) -> None:
        assert content, "hung up"
        for event in self.wire.receive_data(content):
            match event:
                case ResponseReceived(stream_id=stream, headers=headers):
                    self.answers[stream].headers = dict(headers)
                case TrailersReceived(stream_id=stream, headers=headers):
                    self.answers[stream].trailers = dict(headers)
                case DataReceived(stream_id=stream, data=data, flow_controlled_length=length):
                    self.answers[stream].content += data
                    self.wire.acknowledge_received_data(length, stream)
                case StreamEnded(stream_id=stream):
                    self.answers[stream].has_ended = True
                case _:
                    pass


@dataclass
class Line:
    """A server that ends with its one connection, and what it ended with."""

    path: Path
    ended: asyncio.Future[BaseException | None]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer, METHODS)
        except (ProtocolError, OSError) as error:
            self.ended.set_result(error)
        else:
            self.ended.set_result(None)
        finally:
            writer.close()


@asynccontextmanager
async def open_line(directory: Path) -> AsyncIterator[Line]:
    line = Line(directory / "grpc.sock", asyncio.get_running_loop().create_future())
    server = await asyncio.start_unix_server(line.serve, line.path)
    async with server:
        yield line


@pytest.fixture
async def line(tmp_path: Path) -> AsyncIterator[Line]:
    async with open_line(tmp_path) as line:
        yield line


@pytest.fixture
async def caller(line: Line) -> AsyncIterator[Caller]:
    caller = Caller(*await asyncio.open_unix_connection(line.path))
    caller.wire.initiate_connection()
    yield caller
    caller.writer.close()
    async with asyncio.timeout(10):
        assert await line.ended is None


def framed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


async def test_calls_are_answered_in_whatever_number(caller: Caller) -> None:
    messages = [b"", b"one", bytes(10_000)]
    answers = [caller.call(ECHO, framed(message)) for message in messages]

    await caller.ended(*answers)

    assert [answer.message for answer in answers] == messages
    assert {answer.status for answer in answers} == {Status.OK}
    assert answers[0].headers[b":status"] == b"200"
    assert answers[0].headers[b"content-type"] == b"application/grpc"


async def test_an_answer_longer_than_the_window_comes_whole(caller: Caller) -> None:
    answers = [caller.call(LONG, framed(b"")) for _ in range(3)]

    await caller.ended(*answers)

    assert all(answer.message == LONG_ANSWER for answer in answers)


async def test_a_refusal_says_why_in_its_trailers(caller: Caller) -> None:
    answer = caller.call(DENY, framed(b""))

    await caller.ended(answer)

    assert (answer.status, answer.content) == (Status.NOT_FOUND, b"")
    assert answer.trailers[b"grpc-message"] == b"not%20for%20you%3A%20100%20%25"


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
async def test_what_is_no_call_of_ours_is_refused_and_the_next_one_answered(
    caller: Caller, path: str, content: bytes, status: Status
) -> None:
    wrong, right = caller.call(path, content), caller.call(ECHO, framed(b"right"))

    await caller.ended(wrong, right)

    assert (wrong.status, wrong.content) == (status, b"")
    assert right.message == b"right"


async def test_a_call_that_is_taken_back_at_once_harms_no_other_one(caller: Caller) -> None:
    taken_back = caller.call(ECHO, framed(b"never mind"))
    [stream] = caller.answers
    caller.queue()
    caller.wire.reset_stream(stream)
    answer = caller.call(ECHO, framed(b"still here"))

    await caller.ended(answer)

    assert answer.message == b"still here"
    assert not taken_back.has_ended


async def test_who_takes_leave_in_the_middle_of_a_call_is_no_error(caller: Caller) -> None:
    caller.call(LONG, framed(b""))
    caller.queue()
    caller.wire.close_connection()

    caller.send()


async def test_a_call_without_a_path_is_refused(caller: Caller) -> None:
    stream = caller.wire.get_next_available_stream_id()
    answer = caller.answers[stream] = Answer()
    tunnel = ((":method", "CONNECT"), (":authority", "test"))
    caller.wire.send_headers(stream, tunnel, end_stream=True)

    await caller.ended(answer)

    assert answer.status == Status.UNIMPLEMENTED


async def test_what_is_no_http_2_ends_the_connection(line: Line) -> None:
    _, writer = await asyncio.open_unix_connection(line.path)

    writer.write(b"GET / HTTP/1.1\r\n\r\n" + bytes(100))

    async with asyncio.timeout(10):
        assert isinstance(await line.ended, ProtocolError)
    writer.close()
