"""Sign checkpoints of the audit log: each states the hash of one entry of a chain.

The key is made at first use and stored in the database, sealed to the vault: only control can open
it. Its public half is exported with the log; who keeps a copy elsewhere notices if both the log and
the key were replaced.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from shared.audit.checkpoints import Checkpoint, SigningKey
from shared.database import Connection
from shared.set_aside import attempt
from shared.vault import KeyRing, SealContext
from worker.control.service import Service

SERVICE = "audit_checkpoints"
EVERY = timedelta(minutes=1)
ENTRIES = 1000
"""A checkpoint is signed after so many new entries, or `EVERY` if there is a new one."""

FIND_KEY = "SELECT key_id, sealed FROM audit_key ORDER BY created_at DESC LIMIT 1"
ADD_KEY = """
INSERT INTO audit_key (key_id, public_key, sealed)
SELECT %(key_id)s, %(public_key)s, %(sealed)s WHERE NOT EXISTS (SELECT FROM audit_key)
"""
DUE = """
SELECT organization_id FROM audit_chain
 WHERE sequence > checkpoint_sequence
   AND (sequence >= checkpoint_sequence + %s OR checkpoint_at IS NULL
        OR checkpoint_at <= now() - %s)
"""
LOCK = """
SELECT organization_id, sequence, encode(hash, 'hex') AS hash, checkpoint + 1 AS number
  FROM audit_chain
 WHERE organization_id = %s AND sequence > checkpoint_sequence FOR UPDATE SKIP LOCKED
"""
ADD = """
INSERT INTO audit_checkpoint (organization_id, number, sequence, hash, at, key_id, signature)
VALUES (%(organization_id)s, %(number)s, %(sequence)s, decode(%(hash)s, 'hex'), %(at)s,
        %(key_id)s, %(signature)s)
"""
ADVANCE = """
UPDATE audit_chain SET checkpoint = %(number)s, checkpoint_sequence = %(sequence)s,
                       checkpoint_at = now()
 WHERE organization_id = %(organization_id)s
"""


@dataclass(frozen=True)
class Checkpoints:
    """The service; safe in replicas. ``every`` is the longest time until an entry is signed."""

    vault: KeyRing
    every: timedelta = EVERY

    def service(self) -> Service:
        return Service.with_connection(SERVICE, self.sign_due)

    async def sign_due(self, connection: Connection) -> None:
        """Sign the newest entry of each chain that is due."""
        rows = await (await connection.execute(DUE, (ENTRIES, self.every))).fetchall()
        if not rows:
            return
        key = await open_signing_key(connection, self.vault)
        for row in rows:
            organization = row["organization_id"]
            work = partial(_sign, connection, key, organization)
            await attempt(connection, SERVICE, organization, work)


async def open_signing_key(connection: Connection, vault: KeyRing) -> SigningKey:
    """Return the key that signs; make it if there is none.

    Raises:
        CredentialError: it is sealed to a key that control does not have.
    """
    while True:
        row = await (await connection.execute(FIND_KEY)).fetchone()
        if row is not None:
            return SigningKey.parse(vault.open(row["sealed"], key_context(row["key_id"])))
        key = SigningKey.generate()
        context = key_context(key.public.key_id)
        values = {
            "key_id": key.public.key_id,
            "public_key": str(key.public),
            "sealed": vault.current.seal(key.text(), context),
        }
        await connection.execute(ADD_KEY, values)


def key_context(key_id: str) -> SealContext:
    """Return the context that the signing key is sealed with."""
    return SealContext("audit_key", "", key_id, "", "")


def show_now() -> str:
    """Return the time, for a signed statement."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


async def _sign(connection: Connection, key: SigningKey, organization_id: str) -> None:
    async with connection.transaction():
        head: dict[str, Any] | None = await (
            await connection.execute(LOCK, (organization_id,))
        ).fetchone()
        if head is None:
            return
        checkpoint = Checkpoint(**head, at=show_now(), key_id=key.public.key_id)
        signed = replace(checkpoint, signature=key.sign(checkpoint))
        await connection.execute(ADD, vars(signed))
        await connection.execute(ADVANCE, vars(signed))
