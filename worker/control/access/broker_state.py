"""Observe the broker; the API's ``/readyz`` and ``/metrics`` show the result."""

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
"""The used part of the memory limit above which the broker may refuse messages."""


@dataclass(frozen=True)
class BrokerState:
    """The broker's error, if any, and the used part of its memory limit, 0 to 1, if known."""

    error: Literal["away", "full"] | None = None
    memory: float | None = None


@contextlib.asynccontextmanager
async def open_broker(url: str) -> AsyncIterator["redis.asyncio.Redis"]:
    """Give a client, which is closed at the end of the block; it connects at its first command."""
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
    """Read the broker's memory use; without permission, only check that it answers."""
    try:
        async with asyncio.timeout(TIMEOUT.total_seconds()):
            memory = await client.info("memory")
    except NoPermissionError:
        return BrokerState()
    except (RedisError, OSError):
        return BrokerState("away")
    return judge_memory(int(memory["used_memory"]), int(memory["maxmemory"]))


def judge_memory(used: int, limit: int) -> BrokerState:
    """Return the state for this memory use, in bytes; a ``limit`` of 0 means none."""
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
        """Record the state if it changed; the first heartbeat adds the row."""
        state = await observe_broker(self.client)
        if state != self._recorded:
            values = (state.error, state.memory, self.control_id)
            if (await connection.execute(RECORD, values)).rowcount:
                self._recorded = state
