"""The client of one registry: its base address, login, redirects and refusals.

```text
request ──► 401 + challenge ──► Basic, or a token for the scope ──► request again, once
```

Other modules of this folder implement the requests of the OCI distribution specification with it.
"""

import asyncio
from dataclasses import replace
from typing import Self

from yarl import URL

from shared.errors import CredentialError, RegistryError
from shared.faults import FaultCode
from shared.reference import RegistryHost
from worker.login import Login
from worker.oci.auth.handshake import Authentication, Handshake
from worker.oci.auth.scope import Scope
from worker.oci.transport.answers import (
    Operation,
    is_registry,
    make_not_a_registry_error,
    make_protocol_error,
    make_response_error,
)
from worker.oci.transport.http import Request, Response, Transport
from worker.oci.transport.route import Route, find_origin, find_route
from worker.oci.transport.settings import ConnectionSettings

MAX_REDIRECTS = 3
SAFE_METHODS = frozenset({"GET", "HEAD"})


class RegistryClient:
    """Send requests to one registry, inside ``async with``.

    The login is sent only to the registry's own origin, and only after a challenge. Whatever sends
    a request raises `RegistryError` for a refusal and for a failed connection, and
    `RefusedNetworkError` for an address that is not allowed for registries.
    """

    def __init__(
        self,
        host: RegistryHost,
        login: Login | None,
        settings: ConnectionSettings,
        *,
        route: Route | None = None,
    ) -> None:
        """Prepare the client; ``route`` is an already known route to the registry.

        Raises:
            CredentialError: the login belongs to another host.
        """
        if login and login.host != host.name:
            raise CredentialError(f"a credential of {login.host} is not sent to {host.name}")
        self.host = host
        self.login = login if login and (login.username or login.secret) else None
        self.settings = settings
        self._route = route
        self._transport = Transport(settings)
        self.handshake = Handshake(self._transport, self.login, host.name)
        self._is_open: bool | None = None
        self._is_accepted = False
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._transport.__aexit__(*error)

    async def ping(self) -> bool:
        """Verify that a registry answers, and return whether it does so without a login.

        The credential is not sent.

        Raises:
            RegistryError: ``not_a_registry`` for a web page or any other service.
        """
        response = await self.send(Request("GET", await self.url(""), same_origin_only=True), None)
        if response.status == 200 and is_registry(response):
            self._is_open = True
        elif response.status == 401 and await self.accept_challenge(response):
            self._is_open = False
        elif response.status in {200, 401}:
            raise make_not_a_registry_error(response, self.host.name)
        else:
            raise self.make_refusal(response, Operation.PING)
        return self._is_open

    async def authenticate(self, *scopes: Scope) -> Authentication:
        """Authenticate by Basic, or by a token for the first of the scopes that is granted.

        Raises:
            RegistryError: ``auth_not_checked`` if no password is required,
                ``auth_bad_credentials``, ``auth_missing``, or an error of the token server.
        """
        if self._is_open or (self._is_open is None and await self.ping()):
            if self.login is None:
                return Authentication()
            raise RegistryError(
                FaultCode.AUTH_NOT_CHECKED,
                f"{self.host.name} accepts every client without asking for a password",
            )
        authentication, authorization = await self.handshake.authenticate(scopes)
        response = await self.send(
            Request("GET", await self.url(""), same_origin_only=True), authorization
        )
        if response.status == 401 and authentication.realm_host and self.login:
            raise _make_untrusted_token(self.host.name, authentication)
        if response.status != 200:
            raise self.make_refusal(response, Operation.PING)
        if response.is_html:
            raise make_protocol_error(response, self.host.name)
        return authentication

    async def route(self) -> Route:
        """Return the route to the registry; find it at the first call."""
        async with self._lock:
            if self._route is None:
                host = self.host
                self._route = await find_route(host.name, host.hostname, host.port, self.settings)
            self._transport.add(self._route)
            return self._route

    async def url(self, path: str) -> URL:
        """Return the URL of ``/v2/`` plus ``path``, which consists of checked names."""
        return (await self.route()).origin.with_path(f"/v2/{path}")

    async def send_authorized(self, request: Request, scope: Scope) -> Response:
        """Send a request with the login for ``scope``; answer a 401 once with a new authorization.

        A request whose content is a stream is not repeated, as it cannot be sent twice.

        Raises:
            RegistryError: no connection, or no login for it; the caller checks the status.
        """
        authorization = await self.handshake.find_authorization(scope)
        response = await self.send(request, authorization)
        if (
            response.status == 401
            and request.is_repeatable
            and await self.accept_challenge(response)
        ):
            renewed = await self.handshake.find_authorization(scope, is_fresh=True)
            if renewed and renewed != authorization:
                response = await self.send(request, renewed)
        return response

    async def send(self, request: Request, authorization: str | None) -> Response:
        """Send one request; follow redirects of GET and HEAD, to other origins without the login.

        Raises:
            RegistryError: no connection, or too many redirects.
        """
        own = (await self.route()).origin
        for _ in range(MAX_REDIRECTS + 1):
            sent = authorization if find_origin(request.url) == own else None
            response = await self._transport.request(request.with_authorization(sent))
            if sent and response.status != 401:
                self._is_accepted = True
            following = response.location if response.is_redirect else None
            if following is None or request.method not in SAFE_METHODS:
                return response
            if request.same_origin_only and find_origin(following) != own:
                return response
            request = replace(request, url=following)
        raise RegistryError(FaultCode.NOT_A_REGISTRY, f"{self.host.name} redirects too many times")

    async def accept_challenge(self, response: Response) -> bool:
        """Return whether a 401 of the registry itself has a challenge that we support; keep it."""
        route = await self.route()
        own = find_origin(response.url) == route.origin
        return own and self.handshake.accept_challenge(response.challenges, route)

    def make_refusal(
        self, response: Response, operation: Operation, repository: str = ""
    ) -> RegistryError:
        """Make the error for a response; a 401 means a wrong login until one was accepted."""
        if response.status == 401 and not self._is_accepted:
            operation = Operation.PING
        subject = f"{self.host.name}/{repository}" if repository else self.host.name
        return make_response_error(response, operation, subject, is_anonymous=self.login is None)


def _make_untrusted_token(name: str, authentication: Authentication) -> RegistryError:
    return RegistryError(
        FaultCode.AUTH_BAD_CREDENTIALS,
        f"{name} does not accept the token that {authentication.realm_host} issued",
        remedy="Check username and password. If they are right, the registry does not trust its "
        "token server (keys, issuer, clocks).",
    )
