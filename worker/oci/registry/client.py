"""The client of one registry: its base address, login, redirects and refusals.

```text
request ──► 401 + challenge ──► Basic, or a token for the scope ──► request again, once
```

Other modules of this folder implement the requests of the OCI distribution specification with it.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Self

from yarl import URL

from shared.errors import CredentialError, RegistryError
from shared.faults import FaultCode
from shared.jobs.diagnosis import PROBE_REPOSITORY
from shared.reference import RegistryHost
from worker.login import Login
from worker.oci.auth.handshake import Authentication, Handshake
from worker.oci.auth.scope import Scope
from worker.oci.transport.answers import (
    Operation,
    has_words,
    is_registry,
    is_registrys,
    make_not_a_registry_error,
    make_protocol_error,
    make_response_error,
    make_storage_error,
    parse_error_codes,
)
from worker.oci.transport.http import Request, Response, Transport
from worker.oci.transport.route import Route, find_origin, find_route, require_connection
from worker.oci.transport.settings import ConnectionSettings

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
            raise CredentialError(f"a credential of {login.host} is not sent to {host.name}")
        self.host = host
        self.login = login if login and (login.username or login.secret) else None
        self.settings = settings
        self._route = route
        self._transport = Transport(settings)
        self.handshake = Handshake(self._transport, self.login, host.name)
        self._is_open: bool | None = None
        self._is_accepted = False
        self._is_proved = False
        self._authorization: str | None = None
        self._trial: Request | None = None
        self.first_page: Response | None = None
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
            self._is_open = self._is_proved = True
        elif response.status == 401 and await self.accept_challenge(response):
            self._is_open = False
            self._is_proved = is_registrys(response) or self.handshake.has_scopes
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
            if not await self._find_hidden_challenge(scopes):
                raise RegistryError(
                    FaultCode.AUTH_NOT_CHECKED,
                    f"{self.host.name} accepts every client without asking for a password",
                )
        authentication, authorization = await self.handshake.authenticate(scopes)
        await self._require_accepted(authorization, scopes, authentication)
        return authentication

    async def _require_accepted(
        self, authorization: str, scopes: Sequence[Scope], authentication: Authentication
    ) -> None:
        """Check that the registry accepts a login; one request then proves the right to pull too.

        Only if that request is refused, ``/v2/`` is asked, which tells a wrong login from a missing
        permission.
        """
        listed: Response | None = None
        if scopes:
            trial = self._trial or (await self._make_trials(scopes[0]))[0]
            tried = await self.send(trial, authorization)
            listed = tried if trial.method == "GET" else None
            await self._cancel_trial(tried, authorization)
            if tried.status in {200, 404} and is_registrys(tried):
                self._is_proved, self.first_page = True, listed
                return
            if self._is_open and tried.status == 401:
                raise self.make_refusal(tried, Operation.PING)
        response = await self.send(
            Request("GET", await self.url(""), same_origin_only=True), authorization
        )
        if response.status == 401 and authentication.realm_host and self.login:
            raise _make_untrusted_token(self.host.name, authentication)
        self._require_registry(response)
        self.first_page = listed

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
            if not self._is_proved:
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
        return make_response_error(
            response,
            operation,
            self._subject(repository, target if repository else ""),
            is_anonymous=self.login is None,
            is_proved=self._is_proved,
        )

    async def _examine(self, response: Response) -> None:
        """Ask ``/v2/`` if a response does not tell enough by itself.

        Raises:
            RegistryError: there is no registry, or it does not accept the login.
        """
        is_telling = is_registrys(response) or response.status in {407, 429} | SERVER_ERRORS
        is_doubtful = not (self._is_proved or is_telling)
        is_login_doubtful = response.status in {400, 401} and response.has_login
        if has_words(response) or not (
            is_doubtful or (is_login_doubtful and not self._is_accepted)
        ):
            return
        if self._is_open is None and (is_login_doubtful or not response.has_login):
            await self.ping()
        if self._authorization is None or (self._is_open and response.status != 401):
            return
        if self._is_open:
            raise make_response_error(
                response, Operation.PING, self.host.name, is_anonymous=self.login is None
            )
        url = await self.url("")
        request = Request("GET", url, same_origin_only=True)
        self._require_registry(await self.send(request, self._authorization))

    async def _find_hidden_challenge(self, scopes: Sequence[Scope]) -> bool:
        """Return whether an open registry asks for a login when it is read or written."""
        for scope in scopes[:1]:
            for request in await self._make_trials(scope):
                response = await self.send(request, None)
                if response.status == 401 and await self.accept_challenge(response):
                    self._trial = request
                    return True
                await self._cancel_trial(response, None)
        return False

    async def _cancel_trial(self, response: Response, authorization: str | None) -> None:
        """Cancel the upload that a trial has started."""
        own = (await self.route()).origin
        if response.status == 202 and response.location and find_origin(response.location) == own:
            await self.send(Request("DELETE", response.location), authorization)

    async def _make_trials(self, scope: Scope) -> list[Request]:
        url = (await self.url(f"{scope.name}/tags/list")).with_query(n=1)
        trials = [Request("GET", url, same_origin_only=True)]
        if "push" in scope.actions:
            trials.append(Request("POST", await self.url(f"{scope.name}/blobs/uploads/")))
        return trials

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

    def _require_registry(self, response: Response) -> None:
        """Check the response of ``/v2/`` to a login.

        Raises:
            RegistryError: the login is not accepted, or there is no registry.
        """
        if response.status != 200:
            raise self.make_refusal(response, Operation.PING)
        found = is_registry(response)
        if found is False:
            raise make_not_a_registry_error(response, self.host.name)
        self._is_proved = bool(found)  # else what lies below has to show it

    def _make_unreadable_login(self, response: Response) -> RegistryError:
        """Make the error for a 400 to a login where the registry asked for one with a 401 before.

        ECR answers so to a token of another region and to one that it cannot read.
        """
        error = make_response_error(
            response, Operation.PING, self.host.name, is_anonymous=self.login is None
        )
        if error.code == FaultCode.TLS_CLIENT_CERT or self._is_open is not False:
            return error
        is_token = self.login is not None and self.login.username == ECR_USERNAME
        code = FaultCode.AUTH_EXPIRED if is_token else FaultCode.AUTH_BAD_CREDENTIALS
        return RegistryError(
            code,
            f"cannot log in to {self.host.name}: it cannot read this login",
            evidence=error.evidence,
        )

    def _subject(self, repository: str, target: str = "") -> str:
        if not repository:
            return self.host.name
        separator = ("@" if ":" in target else ":") if target else ""
        return f"{self.host.name}/{repository}{separator}{target}"


def _make_untrusted_token(name: str, authentication: Authentication) -> RegistryError:
    return RegistryError(
        FaultCode.AUTH_BAD_CREDENTIALS,
        f"{name} does not accept the token that {authentication.realm_host} issued",
        remedy="Check username and password. If they are right, the registry does not trust its "
        "token server (keys, issuer, clocks).",
    )
