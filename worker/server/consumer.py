"""The worker's side of the broker: it takes messages from its queue and writes nothing there.

A broker user that may write could fill the memory that all servers share. So there is no record of
messages that were taken and not yet acknowledged, and none is put back: what is lost with a worker
is sent again, as long as its job waits.
"""

from typing import Any

from kombu import Queue
from kombu.transport import redis


class Channel(redis.Channel):
    """A channel that puts nothing back, neither at its end nor when a message is rejected."""

    do_restore = False

    def _restore(self, message: Any, leftmost: bool = False) -> None:  # noqa: FBT001, FBT002 - kombu's
        """Leave it to control to send the message again."""


class Transport(redis.Transport):
    """Kombu's, with that channel."""

    Channel = Channel


def reading_settings(server_id: str) -> dict[str, Any]:
    """Celery's settings beside those of every process of ours."""
    return {
        "broker_transport": f"{__name__}:Transport",
        # Control declares the queue when it sends to it.
        "task_queues": [Queue(f"server.{server_id}", no_declare=True)],
    }
