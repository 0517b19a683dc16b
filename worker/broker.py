"""Celery settings of all processes: Redis, early acknowledgement, no results, ids only."""

from typing import Any


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
