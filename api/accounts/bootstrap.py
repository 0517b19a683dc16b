"""The first start: create an organization and the operator's admin key."""

from pydantic import SecretStr

from api.procedure.auth import hash_secret
from shared.database import Pool
from shared.errors import SetupError
from shared.ids import make_id

MIN_KEY_CHARACTERS = 16
START_CHARACTERS = 10

FOUND = """
SELECT organization_bootstrap(%(organization_id)s, %(api_key_id)s, %(start)s, %(key_hash)s)
"""


def require_strong(admin_key: SecretStr | None) -> None:
    """Raise `SetupError` for a key that could be guessed; `None` is allowed."""
    if admin_key is not None and len(admin_key.get_secret_value()) < MIN_KEY_CHARACTERS:
        raise SetupError(
            f"WHARF_ADMIN_KEY has fewer than {MIN_KEY_CHARACTERS} characters",
            remedy="Make one with: openssl rand -hex 32",
        )


async def found_organization(pool: Pool, admin_key: SecretStr | None) -> None:
    """Create the organization "default" and its admin key if no organization exists."""
    if admin_key is None:
        return
    key = admin_key.get_secret_value()
    async with pool.connection() as connection:
        await connection.execute(
            FOUND,
            {
                "organization_id": make_id(),
                "api_key_id": make_id(),
                "start": key[:START_CHARACTERS] if len(key) >= 2 * MIN_KEY_CHARACTERS else "",
                "key_hash": hash_secret(key),
            },
        )
