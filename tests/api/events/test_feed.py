"""The events that a feed makes of rows, by a clock of the test."""

import json
from dataclasses import dataclass, replace
from typing import Any

from api.events.feed import Feed
from api.events.rows import Event, JobRow
from shared.jobs.states import State

QUEUED = JobRow(State.QUEUED, 0, "server-1", 1, None, None, None)


def running(*, at_bytes: int, attempt: int = 1) -> JobRow:
    layer = {"id": "a", "state": "moving", "current_bytes": at_bytes, "total_bytes": 1000}
    return replace(QUEUED, state=State.RUNNING, attempt=attempt, progress={"layers": [layer]})


@dataclass
class Watched:
    """A feed, what it sends, and the time."""

    now: float = 0.0

    def __post_init__(self) -> None:
        self.feed = Feed("job-1", lambda: self.now)

    def take(self, job: JobRow, seconds: float) -> dict[str, Any]:
        """Return the events of a row that is read so much later."""
        self.now += seconds
        self.feed.take(job, ())
        assert self.feed.snapshot is not None
        name, data, *_ = self.feed.snapshot.decode().split("\n")
        assert name == "event: snapshot"
        shown: dict[str, Any] = json.loads(data.removeprefix("data: "))
        return shown


def test_a_snapshot_has_state_attempt_and_progress() -> None:
    watched = Watched()

    assert watched.take(QUEUED, 0) == {"state": "queued", "attempt": 0, "progress": None}
    assert watched.take(running(at_bytes=10), 1) == {
        "state": "running",
        "attempt": 1,
        "progress": {
            "currentBytes": 10,
            "totalBytes": 1000,
            "layers": [{"id": "a", "state": "moving", "currentBytes": 10, "totalBytes": 1000}],
            "rate": None,
            "secondsLeft": None,
            "stalled": None,
        },
    }


def test_a_stall_is_reported_without_any_change_in_the_row() -> None:
    watched = Watched()
    watched.take(running(at_bytes=10), 0)

    before = watched.take(running(at_bytes=10), 29)
    after = watched.take(running(at_bytes=10), 5)

    assert before["progress"]["stalled"] is None
    assert after["progress"]["stalled"] == {"layer": "a", "seconds": 34}


def test_a_job_that_does_not_run_is_not_stalled() -> None:
    watched = Watched()
    watched.take(running(at_bytes=10), 0)

    lost = replace(running(at_bytes=10), state=State.QUEUED)

    assert watched.take(lost, 40)["progress"]["stalled"] is None


def test_bytes_do_not_fall_when_a_second_attempt_begins() -> None:
    watched = Watched()
    watched.take(running(at_bytes=600), 0)

    assert watched.take(running(at_bytes=20, attempt=2), 3)["progress"]["currentBytes"] == 600


def test_there_are_four_snapshots_a_second_at_the_most_and_the_newest_is_not_lost() -> None:
    watched = Watched()
    seen = {
        watched.take(running(at_bytes=number), 0.01)["progress"]["currentBytes"]
        for number in range(100)
    }
    behind = watched.feed.pause().total_seconds()

    assert len(seen) == 4
    assert behind == 0.25
    assert watched.take(running(at_bytes=99), behind)["progress"]["currentBytes"] == 99
    assert watched.feed.pause().total_seconds() == 5


def test_progress_of_another_kind_is_shown_as_it_is() -> None:
    odd = replace(running(at_bytes=0), progress={"done_parts": 3})

    assert Watched().take(odd, 0)["progress"] == {"doneParts": 3}


def test_only_the_newest_events_are_kept() -> None:
    feed = Feed("job-1", lambda: 0.0)
    feed.take(QUEUED, ())
    for seq in range(2, 502):
        feed.take(replace(QUEUED, event_seq=seq), [Event(seq, b"", is_last=False)])

    assert len(feed.recent) == 64
    assert (feed.floor, feed.position) == (437, 501)
