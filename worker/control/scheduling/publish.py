"""Ring a server: publish ``(job id, attempt)`` to its Celery queue. Nothing else publishes."""

import asyncio
from collections.abc import Sequence

import redis
import structlog
from celery import Celery
from kombu import Producer
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from shared.jobs.store.sweep import Ring
from worker.broker import broker_settings

IMPATIENT = {"max_retries": 0, "socket_timeout": 3, "socket_connect_timeout": 2}
"""Nobody waits for a broker that is away, leases and deadlines least: the sweep rings again."""

LONGEST_QUEUE = 1_000
"""Messages of one server that nobody has read: many times what it is sent at once."""

log = structlog.get_logger()


class Publisher:
    """A Celery producer whose messages may be lost or doubled: only the job row decides."""

    def __init__(self, broker_url: str) -> None:
        self._app = Celery("wharf.control", broker=broker_url, set_as_current=False)
        settings = broker_settings()
        settings["broker_transport_options"].update(IMPATIENT)
        self._app.conf.update(settings)

    async def ring(self, rings: Sequence[Ring]) -> None:
        """Publish in one batch; a broker that is away costs time only: the sweep rings again."""
        if rings:
            await asyncio.to_thread(self._publish, rings)

    def close(self) -> None:
        self._app.close()

    def _wanted(self, producer: Producer, rings: Sequence[Ring]) -> list[Ring]:
        """Those whose queue is short: a worker that reads nothing gets no endless one."""
        client: redis.Redis = producer.channel.client  # type: ignore[union-attr]
        lengths = {
            server_id: client.llen(f"server.{server_id}")
            for server_id in {ring.server_id for ring in rings}
        }
        return [ring for ring in rings if lengths[ring.server_id] < LONGEST_QUEUE]

    def _publish(self, rings: Sequence[Ring]) -> None:
        try:
            with self._app.producer_pool.acquire(block=True, timeout=5) as producer:
                for ring in self._wanted(producer, rings):
                    self._app.send_task(
                        ring.kind,
                        args=[ring.job_id, ring.attempt],
                        task_id=f"{ring.job_id}.{ring.attempt}",
                        queue=f"server.{ring.server_id}",
                        producer=producer,
                        ignore_result=True,
                        retry=False,
                    )
        except (OperationalError, RedisError, OSError) as error:
            log.warning("broker_away", error=type(error).__name__, lost_rings=len(rings))
