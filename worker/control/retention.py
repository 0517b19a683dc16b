"""Forget what is over and old: events first, then whole jobs, in small batches.

The two functions in ``rules.sql`` remove only what has ended; control has no other right to delete
a job.
"""

from dataclasses import dataclass
from datetime import timedelta

import structlog

from shared.database import Connection

BATCH = 500
IDLE_SECONDS = 60.0
BUSY_SECONDS = 1.0
"""Between two batches: what piled up goes quickly, and keeps nobody waiting."""

EVENTS = "SELECT job_event_prune(%s, %s) AS removed"
JOBS = "SELECT job_prune(%s, %s) AS removed"

log = structlog.get_logger()


@dataclass(frozen=True)
class Retention:
    """How long after its end a job is kept, and how long its events are."""

    jobs: timedelta = timedelta(days=30)
    events: timedelta = timedelta(days=7)


async def forget(connection: Connection, retention: Retention, *, batch: int = BATCH) -> float:
    """Remove one batch of each; gives the seconds until the next is due."""
    events = await _remove(connection, EVENTS, retention.events, batch)
    jobs = await _remove(connection, JOBS, retention.jobs, batch)
    if events or jobs:
        log.info("forgotten", jobs=jobs, events=events)
    return BUSY_SECONDS if batch in (events, jobs) else IDLE_SECONDS


async def _remove(connection: Connection, statement: str, age: timedelta, batch: int) -> int:
    row = await (await connection.execute(statement, (age, batch))).fetchone()
    return int(row["removed"]) if row else 0
