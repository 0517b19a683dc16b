"""Forget what is of no use any more; once a minute is often enough, any replica may do it."""

from functools import partial

from shared.database import Connection
from shared.set_aside import FORGET as FORGET_SET_ASIDE
from shared.set_aside import attempt

FORGET = (
    "DELETE FROM control WHERE seen_at < now() - interval '1 hour'",
    "DELETE FROM server_token WHERE expires_at < now() - interval '1 day'",
    "DELETE FROM idempotency WHERE created_at < now() - interval '24 hours'",
    "DELETE FROM registry_check WHERE checked_at < now() - interval '1 year'",
    "DELETE FROM application_turn WHERE served_at < now() - interval '1 hour'",
    FORGET_SET_ASIDE,
)


async def prune(connection: Connection) -> None:
    """Delete rows that are too old to mean anything."""
    for statement in FORGET:
        table = statement.split()[2]
        await attempt(connection, "prune", table, partial(connection.execute, statement))
