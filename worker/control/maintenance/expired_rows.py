"""Delete expired rows; safe in replicas."""

from functools import partial

from shared.database import Connection
from shared.set_aside import DELETE_EXPIRED as DELETE_EXPIRED_SET_ASIDE
from shared.set_aside import attempt
from worker.control.service import MINUTE, Service

EXPIRED = (
    "DELETE FROM control WHERE seen_at < now() - interval '1 hour'",
    "DELETE FROM server_token WHERE expires_at < now() - interval '1 day'",
    "DELETE FROM idempotency WHERE created_at < now() - interval '24 hours'",
    "DELETE FROM registry_check WHERE checked_at < now() - interval '1 year'",
    "DELETE FROM rotation WHERE finished_at < now() - interval '1 year'",
    "DELETE FROM application_turn WHERE served_at < now() - interval '1 hour'",
    "DELETE FROM registry_quota WHERE observed_at < now() - interval '7 days'",
    "DELETE FROM user_session s WHERE NOT session_is_valid(s)",
    "DELETE FROM invitation WHERE expires_at < now() - interval '30 days'",
    "DELETE FROM password_reset WHERE expires_at < now() - interval '30 days'",
    DELETE_EXPIRED_SET_ASIDE,
)


async def delete_expired_rows(connection: Connection) -> None:
    """Delete the expired rows of each table."""
    for statement in EXPIRED:
        table = statement.split()[2]
        await attempt(connection, "expired_rows", table, partial(connection.execute, statement))


EXPIRED_ROWS = Service.with_connection("expired_rows", delete_expired_rows, MINUTE)
