"""A job's log: its limits, its batches and its transfer to the database."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.waiting import wait_until
from tests.world import World
from worker.jobs.joblog import MAX_LINE, JobLog, LogLimits, open_log
from worker.jobs.mask import Mask

OFTEN = LogLimits(every=timedelta(milliseconds=20), slow=timedelta(milliseconds=40))


@dataclass
class Store:
    """The pieces that were sent to a database, which may be away for a while."""

    pieces: list[str] = field(default_factory=list)
    away: int = 0

    numbers: list[int] = field(default_factory=list)

    async def send(self, number: int, piece: Mapping[str, str]) -> None:
        self.numbers.append(number)
        if self.away:
            self.away -= 1
            raise psycopg.OperationalError("away")
        self.pieces.append(piece["text"])

    @property
    def text(self) -> str:
        return "\n".join(self.pieces)


async def test_all_lines_are_sent_in_batches() -> None:
    store = Store()

    async with open_log(store.send, Mask(), OFTEN) as log:
        for number in range(100):
            log.add(f"line {number}")

    assert store.text.splitlines() == [f"line {number}" for number in range(100)]
    assert len(store.pieces) <= 2


async def test_lines_are_sent_while_the_work_goes_on() -> None:
    store = Store()

    async with open_log(store.send, Mask(), OFTEN) as log:
        log.add("first")
        await wait_until(lambda: store.text == "first")


async def test_a_log_is_sent_also_where_the_work_fails() -> None:
    store = Store()

    async def fail() -> None:
        async with open_log(store.send, Mask(), OFTEN) as log:
            log.add("why")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()

    assert store.text == "why"


async def test_nothing_is_lost_or_doubled_while_the_database_is_away() -> None:
    store = Store(away=3)

    async with open_log(store.send, Mask(), OFTEN) as log:
        log.add("one")
        await wait_until(lambda: store.away == 0)
        log.add("two")

    assert store.text.splitlines() == ["one", "two"]
    assert store.numbers == [1, 1, 1, 1, 2]  # a repeat keeps its number


async def test_a_log_that_cannot_be_sent_delays_nothing() -> None:
    async def hang(_: int, __: Mapping[str, str]) -> None:
        await asyncio.Event().wait()

    async with asyncio.timeout(3):
        async with open_log(hang, Mask(), OFTEN, flush_timeout=timedelta(milliseconds=50)) as log:
            log.add("lost")


async def test_an_attempt_sends_no_more_pieces_than_it_may() -> None:
    store = Store()
    pace = LogLimits(OFTEN.every, OFTEN.slow, piece_bytes=10, pieces=5)

    async with open_log(store.send, Mask(), pace) as log:
        for _ in range(50):
            log.add("x" * 9)

    assert len(store.pieces) == 5


def test_a_secret_is_hidden_even_where_the_line_is_cut() -> None:
    log = JobLog(Mask(["correct-horse"]), LogLimits())

    log.add("x" * (MAX_LINE - 4) + "correct-horse")

    [piece] = log.take()
    assert "corr" not in piece


def test_a_long_line_is_cut_and_says_so() -> None:
    log = JobLog(Mask(), LogLimits())

    log.add("é" * (MAX_LINE + 5))

    [piece] = log.take()
    assert piece.endswith(" [5 characters left out]")
    assert len(piece.encode()) < 16_000


def test_excess_lines_are_left_out_and_counted() -> None:
    log = JobLog(Mask(), LogLimits(waiting_bytes=100))

    for number in range(30):
        log.add(f"{number:09}")

    lines = "\n".join(log.take()).splitlines()
    assert lines == [*(f"{number:09}" for number in range(10)), "[20 lines left out]"]


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), max_size=40),
        max_size=50,
    )
)
def test_pieces_hold_whole_lines_in_order_and_fit(lines: list[str]) -> None:
    log = JobLog(Mask(), LogLimits(piece_bytes=200))
    for line in lines:
        log.add(line)

    pieces = list(log.take())

    assert "\n".join(pieces).split("\n") == (lines or [""])
    assert all(len(piece.encode()) <= 200 for piece in pieces)


async def test_the_largest_piece_fits_an_event(world: World) -> None:
    server = await world.add_server()
    job_id = await world.dispatch(server)
    functions = server.functions("first")
    await functions.claim(job_id, 1)

    async def send(number: int, piece: Mapping[str, str]) -> None:
        await functions.event(job_id, 1, number, "log", piece)

    async with open_log(send, Mask(), OFTEN) as log:
        log.add("\U0001f680" * (MAX_LINE + 1))
        for _ in range(300):
            log.add("é" * 200)

    rows = await world.rows("SELECT data FROM job_event WHERE kind = 'log' ORDER BY seq")
    text = "\n".join(row["data"]["text"] for row in rows)
    assert len(text.splitlines()) == 301
