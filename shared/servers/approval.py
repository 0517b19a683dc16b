"""Approve servers, which get no job before. Only control's database role may do so."""

from dataclasses import dataclass

from psycopg.types.json import Jsonb

from shared.database import Connection
from shared.ids import make_id
from shared.vault import PublicKey

FIND = """
SELECT s.server_id, s.name, s.organization_id, e.public_key
  FROM server s JOIN server_enrolment e USING (server_id)
 WHERE s.removed_at IS NULL AND s.approved_at IS NULL ORDER BY s.created_at, s.server_id
"""
APPROVE = """
WITH approved AS (
  UPDATE server s SET approved_at = now() FROM server_enrolment e
   WHERE s.server_id = %(server_id)s AND e.server_id = s.server_id AND e.public_key = %(public_key)s
     AND s.removed_at IS NULL AND s.approved_at IS NULL
  RETURNING s.server_id, s.organization_id
), noted AS (
  INSERT INTO audit_event (audit_event_id, organization_id, action, object_id, data)
  SELECT %(audit_event_id)s, organization_id, 'server.approve', server_id, %(data)s FROM approved
)
SELECT public.send_notification('wharf_release', '') FROM approved
"""


@dataclass(frozen=True)
class Unapproved:
    """A server that has joined with this key and is not approved."""

    server_id: str
    name: str
    organization_id: str
    public_key: str

    @property
    def key_id(self) -> str:
        return PublicKey.parse(self.public_key).key_id


async def find_unapproved(connection: Connection) -> list[Unapproved]:
    """Return all servers that have joined and are not approved, the oldest first."""
    rows = await (await connection.execute(FIND)).fetchall()
    return [Unapproved(**row) for row in rows]


async def approve(connection: Connection, server: Unapproved) -> bool:
    """Approve the server if it still has this key; return whether it has."""
    values = {
        "server_id": server.server_id,
        "public_key": server.public_key,
        "audit_event_id": make_id(),
        "data": Jsonb({"name": server.name, "key": server.key_id}),
    }
    return await (await connection.execute(APPROVE, values)).fetchone() is not None
