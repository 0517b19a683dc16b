"""Forget what is of no use any more; once a minute is often enough, any replica may do it."""

from shared.database import Connection

FORGET = (
    "DELETE FROM control WHERE seen_at < now() - interval '1 hour'",
    "DELETE FROM server_token WHERE expires_at < now() - interval '1 day'",
    "DELETE FROM idempotency WHERE created_at < now() - interval '24 hours'",
    "DELETE FROM registry_check WHERE checked_at < now() - interval '1 year'",
    "DELETE FROM application_turn WHERE served_at < now() - interval '1 hour'",
)


async def prune(connection: Connection) -> None:
    """Delete rows that are too old to mean anything."""
    for statement in FORGET:
        await connection.execute(statement)
