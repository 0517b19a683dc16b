"""Check the broker's version at the start of the API, control and each worker."""

from datetime import timedelta

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from shared.versions.oldest import parse_hello, require_broker_version

TIMEOUT = timedelta(seconds=2)


async def require_broker(url: str) -> None:
    """Check the broker's version; a broker that does not answer is accepted.

    Raises:
        SetupError: it is older than the oldest supported one.
    """
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
    require_broker_version(parse_hello(answer))
