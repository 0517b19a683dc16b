"""Requests to one registry: its base address, its login, its redirects, its refusals."""

import asyncio
from dataclasses import replace
from types import TracebackType
from typing import Self

from yarl import URL

from shared.errors import CredentialError, RegistryError
from shared.faults import FaultCode
from shared.reference import RegistryHost
from worker.login import Login
from worker.oci.auth.handshake import Handshake
from worker.oci.auth.scope import Scope
from worker.oci.transport.answers import Asked, make_answer_error
from worker.oci.transport.http import Answer, Request, Transport
from worker.oci.transport.route import Route, find_origin, find_route
from worker.oci.transport.settings import ConnectionSettings

MAX_REDIRECTS = 3
SAFE_METHODS = frozenset({"GET", "HEAD"})


class Conversation:
    """Sends the login to the registry's own origin only, and only after a challenge."""

    def __init__(
        self,
        host: RegistryHost,
        login: Login | None,
        settings: ConnectionSettings,
        route: Route | None,
    ) -> None:
        if login and login.host != host.name:
            raise CredentialError(f"a credential of {login.host} is not sent to {host.name}")
        self.host = host
        self.login = login if login and (login.username or login.secret) else None
        self.settings = settings
        self._route = route
        self._transport = Transport(settings)
        self.handshake = Handshake(self._transport, self.login, host.name)
        self._is_accepted = False
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._transport.__aexit__(kind, error, trace)

    async def route(self) -> Route:
        """The way to the registry, found once."""
        async with self._lock:
            if self._route is None:
                host = self.host
                self._route = await find_route(host.name, host.hostname, host.port, self.settings)
            self._transport.add(self._route)
            return self._route

    async def url(self, path: str) -> URL:
        """The address of ``/v2/`` plus ``path``, which is made of checked names."""
        return (await self.route()).origin.with_path(f"/v2/{path}")

    async def ask(self, request: Request, scope: Scope) -> Answer:
        """Send a request with the login for ``scope``; a 401 is answered once with a fresh proof.

        Not so where its content is a stream, which cannot be sent twice.

        Raises:
            RegistryError: no connection, or no login for it; an answer's status is the caller's.
        """
        authorization = await self.handshake.find(scope)
        answer = await self.send(request, authorization)
        if answer.status == 401 and request.is_repeatable and await self.learn(answer):
            fresh = await self.handshake.find(scope, is_fresh=True)
            if fresh and fresh != authorization:
                answer = await self.send(request, fresh)
        return answer

    async def send(self, request: Request, authorization: str | None) -> Answer:
        """One request; redirects of GET and HEAD are followed, to other origins without the login.

        Raises:
            RegistryError: no connection, or too many redirects.
        """
        own = (await self.route()).origin
        for _ in range(MAX_REDIRECTS + 1):
            proof = authorization if find_origin(request.url) == own else None
            answer = await self._transport.request(request.with_proof(proof))
            if proof and answer.status != 401:
                self._is_accepted = True
            following = answer.location if answer.is_redirect else None
            if following is None or request.method not in SAFE_METHODS:
                return answer
            if request.stays and find_origin(following) != own:
                return answer
            request = replace(request, url=following)
        raise RegistryError(
            FaultCode.NOT_A_REGISTRY, f"{self.host.name} leads from one address to the next"
        )

    async def learn(self, answer: Answer) -> bool:
        """Whether a 401 of the registry itself holds a challenge that we can answer."""
        route = await self.route()
        own = find_origin(answer.url) == route.origin
        return own and self.handshake.learn(answer.challenges, route)

    def refusal(self, answer: Answer, asked: Asked, repository: str = "") -> RegistryError:
        """The diagnosis of an answer; a 401 means the login until one was taken."""
        if answer.status == 401 and not self._is_accepted:
            asked = Asked.PING
        subject = f"{self.host.name}/{repository}" if repository else self.host.name
        return make_answer_error(answer, asked, subject, as_nobody=self.login is None)
