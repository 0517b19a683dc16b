"""Turn stored keys of Google (``_json_key``) into sources of logins, so that no server gets one.

The API does the same with each new one. Those of earlier versions only control can open: it does so
before it releases its first job.
"""

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from psycopg.types.json import Jsonb
from pydantic import SecretStr

from shared.credentials.google import KEY_USERNAMES, GoogleSource, parse_key_login
from shared.credentials.kinds import source_context
from shared.database import Connection, Pool
from shared.errors import CredentialError
from shared.ids import make_id
from shared.providers import Provider, recognise
from shared.vault import KeyRing, SealContext
from worker.control.service import Service

FIND = """
SELECT r.registry_id, r.organization_id, r.host, r.username, r.password FROM registry r
 WHERE r.username = ANY (%(usernames)s) AND r.password IS NOT NULL
   AND NOT EXISTS (SELECT FROM credential_source s WHERE s.registry_id = r.registry_id)
"""
# Only the password that was opened: a caller may have replaced it meanwhile.
TURN = """
WITH turned AS (
  UPDATE registry SET username = %(login_username)s, password = NULL, password_expires_at = NULL
   WHERE registry_id = %(registry_id)s AND password = %(password)s
  RETURNING registry_id, organization_id
)
INSERT INTO credential_source (registry_id, organization_id, kind, shown, sealed, revision)
SELECT registry_id, organization_id, %(kind)s, %(shown)s, %(sealed)s, %(revision)s FROM turned
"""

log = structlog.get_logger()


@dataclass
class GoogleKeys:
    """The service, which finds something to do only after an update or a restore."""

    vault: KeyRing
    interval: timedelta = timedelta(hours=1)
    _due_at: float = 0.0

    def service(self) -> Service:
        return Service("google_keys", self.keep, self.interval)

    async def keep(self, pool: Pool) -> float:
        """Look for keys, if that was not done within the interval; return the seconds left of it.

        A runner starts all of its services in each round.
        """
        if time.monotonic() >= self._due_at:
            await keep_google_keys(pool, self.vault)
            self._due_at = time.monotonic() + self.interval.total_seconds()
        return self._due_at - time.monotonic()


async def keep_google_keys(pool: Pool, vault: KeyRing) -> None:
    """Turn every whole key that is stored as a password into a source; leave all other logins."""
    async with pool.connection() as connection:
        cursor = await connection.execute(FIND, {"usernames": list(KEY_USERNAMES)})
        for row in await cursor.fetchall():
            source = _find_source(vault, row)
            if source is not None:
                await _turn(connection, vault, row, source)


def _find_source(vault: KeyRing, row: dict[str, Any]) -> GoogleSource | None:
    if recognise(row["host"]) is not Provider.GOOGLE:
        return None
    context = SealContext(
        "credential", row["organization_id"], row["registry_id"], row["host"], row["username"]
    )
    try:
        return parse_key_login(row["username"], SecretStr(vault.open(row["password"], context)))
    except (CredentialError, ValueError):
        return None  # a job that needs it names the cause


async def _turn(
    connection: Connection, vault: KeyRing, row: dict[str, Any], source: GoogleSource
) -> None:
    registry_id, organization_id = row["registry_id"], row["organization_id"]
    context = source_context(organization_id, registry_id, row["host"])
    public = vault.find_public_key(row["password"])
    values = {
        "registry_id": registry_id,
        "password": row["password"],
        "login_username": source.USERNAME,
        "kind": source.kind,
        "shown": Jsonb({**source.shown(), "username": row["username"]}),
        "sealed": public.seal(source.to_sealable_json(), context),
        "revision": make_id(),
    }
    await connection.execute(TURN, values)
    log.info("google_key_kept", registry=registry_id, host=row["host"])
