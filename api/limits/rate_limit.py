"""Limit the requests of a key or person, of an organization and of an address.

They are counted in this process and, over all processes, in Redis.

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
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
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
SHARED = 10
"""By default an organization, or an address, may make as many calls as ten keys."""

ROUNDING = 1e-6
"""A client that waited exactly ``Retry-After`` is not refused for a rounding error."""

log = structlog.get_logger()


@dataclass
class Usage:
    """The requests of one subject: ``current`` in ``minute``, ``previous`` in the minute before.

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

    def room(self, now: float, limit: int) -> "Room":
        """Return what is left of a limit."""
        until_free = math.ceil(MINUTE * (1 - _part(now)) + (MINUTE if self.current else 0))
        return Room(limit, max(0, math.floor(limit - self.used(now))), until_free)

    def wait(self, now: float, limit: int, count: int) -> float:
        """Return the seconds until ``count`` more requests are allowed, if none come before."""
        room = limit - min(count, limit)
        if self.used(now) <= room + ROUNDING:
            return 0.0
        if self.current <= room:
            # Enough of the previous minute has to become older than a minute.
            return MINUTE * (1 - (room - self.current) / self.previous - _part(now))
        return MINUTE * (1 - _part(now)) + MINUTE * (1 - room / self.current)


@dataclass(frozen=True)
class Subject:
    """Who is limited to ``per_minute`` calls (0: any number); ``text`` names it in an error."""

    name: str
    per_minute: int
    text: str = "this API key"


@dataclass(frozen=True)
class Room:
    """The calls of the nearest limit that are left, and the seconds until all are free again."""

    limit: int
    remaining: int
    reset_seconds: int


@dataclass
class RateLimiter:
    """Limit every key or person to ``per_minute`` calls; 0 or no broker means no limit.

    By default an organization and an address may make `SHARED` times as many.
    """

    broker_url: str | None
    per_minute: int
    clock: Callable[[], float] = time.time
    per_organization: int | None = None
    per_address: int | None = None
    refused: int = 0
    _usages: dict[str, Usage] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_on(self) -> bool:
        """Return whether there is a limit at all."""
        limits = (self.per_minute, self._of_organization, self._of_address)
        return self.broker_url is not None and any(limits)

    def require_room(
        self, key_id: str, count: int = 1, organization_id: str = "", address: str = ""
    ) -> Room | None:
        """Count ``count`` calls of a key or person, of its organization and of its address.

        Raises:
            RateLimitedError: too many of one of them; they are counted for none.
        """
        subjects = [Subject(key_id, self.per_minute)]
        if organization_id:
            name, text = f"organization:{organization_id}", "this organization"
            subjects.append(Subject(name, self._of_organization, text))
        if address:
            subjects.append(self._address(address))
        return self._count(subjects, count)

    def require_address(self, address: str, count: int = 1) -> None:
        """Check calls from an address before their sender is known; they are not counted.

        Raises:
            RateLimitedError: too many.
        """
        if self.broker_url is not None:
            self._find([self._address(address)], count)

    def count_address(self, address: str, count: int = 1) -> None:
        """Count calls from an address that have no valid key."""
        subject = self._address(address)
        if self.broker_url is not None and subject.per_minute:
            self._add([self._usage(subject.name, self.clock())], count)

    def _address(self, address: str) -> Subject:
        return Subject(f"address:{address}", self._of_address, "this IP address")

    @property
    def _of_organization(self) -> int:
        return _or_shared(self.per_organization, self.per_minute)

    @property
    def _of_address(self) -> int:
        return _or_shared(self.per_address, self.per_minute)

    def _count(self, subjects: Sequence[Subject], count: int) -> Room | None:
        if self.broker_url is None:
            return None
        counted = self._find(subjects, count)
        self._add([usage for _, usage in counted], count)
        now = self.clock()
        return min(
            (usage.room(now, subject.per_minute) for subject, usage in counted),
            key=lambda room: room.remaining,
            default=None,
        )

    def _find(self, subjects: Sequence[Subject], count: int) -> list[tuple[Subject, Usage]]:
        """Return those that are limited, if all of them may make so many calls more."""
        now = self.clock()
        found = [(each, self._usage(each.name, now)) for each in subjects if each.per_minute]
        for subject, usage in found:
            if wait := usage.wait(now, subject.per_minute, count):
                self.refused += 1
                raise RateLimitedError(
                    subject.per_minute,
                    retry_after_seconds=max(1, math.ceil(wait)),
                    subject=subject.text,
                )
        return found

    def _add(self, usages: Iterable[Usage], count: int) -> None:
        for usage in usages:
            usage.current += count
            usage.unreported += count
            self._news.set()

    def _usage(self, name: str, now: float) -> Usage:
        usage = self._usages.setdefault(name, Usage())
        usage.turn(now)
        return usage

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Share the counts with the other processes while the block runs."""
        if self.broker_url is None or not self.is_on:
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


def _or_shared(limit: int | None, per_minute: int) -> int:
    """Return a limit, or by default that of ten keys; no limit of a key is none here either."""
    return per_minute * SHARED if limit is None else limit


def _part(now: float) -> float:
    """Return the part of the minute that has passed: 0 up to 1."""
    return now / MINUTE % 1.0
