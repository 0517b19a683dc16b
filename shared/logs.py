"""Logs for operators: one JSON line per fact, an ``event`` and its fields."""

import logging
import sys

import structlog

from shared.text import plain_text


def configure_logs(role: str, level: int = logging.INFO) -> None:
    """Send structured lines to standard error, and the standard library's warnings with them."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # A line and its end in one write: Celery writes to the same place, behind another lock.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    structlog.contextvars.bind_contextvars(role=role)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_PlainFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


class _PlainFormatter(logging.Formatter):
    """Lines of others' code, in which a server's or a registry's words may stand."""

    def __init__(self) -> None:
        super().__init__(logging.BASIC_FORMAT)

    def format(self, record: logging.LogRecord) -> str:
        return plain_text(super().format(record))
