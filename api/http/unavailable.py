"""Explain why the database could not serve a call."""

import psycopg
import sqlalchemy.exc
import structlog
from psycopg_pool import PoolTimeout, TooManyRequests

from api.errors import BusyError, DatabaseFullError, UnavailableError
from api.limits.disk import is_disk_full
from api.procedure.context import Resources
from shared.database import Pool

AWAY = (
    psycopg.OperationalError,
    sqlalchemy.exc.OperationalError,
    sqlalchemy.exc.InterfaceError,
    sqlalchemy.exc.TimeoutError,
)

log = structlog.get_logger()


def cost_its_connection(error: Exception) -> bool:
    """Return whether the connection is lost; an idle transaction's end is an internal error."""
    return isinstance(error, sqlalchemy.exc.DBAPIError) and error.connection_invalidated


def explain_unavailable(resources: Resources, error: Exception) -> UnavailableError:
    """Return the caller's error: all connections are in use, or the database is away or full."""
    if is_disk_full(error):
        log.error("database_disk_full")
        resources.disk.note_failed_write()
        return DatabaseFullError()
    log.warning("database_away", error=type(error).__name__)
    is_full = isinstance(error, TooManyRequests | sqlalchemy.exc.TimeoutError)
    if is_full or (isinstance(error, PoolTimeout) and _is_used_up(resources.pool)):
        return BusyError("too many requests wait for the database")
    return UnavailableError()


def _is_used_up(pool: Pool) -> bool:
    stats = pool.get_stats()
    return stats["pool_size"] == stats["pool_max"] and not stats["pool_available"]
