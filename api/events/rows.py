"""Read a job and its events from the database."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from api.events.wire import EventOutput, make_event, write_event
from shared.database import Connection, Pool
from shared.jobs.states import State

PAGE = 200

JOB = """
SELECT state, attempt, server_id, event_seq, progress, error, finished_at
  FROM job WHERE job_id = %s
"""
EVENTS = """
SELECT seq, attempt, kind, state, data, at FROM job_event
 WHERE job_id = %s AND seq > %s ORDER BY seq LIMIT %s
"""


@dataclass(frozen=True)
class JobRow:
    """The columns of a job that a stream needs; ``event_seq`` numbers its newest event."""

    state: State
    attempt: int
    server_id: str
    event_seq: int
    progress: dict[str, Any] | None
    error: dict[str, Any] | None
    finished_at: datetime | None


@dataclass(frozen=True)
class Event:
    """A stored event as it is sent; the last one holds the job's final state."""

    seq: int
    text: bytes
    is_last: bool

    @classmethod
    def of(cls, event: EventOutput) -> "Event":
        is_last = event.state is not None and event.state.is_final
        return cls(event.seq, write_event(event), is_last)


async def read_job(connection: Connection, job_id: str) -> JobRow | None:
    row = await (await connection.execute(JOB, (job_id,))).fetchone()
    return JobRow(**{**row, "state": State(row["state"])}) if row else None


async def read_page(pool: Pool, job_id: str, after: int) -> Sequence[Event]:
    """Return the events after ``after``, up to `PAGE`; none if there are no more.

    If the job's events were deleted, its last event is made from its row.
    """
    async with pool.connection() as connection:
        events = await read_events(connection, job_id, after)
        if events:
            return events
        job = await read_job(connection, job_id)
    end = make_end(job) if job else None
    return [end] if end and end.seq > after else []


async def read_events(connection: Connection, job_id: str, after: int) -> list[Event]:
    rows = await (await connection.execute(EVENTS, (job_id, after, PAGE))).fetchall()
    return [Event.of(make_event(**row)) for row in rows]


def make_end(job: JobRow) -> Event | None:
    """Make the last event of an ended job from its row."""
    if job.finished_at is None:
        return None
    data = {"error": job.error} if job.error else {}
    event = make_event(
        seq=job.event_seq,
        attempt=job.attempt,
        kind="state",
        state=job.state,
        data=data,
        at=job.finished_at,
    )
    return Event.of(event)
