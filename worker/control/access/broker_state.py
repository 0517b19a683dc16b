"""Watch the broker; the API's ``/readyz`` and ``/metrics`` show what control observes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError, RedisError

from shared.database import Connection
from worker.control.service import Service

RECORD = "UPDATE control SET broker_error = %s, broker_memory = %s WHERE control_id = %s"
TIMEOUT = timedelta(seconds=2)

FULL = 0.9
"""Of the memory that it may use; beyond that no message may be taken any more."""


@dataclass(frozen=True)
class BrokerState:
    """``memory`` is how much of what it may use is used, from 0 to 1, where that is known."""

    error: Literal["away", "full"] | None = None
    memory: float | None = None


@contextlib.asynccontextmanager
async def open_broker(url: str) -> AsyncIterator["redis.asyncio.Redis"]:
    """A client, closed at the end of the block; nothing is asked of the broker yet."""
    client = redis.asyncio.Redis.from_url(
        url,
        protocol=2,
        socket_timeout=TIMEOUT.total_seconds(),
        socket_connect_timeout=TIMEOUT.total_seconds(),
        retry=Retry(NoBackoff(), 0),
    )
    try:
        yield client
    finally:
        await client.aclose()


async def observe_broker(client: "redis.asyncio.Redis") -> BrokerState:
    """Ask the broker for its memory; a user without that right sees only that it answers."""
    try:
        async with asyncio.timeout(TIMEOUT.total_seconds()):
            memory = await client.info("memory")
    except NoPermissionError:
        return BrokerState()
    except (RedisError, OSError):
        return BrokerState("away")
    return judge_memory(int(memory["used_memory"]), int(memory["maxmemory"]))


def judge_memory(used: int, limit: int) -> BrokerState:
    """A ``limit`` of 0 is none."""
    if not limit:
        return BrokerState()
    part = used / limit
    return BrokerState("full" if part > FULL else None, round(part, 2))


@dataclass
class BrokerWatch:
    """The service that records the broker's state for one control process."""

    client: "redis.asyncio.Redis"
    control_id: str
    _recorded: BrokerState | None = field(default=None)

    def service(self) -> Service:
        return Service.with_connection("broker_state", self.record)

    async def record(self, connection: Connection) -> None:
        """Record the state where it changed; the row is there after the first heartbeat."""
        state = await observe_broker(self.client)
        if state != self._recorded:
            values = (state.error, state.memory, self.control_id)
            if (await connection.execute(RECORD, values)).rowcount:
                self._recorded = state
