"""The login of a registry as one value, to be put into its other slot and back.

Both slots hold the same sealed form: bound to the organization, the registry, the host and the
username. So nothing is opened to exchange them.
"""

from datetime import datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from pydantic import BaseModel, ConfigDict, Field

READ = """
SELECT r.username, r.password, r.password_changed_at, r.password_expires_at, r.login_revision,
       CASE WHEN s.registry_id IS NOT NULL THEN jsonb_build_object(
         'kind', s.kind, 'shown', s.shown, 'sealed', s.sealed, 'revision', s.revision) END AS source
  FROM registry r LEFT JOIN credential_source s USING (registry_id)
 WHERE r.registry_id = %(registry_id)s
"""
REMOVE_SOURCE = "DELETE FROM credential_source WHERE registry_id = %(registry_id)s"
WRITE = """
UPDATE registry SET username = %(username)s, password = %(password)s,
       password_changed_at = %(password_changed_at)s, password_expires_at = %(password_expires_at)s,
       login_revision = %(login_revision)s
 WHERE registry_id = %(registry_id)s
"""
ADD_SOURCE = """
INSERT INTO credential_source (registry_id, organization_id, kind, shown, sealed, revision)
SELECT registry_id, organization_id, %(kind)s, %(shown)s, %(sealed)s, %(revision)s
  FROM registry WHERE registry_id = %(registry_id)s
"""


class StoredSource(BaseModel):
    """A sealed source of short-lived logins, as a `CredentialSource` row has it."""

    model_config = ConfigDict(frozen=True)

    kind: str
    shown: dict[str, Any]
    sealed: str = Field(repr=False)
    revision: str


class StoredLogin(BaseModel):
    """The sealed login of one slot, with the columns of `Registry` that belong to it.

    That of a ``source`` has no password before it is minted.
    """

    model_config = ConfigDict(frozen=True)

    username: str
    password: str | None = Field(default=None, repr=False)
    password_changed_at: datetime
    password_expires_at: datetime | None = None
    login_revision: str
    source: StoredSource | None = None


async def read_login(connection: AsyncConnection[Any], registry_id: str) -> StoredLogin:
    """Return the login in use; the registry's row has to be locked."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(READ, {"registry_id": registry_id})
        return StoredLogin.model_validate(await cursor.fetchone())


async def exchange_login(
    connection: AsyncConnection[Any], registry_id: str, login: StoredLogin
) -> StoredLogin:
    """Put a login in use, and return the one that was; the registry's row has to be locked."""
    former = await read_login(connection, registry_id)
    values = {"registry_id": registry_id}
    await connection.execute(REMOVE_SOURCE, values)
    await connection.execute(WRITE, {**values, **login.model_dump(exclude={"source"})})
    if login.source is not None:
        shown = Jsonb(login.source.shown)
        await connection.execute(
            ADD_SOURCE, {**values, **login.source.model_dump(), "shown": shown}
        )
    return former
