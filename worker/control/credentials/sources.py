"""Open stored sources, and bound the time of what is asked with them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from shared.credentials.kinds import AnySource, parse_source
from shared.errors import CredentialError, RegistryError
from shared.faults import FaultCode
from shared.vault import KeyRing, SealContext


def open_source(vault: KeyRing, sealed: str, context: SealContext) -> AnySource:
    """Open a source for the host of its seal context.

    Raises:
        CredentialError: it does not open, or another version has stored it.
        InvalidInputError: it gives no logins for this host.
    """
    text = vault.open(sealed, context)
    try:
        source = parse_source(text)
    except ValueError:
        # Without its cause, which may contain parts of the source.
        raise CredentialError(
            f"this version of wharf control cannot read the credential for {context.host}",
            remedy="Update wharf control, or store the credential again.",
        ) from None
    source.require_host(context.host)
    return source


@asynccontextmanager
async def within(limit: timedelta, host: str) -> AsyncIterator[None]:
    """Bound the time of all exchanges with the provider of ``host``.

    Raises:
        RegistryError: ``auth_server_unreachable``, it took longer.
    """
    try:
        async with asyncio.timeout(limit.total_seconds()):
            yield
    except TimeoutError as error:
        raise RegistryError(
            FaultCode.AUTH_SERVER_UNREACHABLE,
            f"the provider of {host} did not answer in time",
            remedy="Check that wharf control can reach the provider.",
        ) from error
