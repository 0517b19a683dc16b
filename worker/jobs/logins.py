"""Find the login for an access; try one that nobody knows to be good with a single request."""

import asyncio
from contextlib import suppress

from shared.errors import RegistryError, WharfError
from shared.faults import FaultCode
from shared.jobs.diagnosis import Right
from shared.reference import Reference, parse_registry
from worker.jobs.tools import Tools
from worker.login import Grants, Login
from worker.oci.inquiry import LIMIT
from worker.oci.registry.authentication import try_login
from worker.oci.registry.client import RegistryClient

REFUSED_CODES = frozenset({FaultCode.AUTH_BAD_CREDENTIALS, FaultCode.AUTH_EXPIRED})
"""Codes that mean: the registry does not accept this login."""


async def find_login(grants: Grants, target: Reference, right: Right, tools: Tools) -> Login:
    """Return the login that was given for this repository and right.

    A wrong login would be sent several times by a pull or a push, and a registry may lock the
    account. So one that the registry has yet to accept is tried first.

    Raises:
        RegistryError: no such login was given, or the registry does not accept it.
    """
    login = grants.login_for(target, right)
    if login.is_untried:
        with suppress(TimeoutError):
            async with asyncio.timeout(LIMIT.total_seconds()):
                await _try(login, tools)
    return login


async def _try(login: Login, tools: Tools) -> None:
    """Raise the registry's refusal; any other error is left to the transfer itself."""
    try:
        settings = await tools.connection_settings()
        async with RegistryClient(parse_registry(login.host), login, settings) as client:
            await try_login(client)
    except RegistryError as error:
        if error.code in REFUSED_CODES:
            error.registry_id = login.registry_id
            raise
    except WharfError:
        pass
