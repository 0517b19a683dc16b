"""The places where an Engine would send a login, asked for before it is given one.

An Engine goes by itself to whatever token server a registry names. Our own ping goes first:

```text
401 ──► every token server that it names is safe (`oci.auth.realm`) ──► the Engine may have it
200 ──► the image is asked for as nobody: where that is a 401, as above
a certificate that only the Engine knows ──► asked again without verifying it: nothing is sent
no connection ──► asked through the Engine's proxy, if it has one
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
from worker.oci.engine_proxy import ask_through_proxy
from worker.oci.registry.conversation import Conversation
from worker.oci.registry.manifest import ACCEPT
from worker.oci.transport.answers import Asked
from worker.oci.transport.http import Request
from worker.oci.transport.settings import ConnectionSettings

CLOSED = frozenset(
    {
        FaultCode.DNS_NOT_FOUND,
        FaultCode.DNS_FAILURE,
        FaultCode.CONN_REFUSED,
        FaultCode.CONN_TIMEOUT,
        FaultCode.CONN_RESET,
    }
)
"""What is usual where only a proxy gets out."""

FindSettings = Callable[[], Awaitable[ConnectionSettings]]

KEPT = timedelta(seconds=60)
"""How long a registry is believed to name the token servers that it named."""


@dataclass
class Destinations:
    """What was found safe by one worker for its Engine; ``clock`` counts seconds."""

    clock: Callable[[], float] = time.monotonic
    _until: dict[str, float] = field(default_factory=dict)
    _locks: defaultdict[str, asyncio.Lock] = field(
        default_factory=lambda: defaultdict(asyncio.Lock)
    )

    def knows(self, target: Reference) -> bool:
        """Whether a login for ``target`` was found safe a short while ago."""
        now = self.clock()
        self._until = {place: until for place, until in self._until.items() if until > now}
        return not {target.registry, target.name}.isdisjoint(self._until)

    async def require_safe(
        self, login: Login, target: Reference, find_settings: FindSettings
    ) -> EngineLogin:
        """The login for an Engine that is to pull or push ``target``.

        Only what was found safe is kept, for `KEPT`: of a registry that lets everybody in, for the
        one repository.

        Raises:
            RefusedNetworkError: an address that a registry may not have here.
            RegistryError: ``auth_unsafe_realm``, or why the registry cannot be asked.
        """
        async with self._locks[target.registry]:
            if not self.knows(target):
                place = await _look(target, await find_settings())
                self._until[place] = self.clock() + KEPT.total_seconds()
        return _permit(login)


def _permit(login: Login) -> EngineLogin:
    """The same login for an Engine, by who has seen that it may have it."""
    return EngineLogin(host=login.host, username=login.username, secret=login.secret)


async def _look(target: Reference, settings: ConnectionSettings) -> str:
    try:
        return await _ask(target, settings)
    except RegistryError as error:
        if error.code == FaultCode.TLS_UNKNOWN_CA:
            # The Engine verifies for itself, and sends nothing where it cannot.
            settings = replace(settings, insecure=settings.insecure | {target.registry})
        elif error.code not in CLOSED or not settings.proxy.serves(_hostname(target)):
            raise
        else:
            return await ask_through_proxy(target, settings)
    return await _ask(target, settings)


def _hostname(target: Reference) -> str:
    return parse_registry(target.registry).hostname


async def _ask(target: Reference, settings: ConnectionSettings) -> str:
    """What was found safe: the registry, or the repository of one that lets everybody in."""
    host = parse_registry(target.registry)
    async with Conversation(host, None, settings, None) as talk:
        ping = await talk.send(Request("GET", await talk.url(""), stays=True), None)
        if ping.status == 401:
            await talk.handshake.require_safe(ping.challenges, await talk.route())
            return target.registry
        if ping.status != 200:
            raise talk.refusal(ping, Asked.PING)
        url = await talk.url(f"{target.repository}/manifests/{target.target}")
        image = await talk.send(Request("HEAD", url, ACCEPT, stays=True), None)
        if image.status == 401:
            await talk.handshake.require_safe(image.challenges, await talk.route())
        return target.name
