"""Find the caller of an API key, of which only a hash is stored."""

import hashlib
import secrets

import psycopg

from api.limits.guess_limit import GuessLimit
from api.procedure.context import Caller, Role
from shared.database import Pool
from shared.errors import ForbiddenError, UnauthenticatedError
from shared.models.accounts.organization import KEY_ROLES, ROLES

HEADER = "x-api-key"
KEY_PREFIX = "wharf_"
MAX_KEY_CHARACTERS = 512

FIND = """
SELECT k.api_key_id AS actor_id, k.organization_id, lesser_role(k.role, m.role) AS role,
       k.procedures, k.networks, k.application_ids, k.member_id,
       coalesce(m.networks, '{}') AS member_networks, o.networks AS organization_networks
  FROM api_key k LEFT JOIN member m USING (member_id)
  JOIN organization o ON o.organization_id = k.organization_id
 WHERE k.key_hash = %s AND (k.expires_at IS NULL OR k.expires_at > now())
"""
FIND_AND_RECORD_USE = """
WITH found AS (
  SELECT k.api_key_id AS actor_id, k.organization_id, lesser_role(k.role, m.role) AS role,
         k.procedures, k.networks, k.application_ids, k.member_id,
         coalesce(m.networks, '{}') AS member_networks, o.networks AS organization_networks
    FROM api_key k LEFT JOIN member m USING (member_id)
    JOIN organization o ON o.organization_id = k.organization_id
   WHERE k.key_hash = %s AND (k.expires_at IS NULL OR k.expires_at > now())
), used AS (
  UPDATE api_key SET last_used_at = now() FROM found
   WHERE api_key.api_key_id = found.actor_id
     AND (api_key.last_used_at IS NULL OR api_key.last_used_at < now() - interval '1 minute')
)
SELECT * FROM found
"""


async def authenticate(pool: Pool, guesses: GuessLimit, address: str, key: str | None) -> Caller:
    """Return the caller that has this key; record its use, once a minute at most.

    Raises:
        UnauthenticatedError: no key, or one that is unknown or has expired.
        TooManyFailuresError: too many of those came from this address.
    """
    if not key:
        raise UnauthenticatedError(f"the request has no API key: send it as {HEADER}")
    if len(key) > MAX_KEY_CHARACTERS:
        raise UnauthenticatedError("this API key is not known")
    key_hash = hash_secret(key)
    guesses.require_room(address, key_hash)
    async with pool.connection() as connection:
        try:
            found = await connection.execute(FIND_AND_RECORD_USE, (key_hash,))
        except psycopg.errors.DiskFull:
            # The caller can still read; a later request records the use.
            found = await connection.execute(FIND, (key_hash,))
        row = await found.fetchone()
    if row is None:
        guesses.fail(address, key_hash)
        raise UnauthenticatedError("this API key is not known, or has expired")
    guesses.succeed(key_hash)
    return Caller(**row, proof=proof_of(key).hex())


def has_role(caller: Caller, role: Role) -> bool:
    """Return whether the caller has this role or one that may more."""
    return ROLES.index(caller.role) <= ROLES.index(role)


def require_role(caller: Caller, role: Role) -> None:
    """Raise `ForbiddenError` if the caller has neither this role nor one that may more."""
    if has_role(caller, role):
        return
    sufficient = ROLES[: ROLES.index(role) + 1]
    if caller.user_id is not None:
        raise ForbiddenError(
            f"this needs the role {' or '.join(sufficient)}, and yours is {caller.role}",
            remedy="Ask an owner or an administrator of the organization.",
        )
    if roles := " or ".join(one for one in sufficient if one in KEY_ROLES):
        raise ForbiddenError(
            f"this request needs an API key whose role is {roles}, and this key's is {caller.role}",
            remedy=f"Use a key whose role is {roles}.",
        )
    raise ForbiddenError(
        "this request needs an owner of the organization, and an API key is none",
        remedy="Sign in to the console as an owner.",
    )


def proof_of(secret: str) -> bytes:
    """Return the proof, a SHA-256, which database functions check instead of the key or token."""
    return hashlib.sha256(secret.encode()).digest()


def hash_secret(secret: str) -> bytes:
    """Return the stored form of a key or a token: the hash of its proof.

    Both are 256 random bits, so no salt and no stretching.
    """
    return hashlib.sha256(proof_of(secret)).digest()


def make_secret(prefix: str) -> str:
    """Make a new key or token: the prefix and 43 characters, 256 random bits."""
    return prefix + secrets.token_urlsafe(32)
