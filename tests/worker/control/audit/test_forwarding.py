"""Entries of the audit log reach files, syslog servers and web endpoints: in order, none lost."""

import asyncio
import json
import resource
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from shared.audit.entries import Entry
from shared.audit.lines import parse_line
from shared.database import open_pool
from shared.errors import SetupError
from tests.waiting import wait_until
from tests.worker.control.audit.log import add_entries, chain, make_log
from tests.worker.control.endpoints import open_endpoint
from tests.world import World
from worker.control.audit.archive import Archive
from worker.control.audit.destinations import Destination, frame_message, parse_destinations
from worker.control.audit.forwarding import ATTEMPT, BATCH, Forwarding

NOW = "UPDATE set_aside SET next_at = now()"


def entries_in(text: str) -> list[int]:
    """Return the numbers of the entries; each is verified to have its hash."""
    lines = [parse_line(json.loads(line)) for line in text.splitlines()]
    entries = [line for line in lines if isinstance(line, Entry)]
    assert [one.compute_hash() for one in entries] == [one.hash for one in entries]
    return [one.sequence for one in entries]


async def forward(
    world: World, destinations: Sequence[Destination], attempt: timedelta = ATTEMPT
) -> float | None:
    async with open_pool(world.database.url("wharf_control")) as pool:
        return await Forwarding(destinations, attempt).forward_due(pool)


@asynccontextmanager
async def open_syslog() -> AsyncIterator[tuple[int, bytearray]]:
    """Open a syslog server; yield its port, and the bytes that it gets."""
    received = bytearray()

    async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.extend(await reader.read(-1))
        writer.close()

    server = await asyncio.start_server(read, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], received


def read_frames(content: bytes) -> list[bytes]:
    """Read messages with their lengths before them (RFC 6587, section 3.4.1)."""
    messages = []
    while content:
        length, _, content = content.partition(b" ")
        messages.append(content[: int(length)])
        content = content[int(length) :]
    return messages


async def test_a_file_gets_each_entry_once_and_may_be_rotated(world: World, tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    destinations = parse_destinations(f"file://{path}")
    await make_log(world)
    await forward(world, destinations)
    await forward(world, destinations)
    assert entries_in(path.read_text()) == list(range(1, 10))
    assert path.stat().st_mode & 0o077 == 0

    path.rename(tmp_path / "audit.jsonl.1")
    await add_entries(world, 2)
    await chain(world)
    await forward(world, destinations)

    assert entries_in(path.read_text()) == [10, 11]


async def test_a_syslog_server_gets_a_message_for_each_entry(world: World) -> None:
    await make_log(world)
    async with open_syslog() as (port, received):
        await forward(world, parse_destinations(f"syslog+tcp://127.0.0.1:{port}"))
        await wait_until(lambda: len(read_frames(bytes(received))) == 9)

    texts = [message.decode() for message in read_frames(bytes(received))]
    assert all(text.startswith("<110>1 20") for text in texts)
    assert entries_in("\n".join(text.split(" ", 7)[7] for text in texts)) == list(range(1, 10))


async def test_an_endpoint_that_was_away_gets_what_it_missed_and_delays_no_other(
    world: World, tmp_path: Path
) -> None:
    path = tmp_path / "audit.jsonl"
    await make_log(world)
    async with open_endpoint(503, 204) as endpoint:
        url = f"{endpoint.url.partition('?')[0]}"
        destinations = parse_destinations(f"{url}, file://{path}", "t0ken-canary")

        await forward(world, destinations)
        assert entries_in(path.read_text()) == list(range(1, 10))
        [aside] = await world.rows("SELECT row_id, code, message FROM set_aside")
        assert (aside["row_id"], aside["code"]) == (url, "audit_not_forwarded")
        assert "503" in aside["message"]
        await forward(world, destinations)
        assert len(endpoint.messages) == 1, "it is tried again after a pause"

        await world.owner.execute(NOW)
        await add_entries(world, 1)
        await chain(world)
        await forward(world, destinations)

    last = endpoint.messages[-1]
    assert last.headers["content-type"] == "application/x-ndjson"
    assert last.headers["authorization"] == "Bearer t0ken-canary"
    assert entries_in(last.body.decode()) == list(range(1, 11))
    assert "t0ken-canary" not in str(await world.rows("SELECT * FROM audit_forwarded"))


async def test_an_endpoint_that_hangs_is_given_up_and_delays_no_other(
    world: World, tmp_path: Path
) -> None:
    path = tmp_path / "audit.jsonl"
    await make_log(world)
    async with open_endpoint() as endpoint:
        endpoint.begins = asyncio.Event().wait  # type: ignore[assignment]
        url = endpoint.url.partition("?")[0]
        destinations = parse_destinations(f"{url}, file://{path}")
        await forward(world, destinations, timedelta(seconds=0.2))

    assert entries_in(path.read_text()) == list(range(1, 10))
    [aside] = await world.rows("SELECT row_id, message FROM set_aside")
    assert (aside["row_id"], aside["message"].endswith("in time")) == (url, True)


async def test_a_log_that_another_replica_sends_is_left_to_it(world: World, tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    destinations = parse_destinations(f"file://{path}")
    await make_log(world)
    await world.owner.execute(
        "INSERT INTO audit_forwarded (destination, organization_id, sequence, claimed_until)"
        " VALUES (%s, %s, 3, now() + interval '1 minute')",
        (f"file://{path}", world.organization_id),
    )

    await forward(world, destinations)
    assert not path.exists()

    await world.owner.execute("UPDATE audit_forwarded SET claimed_until = now()")
    await forward(world, destinations)
    assert entries_in(path.read_text()) == list(range(4, 10))


async def test_a_full_disk_leaves_whole_lines(world: World, tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_text("a line before\n")
    await make_log(world)
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, former[1]))
        await forward(world, parse_destinations(f"file://{path}"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_text() == "a line before\n"

    await world.owner.execute(NOW)
    await forward(world, parse_destinations(f"file://{path}"))
    assert entries_in(path.read_text().removeprefix("a line before\n")) == list(range(1, 10))


async def test_more_than_a_batch_is_sent_without_a_pause(world: World, tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    destinations = parse_destinations(f"file://{path}")
    await add_entries(world, BATCH + 1)
    await chain(world)

    assert await forward(world, destinations) == 0.0
    assert await forward(world, destinations) is None
    assert entries_in(path.read_text()) == list(range(1, BATCH + 2))


async def test_the_archive_keeps_entries_that_a_destination_does_not_have(
    world: World, tmp_path: Path
) -> None:
    destinations = parse_destinations(f"file://{tmp_path}/audit.jsonl")
    names = [one.name for one in destinations]
    archive = Archive(world.keys, tmp_path / "archive", timedelta(0), names)
    archive.directory.mkdir()
    await make_log(world)

    await archive.close_due(world.control)
    assert len(await world.rows("SELECT FROM audit_event")) == 9

    await forward(world, destinations)
    await archive.close_due(world.control)
    assert len(await world.rows("SELECT FROM audit_event")) == 1


@pytest.mark.parametrize(
    "text",
    [
        *("logs.example.com", "ftp://logs.example.com", "file://relative/path", "https://"),
        *(
            "http://logs.example.com/audit",
            "https://ann:s3cret@logs.example.com/",
            "syslog+tcp:///",
        ),
        "https://logs.example.com/?token=s3cret",
        *("syslog+tls://logs.example.com:x", "file:///no/such/directory/audit.jsonl"),
    ],
)
def test_a_destination_that_cannot_work_is_refused_at_the_start(text: str) -> None:
    with pytest.raises(SetupError) as refused:
        parse_destinations(text)

    assert refused.value.message.startswith("WHARF_AUDIT_FORWARD")
    assert "s3cret" not in refused.value.message + refused.value.remedy


def test_a_token_is_for_one_web_endpoint() -> None:
    urls = "https://one.example.com/audit, https://two.example.com/audit"
    assert len(parse_destinations(urls)) == 2

    with pytest.raises(SetupError, match="only one may get the token"):
        parse_destinations(urls, "s3cret")


def test_the_length_of_a_syslog_message_counts_bytes() -> None:
    entry = Entry("o", 1, "e", "2026-12-01T12:00:00.000000Z", "x", "é", None, None, "0" * 64)

    length, _, message = frame_message(entry).partition(b" ")

    assert int(length) == len(message) > len(message.decode())
