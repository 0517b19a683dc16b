"""The first start: create an organization and the operator's admin key."""

from typing import TYPE_CHECKING

from pydantic import SecretStr

from api.procedure.auth import hash_secret
from shared.database import Pool
from shared.errors import SetupError
from shared.ids import make_id
from shared.settings import ApiSettings

if TYPE_CHECKING:
    from api.accounts.oidc import Provider

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


HAS_PROOF = "SELECT has_provider_proof(%s) AS known"
CALLBACK = "/console/sign-in/provider/callback"


def open_provider(settings: ApiSettings) -> "Provider | None":
    """Return the OIDC provider of the settings; ``None`` if they name none.

    Raises:
        SetupError: the packages of the extra ``oidc``, or the API's public address, are missing.
    """
    proof, secret = settings.provider_proof, settings.oidc_client_secret
    if proof is None or secret is None:
        return None
    if settings.public_url is None:
        raise SetupError(
            "WHARF_PUBLIC_URL is missing, to which the sign-in provider sends people back",
            remedy="Set it to the address at which people open the API.",
        )
    try:
        # Here, as the API runs without the extra otherwise.
        from api.accounts.oidc import Provider, ProviderSettings  # noqa: PLC0415
    except ImportError:
        raise SetupError(
            "the packages for the sign-in by a provider are missing",
            remedy="Install wharfinger with the extra oidc, or unset WHARF_OIDC_ISSUER.",
        ) from None
    return Provider(
        ProviderSettings(
            issuer=settings.oidc_issuer or "",
            client_id=settings.oidc_client_id or "",
            client_secret=secret.get_secret_value(),
            name=settings.oidc_name,
            redirect_uri=f"{settings.public_url}{CALLBACK}",
            proof=proof,
        )
    )


async def require_provider_known(pool: Pool, settings: ApiSettings) -> None:
    """Raise `SetupError` if the database does not know the OIDC provider of the settings."""
    if settings.provider_proof is None:
        return
    async with pool.connection() as connection:
        found = await connection.execute(HAS_PROOF, (settings.provider_proof,))
        row = await found.fetchone()
    if row is None or not row["known"]:
        raise SetupError(
            "the database does not know this sign-in provider and client secret",
            remedy="Run wharf migrate with the same WHARF_OIDC_ISSUER, WHARF_OIDC_CLIENT_ID and "
            "WHARF_OIDC_CLIENT_SECRET as the API.",
        )
