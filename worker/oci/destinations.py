"""Check to which hosts an Engine would send a login, before it gets the login.

An Engine uses any token server that a registry names, unchecked. So we ping the registry first:

```text
401 ──► every token server that it names is safe (`oci.auth.realm`) ──► the Engine gets the login
200 ──► the image is requested without a login: if that is a 401, as above
a certificate that only the Engine trusts ──► checked again without verification: nothing is sent
anything else ──► the Engine gets no login
```
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

from shared.errors import RegistryError
from shared.faults import FaultCode
from shared.reference import Reference, parse_registry
from worker.login import EngineLogin, Login
from worker.oci.registry.client import RegistryClient
from worker.oci.registry.manifest import ACCEPT
from worker.oci.transport.http import Request
from worker.oci.transport.settings import ConnectionSettings
from worker.oci.transport.verdicts import Operation
from worker.registry_tls import PUBLIC, RegistryTls

FindSettings = Callable[[], Awaitable[ConnectionSettings]]

CACHE_LIFETIME = timedelta(seconds=60)
"""How long the result of a check is valid."""


@dataclass
class Destinations:
    """The login destinations that one worker found safe for its Engine.

    ``clock`` counts seconds.
    """

    clock: Callable[[], float] = time.monotonic
    _until: dict[tuple[str, RegistryTls], float] = field(default_factory=dict)
    _locks: defaultdict[str, asyncio.Lock] = field(
        default_factory=lambda: defaultdict(asyncio.Lock)
    )

    def is_known_safe(self, target: Reference, tls: RegistryTls = PUBLIC) -> bool:
        """Return whether a login for ``target`` was found safe within `CACHE_LIFETIME`."""
        now = self.clock()
        self._until = {name: until for name, until in self._until.items() if until > now}
        return not {(target.registry, tls), (target.name, tls)}.isdisjoint(self._until)

    def remember(self, registry: str, tls: RegistryTls = PUBLIC) -> None:
        """Keep that a registry's destinations were found safe by a test of it."""
        self._until[registry, tls] = self.clock() + CACHE_LIFETIME.total_seconds()

    async def require_safe(
        self, login: Login, target: Reference, find_settings: FindSettings
    ) -> EngineLogin:
        """Return the Engine's login for ``target``, if all destinations of the login are safe.

        Only safe results are cached, for `CACHE_LIFETIME`. The result for a registry that needs no
        login is cached for the one repository.

        Raises:
            RefusedNetworkError: an address that is not allowed for registries.
            RegistryError: ``auth_unsafe_realm``, or why the registry cannot be checked.
        """
        async with self._locks[target.registry]:
            if not self.is_known_safe(target, login.tls):
                hostname = parse_registry(target.registry).hostname
                settings = (await find_settings()).for_registry(hostname, login.tls)
                self.remember(await _find_safe_name(target, settings), login.tls)
        return _make_engine_login(login)


def _make_engine_login(login: Login) -> EngineLogin:
    """Make the Engine's login of one whose destinations were found safe."""
    newest = login.newest
    return EngineLogin(
        host=newest.host, username=newest.username, secret=newest.secret, tls=login.tls
    )


async def _find_safe_name(target: Reference, settings: ConnectionSettings) -> str:
    try:
        return await _check_directly(target, settings)
    except RegistryError as error:
        if error.code != FaultCode.TLS_UNKNOWN_CA:
            raise
        # The Engine verifies by itself, and sends nothing if it cannot.
        settings = replace(settings, insecure=settings.insecure | {target.registry})
    return await _check_directly(target, settings)


async def _check_directly(target: Reference, settings: ConnectionSettings) -> str:
    """Return the name that is safe: the registry, or one repository of an open registry."""
    host = parse_registry(target.registry)
    async with RegistryClient(host, None, settings) as client:
        ping = await client.send(Request("GET", await client.url(""), same_origin_only=True), None)
        if ping.status == 401:
            await client.handshake.require_safe(ping.challenges, await client.route())
            return target.registry
        if ping.status != 200:
            raise client.make_refusal(ping, Operation.PING)
        url = await client.url(f"{target.repository}/manifests/{target.target}")
        image = await client.send(Request("HEAD", url, ACCEPT, same_origin_only=True), None)
        if image.status == 401:
            await client.handshake.require_safe(image.challenges, await client.route())
        return target.name
