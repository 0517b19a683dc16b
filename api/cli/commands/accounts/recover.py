"""``wharf user recover``: runs on a control host, with control's database URL, without a key."""

import asyncio
import hashlib
import os
import secrets
import sys

import psycopg
from psycopg import AsyncConnection

from api.cli.output.text import printable, write_line, write_note
from shared.errors import SetupError, in_sentences
from shared.ids import make_id
from shared.settings import DatabaseSettings, load

PATH, TOKEN_PREFIX = "/console/reset/", "whr_"
"""As in ``api/accounts/password_resets.py``, whose packages a control host does not have."""

FIND = "SELECT user_id FROM user_account WHERE email = %s"
REPLACE = "DELETE FROM password_reset WHERE user_id = %s"
MAKE = """
INSERT INTO password_reset (reset_id, user_id, token_hash, expires_at)
VALUES (%s, %s, %s, now() + interval '1 hour')
"""
MEMBERS = "SELECT organization_id FROM member WHERE user_id = %s"
RECORD = """
INSERT INTO audit_event (audit_event_id, organization_id, action, object_id, data)
VALUES (%s, %s, 'user.recover', %s, '{"actor": "the operator"}')
"""


def main() -> None:
    try:
        path = make_link(sys.argv[1])
    except SetupError as error:
        sys.exit(printable(f"wharf user recover: {in_sentences(error.message, error.remedy)}"))
    write_note("Open this below the API's address. It works once, within an hour.")
    write_line(path)


def make_link(email: str) -> str:
    """Make a link for a new password of the person with this address; return its path.

    Raises:
        SetupError: control's database URL is missing, or there is no such person.
    """
    return asyncio.run(_make(load(DatabaseSettings, os.environ), email.strip().lower()))


async def _make(settings: DatabaseSettings, email: str) -> str:
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    token_hash = hashlib.sha256(hashlib.sha256(token.encode()).digest()).digest()
    try:
        async with await AsyncConnection.connect(
            settings.direct_url, connect_timeout=10
        ) as connection:
            row = await (await connection.execute(FIND, (email,))).fetchone()
            if row is None:
                raise SetupError(
                    f"there is no person with the e-mail address {email}",
                    remedy="Give the address with which the person signs in.",
                )
            await connection.execute(REPLACE, (row[0],))
            await connection.execute(MAKE, (make_id(), row[0], token_hash))
            members = await connection.execute(MEMBERS, (row[0],))
            for (organization_id,) in await members.fetchall():
                await connection.execute(RECORD, (make_id(), organization_id, row[0]))
    except psycopg.errors.InsufficientPrivilege:
        raise SetupError(
            "this database role cannot make a link for a new password",
            remedy="Set WHARF_DATABASE_URL to the value that wharf control has.",
        ) from None
    except psycopg.OperationalError:
        raise SetupError(
            "the database does not answer",
            remedy="Check that PostgreSQL runs, and run the command where wharf control runs, "
            "with its WHARF_DATABASE_URL.",
        ) from None
    return f"{PATH}{token}"


if __name__ == "__main__":
    main()
