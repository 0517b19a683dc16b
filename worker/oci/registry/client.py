"""The client of one registry: its base address, login, redirects and refusals.

```text
request ──► 401 + challenge ──► Basic, or a token for the scope ──► request again, once
```

Other modules of this folder implement the requests of the OCI distribution specification with it.
"""

import asyncio
import contextlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import Self

from yarl import URL

from shared.errors import CredentialError, RegistryError
from shared.faults import FaultCode
from shared.jobs.diagnosis import PROBE_REPOSITORY
from shared.reference import RegistryHost
from worker.login import Login
from worker.oci.auth.handshake import Handshake
from worker.oci.auth.scope import Scope
from worker.oci.providers.quotas import Holder
from worker.oci.transport.answers import (
    make_not_a_registry_error,
    make_protocol_error,
    make_response_error,
    make_storage_error,
)
from worker.oci.transport.http import Request, Response, Transport
from worker.oci.transport.route import Route, find_origin, find_route, require_connection
from worker.oci.transport.settings import ConnectionSettings
from worker.oci.transport.shape import (
    has_words,
    is_registry,
    is_registrys,
    parse_error_codes,
    parse_retry_after,
)
from worker.oci.transport.verdicts import Operation

MAX_REDIRECTS = 3
SERVER_ERRORS = frozenset(range(500, 600))
ECR_USERNAME = "AWS"
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
            raise CredentialError(
                f"the stored login is for {login.host}, so it is not sent to {host.name}"
            )
        self.host = host
        self.login = login if login and (login.username or login.secret) else None
        self.settings = settings.for_registry(host.hostname, login.tls) if login else settings
        self._route = route
        self._transport = Transport(self.settings)
        self.handshake = Handshake(self._transport, self.login, host.name)
        self.is_open: bool | None = None
        self._is_accepted = False
        self.is_proved = False
        self._authorization: str | None = None
        self._challenges: tuple[str, ...] = ()
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
        if response.status == 200 and await self._is_registry(response):
            self.is_open = self.is_proved = True
        elif response.status == 401 and await self.accept_challenge(response):
            self.is_open, self._challenges = False, response.challenges
            self.is_proved = is_registrys(response) or self.handshake.has_scopes
        elif response.status in {200, 401}:
            raise make_not_a_registry_error(response, self.host.name)
        else:
            raise self.make_refusal(response, Operation.PING)
        return self.is_open

    async def require_safe_realms(self) -> None:
        """Check every token server that the ping named: an Engine may use any of them.

        Raises:
            RefusedNetworkError: one is at an address that is not allowed.
            RegistryError: ``auth_unsafe_realm`` or ``auth_server_unreachable``.
        """
        if self._challenges:
            await self.handshake.require_safe(self._challenges, await self.route())

    async def route(self) -> Route:
        """Return the route to the registry; find it at the first call."""
        async with self._lock:
            if self._route is None:
                host = self.host
                self._route = await find_route(host.name, host.hostname, host.port, self.settings)
            self._transport.add(self._route)
            return self._route

    async def require_reachable(self, origin: URL) -> None:
        """Check that another address can be reached by its scheme.

        Raises:
            RegistryError: no address, no connection, or no TLS.
            RefusedNetworkError: an address that is not allowed for registries.
        """
        await require_connection(origin, self.settings)

    async def url(self, path: str) -> URL:
        """Return the URL of ``/v2/`` plus ``path``, which consists of checked names."""
        return (await self.route()).origin.with_path(f"/v2/{path}")

    async def send_authorized(self, request: Request, scope: Scope) -> Response:
        """Send a request with the login for ``scope``; answer a 401 once with a new authorization.

        A request whose content is a stream is not repeated, as it cannot be sent twice.

        Raises:
            RegistryError: no connection, or no login for it; the caller checks the status.
        """
        authorization, denial = await self.handshake.find_authorization(scope)
        if denial and not request.is_repeatable:
            raise denial
        response = await self.send(request, authorization)
        if (
            response.status == 401
            and not denial
            and request.is_repeatable
            and await self._find_challenge(response)
        ):
            renewed, denial = await self.handshake.find_authorization(scope, is_fresh=True)
            if renewed and renewed != authorization:
                response = await self.send(request, renewed)
        if denial and response.status in {401, 403} and not has_words(response):
            raise denial
        return response

    async def _find_challenge(self, response: Response) -> bool:
        """Return whether a 401 can be answered; some name their challenge only at ``/v2/``."""
        if await self.accept_challenge(response):
            return True
        if self.login is None or response.has_login:
            return False
        with contextlib.suppress(RegistryError):
            return not await self.ping()
        return False

    async def send(self, request: Request, authorization: str | None) -> Response:
        """Send one request; follow redirects of GET and HEAD, to other origins without the login.

        Raises:
            RegistryError: no connection, or too many redirects.
        """
        own = (await self.route()).origin
        for _ in range(MAX_REDIRECTS + 1):
            sent = authorization if find_origin(request.url) == own else None
            response = await self._transport.request(request.with_authorization(sent))
            if find_origin(request.url) == own:
                self._note_quota(response)
            self._authorization = sent or self._authorization
            if sent and response.status not in {400, 401, 403}:
                self._is_accepted = True
            following = response.location if response.is_redirect else None
            if following is None or request.method not in SAFE_METHODS:
                return response
            if request.same_origin_only and find_origin(following) != own:
                return response
            request = replace(request, url=following)
        raise RegistryError(FaultCode.NOT_A_REGISTRY, f"{self.host.name} redirects too many times")

    def expect_pulls(self, pulls: int) -> None:
        """Note how many manifests are read, each of which the registry may count as a pull."""
        self.settings.quotas.expect(self._holder, pulls)

    @property
    def _holder(self) -> Holder:
        return self.host.name, self.login.username if self.login else ""

    def _note_quota(self, response: Response) -> None:
        wait = parse_retry_after(response.headers, datetime.now(UTC))
        self.settings.quotas.note(self._holder, response.status, response.headers, wait)

    async def accept_challenge(self, response: Response) -> bool:
        """Return whether a 401 of the registry itself has a challenge that we support; keep it."""
        route = await self.route()
        own = find_origin(response.url) == route.origin
        return own and self.handshake.accept_challenge(response.challenges, route)

    async def refuse(
        self, response: Response, operation: Operation, repository: str = "", target: str = ""
    ) -> RegistryError:
        """Return the error for a response that is not the expected one, after asking ``/v2/``.

        It is asked where the response alone can mislead: anything that a registry need not have
        written, and a 401 of a login that was not accepted before.
        """
        is_elsewhere = find_origin(response.url) != (await self.route()).origin
        try:
            await self._examine(response)
        except RegistryError as error:
            return error
        if is_elsewhere:
            return make_storage_error(response, self._subject(repository, target))
        if response.status < 400 and not parse_error_codes(response):
            if not self.is_proved:
                return make_not_a_registry_error(response, self.host.name)
            return make_protocol_error(response, self._subject(repository, target))
        return self.make_refusal(response, operation, repository, target)

    def make_refusal(
        self, response: Response, operation: Operation, repository: str = "", target: str = ""
    ) -> RegistryError:
        """Make the error for a response; a 401 means a wrong login until one was accepted."""
        if response.status == 401 and not self._is_accepted and not has_words(response):
            operation, repository = Operation.PING, ""
        if response.status == 400 and operation is Operation.PING and response.has_login:
            return self._make_unreadable_login(response)
        error = make_response_error(
            response,
            operation,
            self._subject(repository, target if repository else ""),
            is_anonymous=self.login is None,
            is_proved=self.is_proved,
            registry=self.host.name,
        )
        error.registry_id = self.login.registry_id if self.login else None
        return error

    async def _examine(self, response: Response) -> None:
        """Ask ``/v2/`` if a response does not tell enough by itself.

        Raises:
            RegistryError: there is no registry, or it does not accept the login.
        """
        is_telling = is_registrys(response) or response.status in {407, 429} | SERVER_ERRORS
        is_doubtful = not (self.is_proved or is_telling)
        is_login_doubtful = response.status in {400, 401} and response.has_login
        if has_words(response) or not (
            is_doubtful or (is_login_doubtful and not self._is_accepted)
        ):
            return
        if self.is_open is None and (is_login_doubtful or not response.has_login):
            await self.ping()
        if self._authorization is None or (self.is_open and response.status != 401):
            return
        if self.is_open:
            raise make_response_error(
                response,
                Operation.PING,
                self.host.name,
                is_anonymous=self.login is None,
                registry=self.host.name,
            )
        url = await self.url("")
        request = Request("GET", url, same_origin_only=True)
        self.require_registry(await self.send(request, self._authorization))

    async def _is_registry(self, response: Response) -> bool:
        """Return whether a success of ``/v2/`` is a registry's; look below it where it may not."""
        found = is_registry(response)
        if found is not None:
            return found
        url = await self.url(f"{PROBE_REPOSITORY}/tags/list")
        listed = await self.send(Request("GET", url, same_origin_only=True), None)
        if listed.status == 401:
            return await self.accept_challenge(listed)
        return is_registrys(listed) or (listed.status == 404 and not listed.is_html)

    def require_registry(self, response: Response) -> None:
        """Check the response of ``/v2/`` to a login.

        Raises:
            RegistryError: the login is not accepted, or there is no registry.
        """
        if response.status != 200:
            raise self.make_refusal(response, Operation.PING)
        found = is_registry(response)
        if found is False:
            raise make_not_a_registry_error(response, self.host.name)
        self.is_proved = bool(found)  # else what lies below has to show it

    def _make_unreadable_login(self, response: Response) -> RegistryError:
        """Make the error for a 400 to a login where the registry asked for one with a 401 before.

        ECR answers so to a token of another region and to one that it cannot read.
        """
        error = make_response_error(
            response, Operation.PING, self.host.name, is_anonymous=self.login is None
        )
        if error.code == FaultCode.TLS_CLIENT_CERT or self.is_open is not False:
            return error
        is_token = self.login is not None and self.login.username == ECR_USERNAME
        code = FaultCode.AUTH_EXPIRED if is_token else FaultCode.AUTH_BAD_CREDENTIALS
        return RegistryError(
            code,
            f"cannot log in to {self.host.name}: it does not accept the form of this login",
            remedy="Store a new login with registry.update. A token of ECR is valid only in its "
            "own region.",
            evidence=error.evidence,
        )

    def _subject(self, repository: str, target: str = "") -> str:
        if not repository:
            return self.host.name
        separator = ("@" if ":" in target else ":") if target else ""
        return f"{self.host.name}/{repository}{separator}{target}"
