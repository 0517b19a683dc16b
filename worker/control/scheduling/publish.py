"""Publish ``(job id, attempt)`` to the Celery queue of a server. No other module publishes."""

import asyncio
from collections.abc import Sequence

import redis
import structlog
from celery import Celery
from kombu import Producer
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from shared.jobs.store.sweep import AttemptMessage
from worker.broker import broker_settings

TIMEOUTS = {"max_retries": 0, "socket_timeout": 3, "socket_connect_timeout": 2}
"""Short, because control must not wait for an unavailable broker; the sweep publishes again."""

MAX_QUEUE = 1_000
"""Limit of unread messages of one server: many times what is sent to it at once."""

log = structlog.get_logger()


class Publisher:
    """A Celery producer whose messages may be lost or doubled: only the job row decides."""

    def __init__(self, broker_url: str) -> None:
        self._app = Celery("wharf.control", broker=broker_url, set_as_current=False)
        settings = broker_settings()
        settings["broker_transport_options"].update(TIMEOUTS)
        self._app.conf.update(settings)

    async def publish(self, messages: Sequence[AttemptMessage]) -> None:
        """Publish in one batch. If the broker is unavailable, the sweep publishes again."""
        if messages:
            await asyncio.to_thread(self._publish, messages)

    def close(self) -> None:
        self._app.close()

    def _with_room(
        self, producer: Producer, messages: Sequence[AttemptMessage]
    ) -> list[AttemptMessage]:
        """Return the messages whose queue is below the limit: an unread queue stops growing."""
        client: redis.Redis = producer.channel.client  # type: ignore[union-attr]
        lengths = {
            server_id: client.llen(f"server.{server_id}")
            for server_id in {message.server_id for message in messages}
        }
        return [one for one in messages if lengths[one.server_id] < MAX_QUEUE]

    def _publish(self, messages: Sequence[AttemptMessage]) -> None:
        try:
            with self._app.producer_pool.acquire(block=True, timeout=5) as producer:
                for message in self._with_room(producer, messages):
                    self._app.send_task(
                        message.kind,
                        args=[message.job_id, message.attempt],
                        task_id=f"{message.job_id}.{message.attempt}",
                        queue=f"server.{message.server_id}",
                        producer=producer,
                        ignore_result=True,
                        retry=False,
                    )
        except (OperationalError, RedisError, OSError) as error:
            log.warning("broker_away", error=type(error).__name__, lost_messages=len(messages))
