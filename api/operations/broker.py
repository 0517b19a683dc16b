"""The broker as the API uses it: for its rate limit, and only if it is new enough."""

from datetime import timedelta

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from shared import versions

TIMEOUT = timedelta(seconds=2)


async def require_broker(url: str | None) -> None:
    """Ask the broker for its version; a broker that does not answer is not judged.

    Raises:
        SetupError: it is older than the oldest supported one.
    """
    if url is None:
        return
    seconds = TIMEOUT.total_seconds()
    client = redis.asyncio.Redis.from_url(
        url,
        protocol=2,
        socket_timeout=seconds,
        socket_connect_timeout=seconds,
        retry=Retry(NoBackoff(), 0),
    )
    try:
        answer = await client.execute_command("HELLO", 2)  # type: ignore[no-untyped-call]
    except (RedisError, OSError):
        return
    finally:
        await client.aclose()
    versions.require_broker(versions.parse_hello(answer))
