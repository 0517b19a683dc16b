"""Celery settings of all processes: Redis, early acknowledgement, no results, ids only."""

from datetime import timedelta
from typing import Any

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from shared import versions

TIMEOUT = timedelta(seconds=2)


async def require_broker(url: str) -> None:
    """Ask the broker for its version; a broker that does not answer is not judged.

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
    versions.require_broker(versions.parse_hello(answer))


def broker_settings() -> dict[str, Any]:
    """Celery's settings for every process.

    Redis is a doorbell: a message that is lost, doubled or late changes nothing but time, so
    nothing is acknowledged late, retried or answered.
    """
    return {
        "task_acks_late": False,
        "task_ignore_result": True,
        "result_backend": None,
        "worker_prefetch_multiplier": 1,
        "worker_enable_remote_control": False,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_publish_retry": False,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_transport_options": {
            "socket_timeout": 10,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 10,
            "sep": ":",
            "priority_steps": [0],
            "ack_emulation": False,
        },
    }
