"""The token protocol of registries: request Bearer tokens for scopes, and cache them.

By the distribution project's "Token Authentication Specification". A credential is sent to its
registry's host and to that registry's token server (`worker.oci.auth.realm`), and to no other host.
"""

import asyncio
import base64
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, ValidationError

from shared.errors import RegistryError
from shared.faults import FaultCode
from worker.login import Login
from worker.oci.auth.challenge import Challenge
from worker.oci.auth.realm import Realm, parse_realm, require_equal_verification
from worker.oci.auth.scope import UNKNOWN, Claims, Scope, parse_claims
from worker.oci.providers.remedies import find_remedy
from worker.oci.transport.answers import make_response_error
from worker.oci.transport.http import Request, Response, Transport
from worker.oci.transport.route import Route
from worker.oci.transport.shape import has_words, parse_error_codes
from worker.oci.transport.verdicts import DENIED, Operation

CLIENT_ID = "wharfinger"
DENIES_LOGINS = frozenset({"ghcr.io"})
"""Registries whose token server gives a token to every right login, whatever its permissions are,
and answers "denied" to a wrong one, or to none."""

DEFAULT_LIFE_SECONDS = 60.0
SKEW_SECONDS = 10.0
RENEWAL_PAUSES = (1.0, 2.0, 4.0, 8.0, 8.0, 8.0)
"""The seconds between requests for a token of a scope that one was issued for before."""

_REMEDIES = {
    FaultCode.TLS_UNKNOWN_CA: "Add the CA of the token server to this server's trusted "
    "certificates, and for Docker to /etc/docker/certs.d/HOST:PORT/ca.crt.",
    FaultCode.TLS_EXPIRED: "Renew the certificate of the token server, or correct this server's "
    "clock.",
    FaultCode.DNS_NOT_FOUND: "Correct the address of the token server in the registry's settings "
    "(its realm), or let this server's DNS resolve it.",
}
_VISIBLE = re.compile(r"[\x21-\x7e]+")

Clock = Callable[[], float]
Pause = Callable[[float], Awaitable[object]]


@dataclass(frozen=True)
class Token:
    """A Bearer token for a scope.

    ``granted`` are the actions that a readable token names; ``None`` if it cannot be read.
    """

    value: str = field(repr=False)
    scope: Scope | None
    granted: frozenset[str] | None
    expires_at: float
    claims: Claims = UNKNOWN

    def serves(self, scope: Scope) -> bool:
        return self.scope is not None and self.scope.covers(scope) and self.grants(scope)

    def grants(self, scope: Scope) -> bool:
        """Return whether it grants the actions of its scope, as far as it can be read."""
        return self.granted is None or "*" in self.granted or self.granted >= scope.actions


class TokenSource:
    """The tokens of one token server for one login, each cached until shortly before it expires.

    ``clock`` counts seconds, and ``pause`` waits for some.
    """

    def __init__(
        self,
        transport: Transport,
        realm: Realm,
        login: Login | None,
        *,
        registry: str,
        clock: Clock = time.monotonic,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self._transport = transport
        self._realm = realm
        self._login = login
        self._registry = registry
        self._clock = clock
        self._pause = pause
        self._tokens: list[Token] = []
        self._known: set[Scope | None] = set()
        self._lock = asyncio.Lock()

    @classmethod
    async def open(
        cls,
        transport: Transport,
        challenge: Challenge,
        login: Login | None,
        *,
        registry: str,
        route: Route,
    ) -> "TokenSource":
        """Check the token server that a challenge of ``registry`` names, and return its tokens.

        Raises:
            RefusedNetworkError: it is at an address that is not allowed.
            RegistryError: ``auth_unsafe_realm`` or ``auth_server_unreachable``.
        """
        realm = parse_realm(challenge, registry, route)
        try:
            reached = await transport.find_route(realm.url)
        except RegistryError as error:
            raise _make_unreachable(realm, error) from error
        require_equal_verification(realm, reached, registry, route)
        return cls(transport, realm, login, registry=registry)

    @property
    def realm(self) -> Realm:
        return self._realm

    async def find(self, scope: Scope, *, is_fresh: bool = False) -> Token:
        """Return a token that covers ``scope``; with ``is_fresh`` request a new one.

        The token server may grant less: `find_denial` tells.

        Raises:
            RegistryError: ``auth_bad_credentials``, ``pull_denied``, ``push_denied``,
                ``auth_server_unreachable`` and the errors of other HTTP responses.
        """
        async with self._lock:
            self._discard(scope if is_fresh else None)
            cached = next((token for token in self._tokens if token.serves(scope)), None)
            return cached or await self._fetch(scope)

    def find_denial(self, scope: Scope, token: Token) -> RegistryError | None:
        """Return the error of a token that does not grant the actions of ``scope``."""
        if token.serves(scope):
            return None
        granted = ", ".join(sorted(token.granted or ())) or "nothing"
        where = f"{self._registry}/{scope.name}"
        code = DENIED[scope.operation] if self._login else FaultCode.AUTH_MISSING
        return RegistryError(
            code,
            f"{_describe_denial(scope.operation, is_anonymous=self._login is None)} {where}",
            remedy=find_remedy(self._registry, code),
            evidence=f"the token server {self._realm.url.host} grants: {granted}",
        )

    async def request(self, scope: Scope | None) -> Token:
        """Request a new token for ``scope``; the token server may grant less, or nothing.

        Raises:
            RegistryError: as `find`.
        """
        async with self._lock:
            return await self._fetch(scope)

    def _discard(self, refused: Scope | None) -> None:
        now = self._clock()
        self._tokens = [
            token
            for token in self._tokens
            if token.expires_at > now and not (refused and token.serves(refused))
        ]

    async def _fetch(self, scope: Scope | None) -> Token:
        """Request a token; in the midst of a transfer wait for a token server that is down."""
        for seconds in RENEWAL_PAUSES if scope in self._known else ():
            try:
                return await self._fetch_once(scope)
            except RegistryError as error:
                if error.code != FaultCode.AUTH_SERVER_UNREACHABLE:
                    raise
            await self._pause(seconds)
        return await self._fetch_once(scope)

    async def _fetch_once(self, scope: Scope | None) -> Token:
        response = await self._request_token(scope)
        if response.status != 200:
            raise self._make_refusal(response, scope)
        token = self._read(response, scope)
        self._tokens.append(token)
        self._known.add(scope)
        return token

    async def _request_token(self, scope: Scope | None) -> Response:
        query: dict[str, str | tuple[str, ...]] = {
            "service": self._realm.service,
            "client_id": CLIENT_ID,
        }
        headers = {}
        if self._login:
            query["account"] = self._login.username
            headers["Authorization"] = make_basic(self._login)
        if scope:
            query["scope"] = scope.parts
        url = self._realm.url.extend_query({k: v for k, v in query.items() if v})
        try:
            return await self._transport.request(Request("GET", url, headers))
        except RegistryError as error:
            raise _make_unreachable(self._realm, error) from error

    def _read(self, response: Response, scope: Scope | None) -> Token:
        try:
            parsed = _TokenResponse.model_validate(response.json())
        except ValidationError:
            parsed = _TokenResponse()
        value = parsed.token or parsed.access_token or ""
        if not _VISIBLE.fullmatch(value):  # other characters could inject headers
            raise _make_no_token(self._realm, response)
        life = max(parsed.expires_in or DEFAULT_LIFE_SECONDS, 0.0)
        skew = min(SKEW_SECONDS, life / 4)
        ends = self._clock() + life - skew
        claims = parse_claims(value)
        return Token(value, scope, claims.granted(scope), ends, claims)

    def _make_refusal(self, response: Response, scope: Scope | None) -> RegistryError:
        host, codes = self._realm.url.host, parse_error_codes(response)
        operation = scope.operation if scope else Operation.PULL
        error = make_response_error(
            response,
            Operation.PING if response.status in {401, 423} else operation,
            f"{self._registry} through its token server {host}",
            is_anonymous=self._login is None,
            registry=self._registry,
        )
        error.registry_id = self._login.registry_id if self._login else None
        if response.status in {401, 423, 429} or has_words(response):
            return error
        if response.status not in {400, 403} or (response.status == 403 and response.is_html):
            if error.code == FaultCode.BLOCKED_BY_PROXY:
                return error
            return _make_no_token(self._realm, response, error.retry_after_seconds)
        # Some answer "denied" to a right login without this permission, others to a wrong password.
        is_known = (scope or "DENIED" in codes) and self._registry not in DENIES_LOGINS
        code = DENIED[operation if is_known else Operation.PING]
        if self._login is None:
            code = FaultCode.AUTH_MISSING
        asked = "this login" if self._login else "a request without a login"
        return RegistryError(
            code,
            f"the token server {host} of {self._registry} refuses {scope or asked}",
            remedy=find_remedy(self._registry, code, response.body),
            evidence=", ".join((f"HTTP {response.status}", *codes[:3])),
        )


def make_basic(login: Login) -> str:
    """Return the value of ``Authorization`` (RFC 7617, in UTF-8), of the newest login."""
    newest = login.newest
    pair = f"{newest.username}:{newest.secret.get_secret_value()}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


class _TokenResponse(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    token: str | None = None
    access_token: str | None = None
    expires_in: float | None = None


def _make_unreachable(realm: Realm, error: RegistryError) -> RegistryError:
    return RegistryError(
        FaultCode.AUTH_SERVER_UNREACHABLE,
        f"the token server {realm.url.host} cannot be used: {error.message}",
        remedy=_REMEDIES.get(FaultCode(error.code), ""),
        evidence=error.evidence or error.code,
        retry_after_seconds=error.retry_after_seconds,
    )


def _make_no_token(
    realm: Realm, response: Response, retry_after_seconds: float | None = None
) -> RegistryError:
    page = ", a web page" if response.is_html else ""
    return RegistryError(
        FaultCode.AUTH_SERVER_UNREACHABLE,
        f"the token server {realm.url.host} returns no token",
        evidence=f"HTTP {response.status}{page}",
        retry_after_seconds=retry_after_seconds,
    )


def _describe_denial(operation: Operation, *, is_anonymous: bool) -> str:
    if is_anonymous:
        return "a login is required for"
    if operation in {Operation.PUSH, Operation.DELETE}:
        return "this login has no permission to write to"
    return "this login has no permission to read"
