"""Send one reader the events that it missed, then new ones, until the job has ended.

Nothing is queued for a reader. When a slow reader can receive again, it gets the stored events that
it missed, read again if necessary, and only the newest snapshot.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import psycopg
import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.events.feed import PACE, Feed, Feeds
from api.events.readers import Reader, Readers
from api.events.rows import Event, read_page
from api.events.wire import BEGINNING, COMMENT
from api.jobs.event_access import Opening
from shared.coroutines import end, wait_for_event
from shared.database import Pool

COMMENT_EVERY = timedelta(seconds=15)
TRY_AGAIN_SECONDS = 1.0
HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}

log = structlog.get_logger()


@dataclass(frozen=True)
class Source:
    """The source of streams: this process's feeds, and the database."""

    feeds: Feeds
    readers: Readers
    pool: Pool
    comment_every: timedelta = COMMENT_EVERY


async def read(source: Source, opening: Opening) -> AsyncIterator[bytes]:
    """Yield the text of a job's stream, from the event after the reader's last one."""
    with (
        source.readers.enter(opening.organization_id, opening.key_id) as entered,
        source.feeds.watch(opening.job_id) as (feed, news),
    ):
        entered.news = news
        yield BEGINNING
        reader = _Reader(source, entered, feed, news, opening.after)
        while True:
            news.clear()
            for event in await reader.missed():
                yield event.text
                reader.pass_event(event)
            if (snapshot := reader.snapshot()) is not None:
                yield snapshot
            if reader.is_done:
                return
            if not await reader.wait():
                yield COMMENT


@dataclass
class _Reader:
    """The position of one reader: ``cursor`` is the number of the last event sent to it."""

    source: Source
    entered: Reader
    feed: Feed
    news: asyncio.Event
    cursor: int
    is_done: bool = False
    _shown: bytes | None = None
    _shown_at: float = 0.0
    _has_more: bool = False

    async def missed(self) -> Sequence[Event]:
        """Return the next stored events; from the database if the feed no longer holds them."""
        floor = self.feed.floor
        self.is_done = self.feed.is_over and self.cursor >= (self.feed.position or 0)
        self._has_more = False
        if floor is None:
            return ()
        if self.cursor >= floor:
            return [event for event in self.feed.recent if event.seq > self.cursor]
        return await self._page(floor)

    def pass_event(self, event: Event) -> None:
        self.cursor = event.seq
        self.is_done = self.is_done or event.is_last

    def snapshot(self) -> bytes | None:
        """Return the newest snapshot if the reader has received all events but not this."""
        if self.source.feeds.is_leaving or self.entered.is_ended:
            self.is_done = True
        newest = self.feed.snapshot
        waits = self._has_more or self.is_done or self._pause() > 0
        if waits or self.feed.is_over or newest == self._shown:
            return None
        self._shown, self._shown_at = newest, asyncio.get_running_loop().time()
        return newest

    async def wait(self) -> bool:
        """Wait for news; return whether there may be something to send."""
        if self._has_more:
            return True
        is_behind = self.feed.snapshot != self._shown and not self.feed.is_over
        seconds = self._pause() if is_behind else self.source.comment_every.total_seconds()
        return await wait_for_event(self.news, max(seconds, 0.001)) or is_behind

    def _pause(self) -> float:
        if self._shown is None:
            return 0.0
        return self._shown_at + PACE - asyncio.get_running_loop().time()

    async def _page(self, floor: int) -> Sequence[Event]:
        try:
            page = await read_page(self.source.pool, self.feed.job_id, self.cursor)
        except (psycopg.Error, OSError) as error:
            log.warning("stream_waits", job_id=self.feed.job_id, error=type(error).__name__)
            await asyncio.sleep(TRY_AGAIN_SECONDS)
            page, self._has_more = (), True
            return page
        if not page:
            # The earlier events were deleted.
            self.cursor = floor
            self.is_done = self.feed.is_over
        self._has_more = True
        return page


class StreamedResponse(Response):
    """A response that ends with the stream, or when its reader disconnects."""

    def __init__(
        self,
        first: bytes,
        text: AsyncIterator[bytes],
        media_type: str = "text/event-stream",
        headers: Mapping[str, str] = {},
    ) -> None:
        super().__init__(headers={**HEADERS, **headers}, media_type=media_type)
        del self.headers["content-length"]
        self._first, self._text = first, text

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.create_task(self._send(send))
        waiting = asyncio.create_task(_wait_for_disconnect(receive))
        try:
            await asyncio.wait({sending, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            await end(sending, waiting)

    async def _send(self, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        async with contextlib.aclosing(self._text) as text:  # type: ignore[type-var]
            await send(start)
            await send({"type": "http.response.body", "body": self._first, "more_body": True})
            async for chunk in text:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
