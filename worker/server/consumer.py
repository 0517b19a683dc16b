"""Consume messages from the server's broker queue without writing anything to the broker.

A broker user that may write could fill the memory that all servers share. So unacknowledged
messages are not recorded and not restored: a message that is lost with a worker is published again
as long as its job waits.
"""

from typing import Any

from kombu import Queue
from kombu.transport import redis


class Channel(redis.Channel):
    """A channel that restores no message, neither when it closes nor after a rejection."""

    do_restore = False

    def _restore(self, message: Any, leftmost: bool = False) -> None:  # noqa: FBT001, FBT002 - kombu's
        """Do nothing: control publishes the message again."""


class Transport(redis.Transport):
    """Kombu's transport with the read-only channel."""

    Channel = Channel


def reading_settings(server_id: str) -> dict[str, Any]:
    """Return the Celery settings of a server's worker, in addition to the common ones."""
    return {
        "broker_transport": f"{__name__}:Transport",
        # Control declares the queue when it publishes to it.
        "task_queues": [Queue(f"server.{server_id}", no_declare=True)],
    }
