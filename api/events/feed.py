"""Read a job once for all its readers, on notifications of the API's one LISTEN connection.

A notification can be forged or lost: it only makes the feed read the rows again, which also happens
every few seconds without one.
"""

import asyncio
import contextlib
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import psycopg
import structlog

from api.errors import BusyError
from api.events.rows import Event, JobRow, make_end, read_events, read_job
from api.events.transfer import TransferWatch, parse_transfer
from api.events.wire import SnapshotOutput, write_snapshot
from api.fields.shapes import show_document
from shared.coroutines import wait_for_event
from shared.database import Pool
from shared.jobs.states import State

READ_EVERY = timedelta(seconds=5)
READ_WAITING_EVERY = timedelta(seconds=1)
"""No notification is sent when a job begins to run, so a waiting job is read more often."""

READ_PAUSE = timedelta(milliseconds=50)
SNAPSHOT_PAUSE = timedelta(milliseconds=250)
PACE = SNAPSHOT_PAUSE.total_seconds()
BUFFERED_EVENTS = 64

Clock = Callable[[], float]

log = structlog.get_logger()


@dataclass(eq=False)
class Feed:
    """One watched job. ``recent`` holds its newest events: all after ``floor``."""

    job_id: str
    clock: Clock
    notification: asyncio.Event = field(default_factory=asyncio.Event)
    readers: set[asyncio.Event] = field(default_factory=set)
    recent: deque[Event] = field(default_factory=lambda: deque(maxlen=BUFFERED_EVENTS))
    position: int | None = None
    snapshot: bytes | None = None
    is_over: bool = False
    server_id: str | None = None
    state: State | None = None
    task: asyncio.Task[None] | None = None
    _transfer: TransferWatch = field(default_factory=TransferWatch)
    _shown: float | None = None
    _is_behind: bool = False

    @property
    def floor(self) -> int | None:
        """Return the number of the last event that has to be read from the database."""
        return self.recent[0].seq - 1 if self.recent else self.position

    def take(self, job: JobRow | None, events: Sequence[Event]) -> None:
        """Add the rows read, and wake the readers if something is new."""
        before = (self.position, self.snapshot, self.is_over)
        if job is None:
            self.is_over = True
        else:
            self.server_id, self.state = job.server_id, job.state
            self._add(job, events)
            self._show(job)
        if (self.position, self.snapshot, self.is_over) != before:
            self.wake()

    def wake(self) -> None:
        for reader in self.readers:
            reader.set()

    def pause(self) -> timedelta:
        """Return the time to wait for a notification before the database is read again."""
        if self._is_behind:
            return SNAPSHOT_PAUSE
        return READ_EVERY if self.state is State.RUNNING else READ_WAITING_EVERY

    def _add(self, job: JobRow, events: Sequence[Event]) -> None:
        if self.position is None:
            # Each reader reads the events before the feed's first one by itself.
            self.position = job.event_seq
            self.is_over = job.state.is_final
            return
        for event in events:
            self.recent.append(event)
            self.position = event.seq
            self.is_over = event.is_last

    def _show(self, job: JobRow) -> None:
        now = self.clock()
        transfer = parse_transfer(job.progress)
        if transfer is not None:
            self._transfer.see(transfer, job.attempt, now)
        self._is_behind = self._shown is not None and now - self._shown < PACE
        if job.state.is_final or self._is_behind:
            return
        shown = self._transfer.show(now) if transfer else show_document(job.progress)
        if transfer and job.state is not State.RUNNING:
            shown = shown.model_copy(update={"rate": None, "seconds_left": None, "stalled": None})
        text = write_snapshot(SnapshotOutput(state=job.state, attempt=job.attempt, progress=shown))
        if text != self.snapshot:
            self.snapshot, self._shown = text, now


class Feeds:
    """The feeds of this process. Each exists as long as its job has a reader."""

    def __init__(self, pool: Pool) -> None:
        self.is_leaving = False
        self._pool = pool
        self._feeds: dict[str, Feed] = {}
        self._of_server: defaultdict[str, set[Feed]] = defaultdict(set)

    @property
    def reader_count(self) -> int:
        return sum(len(feed.readers) for feed in self._feeds.values())

    def on_notification(self, channel: str, payload: str) -> None:
        """Read again the jobs that a notification may concern."""
        for feed in self._affected(channel, payload):
            feed.notification.set()

    def leave(self) -> None:
        """End all streams because this process stops; their readers connect to another."""
        self.is_leaving = True
        for feed in self._feeds.values():
            feed.wake()

    def require_room(self) -> None:
        """Raise `BusyError` if this process takes no more readers."""
        if self.is_leaving:
            raise BusyError("this API process is shutting down")

    @contextlib.contextmanager
    def watch(self, job_id: str) -> Iterator[tuple[Feed, asyncio.Event]]:
        """Give the job's feed, and an event that is set whenever the feed changes."""
        feed = self._feeds.get(job_id) or self._begin(job_id)
        news = asyncio.Event()
        feed.readers.add(news)
        try:
            yield feed, news
        finally:
            feed.readers.discard(news)
            if not feed.readers:
                self._end(feed)

    def _begin(self, job_id: str) -> Feed:
        feed = self._feeds[job_id] = Feed(job_id, time.monotonic)
        feed.task = asyncio.create_task(self._run(feed))
        return feed

    def _end(self, feed: Feed) -> None:
        self._feeds.pop(feed.job_id, None)
        if feed.server_id is not None:
            self._of_server[feed.server_id].discard(feed)
            if not self._of_server[feed.server_id]:
                del self._of_server[feed.server_id]
        if feed.task is not None:
            feed.task.cancel()

    def _affected(self, channel: str, payload: str) -> Sequence[Feed]:
        match channel:
            case "wharf_job":
                feed = self._feeds.get(payload)
                return [feed] if feed else []
            case "wharf_progress":
                return list(self._of_server.get(payload, ()))
            case _:
                return list(self._feeds.values())

    async def _run(self, feed: Feed) -> None:
        while feed.readers and not feed.is_over:
            feed.notification.clear()
            try:
                await self._read(feed)
            except (psycopg.Error, OSError) as error:
                log.warning("feed_waits", job_id=feed.job_id, error=type(error).__name__)
                await asyncio.sleep(READ_WAITING_EVERY.total_seconds())
                continue
            await asyncio.sleep(READ_PAUSE.total_seconds())
            await wait_for_event(feed.notification, feed.pause().total_seconds())

    async def _read(self, feed: Feed) -> None:
        async with self._pool.connection() as connection:
            job = await read_job(connection, feed.job_id)
            events: list[Event] = []
            if job and feed.position is not None and job.event_seq > feed.position:
                events = await read_events(connection, feed.job_id, feed.position)
                if not events and (end := make_end(job)):
                    events = [end]
        feed.take(job, events)
        if feed.server_id is not None and feed.readers:
            self._of_server[feed.server_id].add(feed)
        if events and job and events[-1].seq < job.event_seq:
            feed.notification.set()
