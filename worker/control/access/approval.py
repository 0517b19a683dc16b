"""Approve servers that have joined, if the operator allows automatic approval."""

import structlog

from shared.database import Connection
from shared.servers.approval import approve, find_unapproved
from worker.control.service import Service

log = structlog.get_logger()


async def approve_all(connection: Connection) -> None:
    """Approve each server that has joined and is not approved yet."""
    for server in await find_unapproved(connection):
        await approve(connection, server)
        log.info("server_approved", server=server.server_id, key=server.key_id)


APPROVE_ALL = Service.with_connection("approval", approve_all)
