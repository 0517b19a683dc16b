"""Limit the requests of an API key, counted in this process and, over all processes, in Redis.

A request never waits for Redis. Each process counts for itself. In the background it adds its count
to the common counters and reads them. While Redis is unavailable, each process uses its own count
and retries after a growing pause.

The limit holds for any sixty seconds, approximated by two counters (a sliding window): that of the
running minute, and the part of the previous minute's that is less than a minute ago.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta

import redis.asyncio
import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from api.errors import RateLimitedError
from shared.coroutines import end

MINUTE = 60.0
REPORT_EVERY = timedelta(milliseconds=50)
TIMEOUT = timedelta(seconds=1)
FIRST_PAUSE = timedelta(seconds=1)
LONGEST_PAUSE = timedelta(seconds=30)
EXPIRE_MINUTES = 2
ROUNDING = 1e-6
"""A client that waited exactly ``Retry-After`` is not refused for a rounding error."""

log = structlog.get_logger()


@dataclass
class Usage:
    """The requests of one key: ``current`` in ``minute``, ``previous`` in the minute before.

    ``unreported`` is the part of ``current`` that this process has not yet reported to Redis.
    """

    minute: int = 0
    current: int = 0
    previous: int = 0
    unreported: int = 0

    def turn(self, now: float) -> None:
        """Begin the minute of ``now``, in seconds since the epoch."""
        minute = math.floor(now / MINUTE)
        if minute == self.minute:
            return
        self.previous = self.current if minute == self.minute + 1 else 0
        self.minute, self.current, self.unreported = minute, 0, 0

    def used(self, now: float) -> float:
        """Return the number of requests in the last sixty seconds."""
        return self.current + self.previous * (1 - _part(now))

    def wait(self, now: float, limit: int, count: int) -> float:
        """Return the seconds until ``count`` more requests are allowed, if none come before."""
        room = limit - min(count, limit)
        if self.used(now) <= room + ROUNDING:
            return 0.0
        if self.current <= room:
            # Enough of the previous minute has to become older than a minute.
            return MINUTE * (1 - (room - self.current) / self.previous - _part(now))
        return MINUTE * (1 - _part(now)) + MINUTE * (1 - room / self.current)


@dataclass
class RateLimiter:
    """Limit every key to ``per_minute`` calls; 0 or no broker means no limit."""

    broker_url: str | None
    per_minute: int
    clock: Callable[[], float] = time.time
    refused: int = 0
    _usages: dict[str, Usage] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def require_room(self, key_id: str, count: int = 1) -> None:
        """Count ``count`` calls of a key.

        Raises:
            RateLimitedError: too many; they are not counted.
        """
        if self.broker_url is None or not self.per_minute:
            return
        now = self.clock()
        usage = self._usages.setdefault(key_id, Usage())
        usage.turn(now)
        if wait := usage.wait(now, self.per_minute, count):
            self.refused += 1
            raise RateLimitedError(self.per_minute, retry_after_seconds=max(1, math.ceil(wait)))
        usage.current += count
        usage.unreported += count
        self._news.set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Share the counts with the other processes while the block runs."""
        if self.broker_url is None or not self.per_minute:
            yield
            return
        client = redis.asyncio.Redis.from_url(
            self.broker_url,
            protocol=2,
            socket_timeout=TIMEOUT.total_seconds(),
            socket_connect_timeout=TIMEOUT.total_seconds(),
            retry=Retry(NoBackoff(), 0),
        )
        task = asyncio.create_task(self._share(client))
        try:
            yield
        finally:
            await end(task)
            await client.aclose()

    async def _share(self, client: "redis.asyncio.Redis") -> None:
        pause = timedelta()
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                async with asyncio.timeout(TIMEOUT.total_seconds()):
                    await self._report(client)
            except (RedisError, OSError) as error:
                pause = min(max(pause * 2, FIRST_PAUSE), LONGEST_PAUSE)
                log.warning("limits_apart", error=type(error).__name__)
                self._news.set()
            else:
                pause = timedelta()
            self._delete_expired()
            await asyncio.sleep(max(pause, REPORT_EVERY).total_seconds())

    async def _report(self, client: "redis.asyncio.Redis") -> None:
        reports = [
            (key, usage, usage.minute, usage.unreported) for key, usage in self._usages.items()
        ]
        reports = [each for each in reports if each[3]]
        async with client.pipeline(transaction=False) as pipeline:
            for key, _, minute, unreported in reports:
                pipeline.incrby(f"limit:{key}:{minute}", unreported)
                pipeline.pexpire(f"limit:{key}:{minute}", EXPIRE_MINUTES * 60_000)
                pipeline.get(f"limit:{key}:{minute - 1}")
            answers = await pipeline.execute()
        for index, (_, usage, minute, unreported) in enumerate(reports):
            if usage.minute == minute:
                usage.unreported -= unreported
                usage.current = int(answers[3 * index]) + usage.unreported
                usage.previous = max(usage.previous, int(answers[3 * index + 2] or 0))

    def _delete_expired(self) -> None:
        """Delete counts of earlier minutes."""
        oldest = math.floor(self.clock() / MINUTE) - 1
        for key in [key for key, usage in self._usages.items() if usage.minute < oldest]:
            del self._usages[key]


def _part(now: float) -> float:
    """Return the part of the minute that has passed: 0 up to 1."""
    return now / MINUTE % 1.0
