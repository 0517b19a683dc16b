"""The token protocol of registries: request Bearer tokens for scopes, and cache them.

By the distribution project's "Token Authentication Specification". A credential is sent to its
registry's host and to that registry's token server (`worker.oci.auth.realm`), and to no other host.
"""

import asyncio
import base64
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, ValidationError

from shared.errors import RegistryError
from shared.faults import FaultCode
from worker.login import Login
from worker.oci.auth.challenge import Challenge
from worker.oci.auth.realm import Realm, parse_realm, require_equal_verification
from worker.oci.auth.scope import Scope, parse_granted
from worker.oci.transport.answers import DENIED, Operation, make_response_error
from worker.oci.transport.http import Request, Response, Transport
from worker.oci.transport.route import Route

CLIENT_ID = "wharfinger"
DEFAULT_LIFE_SECONDS = 60.0
SKEW_SECONDS = 10.0
_VISIBLE = re.compile(r"[\x21-\x7e]+")

Clock = Callable[[], float]


@dataclass(frozen=True)
class Token:
    """A Bearer token for a scope.

    ``granted`` are the actions that a readable token names; ``None`` if it cannot be read.
    """

    value: str = field(repr=False)
    scope: Scope | None
    granted: frozenset[str] | None
    expires_at: float

    def serves(self, scope: Scope) -> bool:
        grants = self.granted is None or "*" in self.granted or self.granted >= scope.actions
        return self.scope is not None and self.scope.covers(scope) and grants


class TokenSource:
    """The tokens of one token server for one login, each cached until shortly before it expires."""

    def __init__(
        self,
        transport: Transport,
        realm: Realm,
        login: Login | None,
        *,
        registry: str,
        clock: Clock = time.monotonic,
    ) -> None:
        self._transport = transport
        self._realm = realm
        self._login = login
        self._registry = registry
        self._clock = clock
        self._tokens: list[Token] = []
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

        Raises:
            RegistryError: ``auth_bad_credentials``, ``pull_denied``, ``push_denied``,
                ``auth_server_unreachable`` and the errors of other HTTP responses.
        """
        async with self._lock:
            self._discard(scope if is_fresh else None)
            cached = next((token for token in self._tokens if token.serves(scope)), None)
            token = cached or await self._fetch(scope)
        if not token.serves(scope):
            raise self._make_denial(scope, token)
        return token

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
        response = await self._request_token(scope)
        if response.status != 200:
            raise self._make_refusal(response, scope)
        token = self._read(response, scope)
        self._tokens.append(token)
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
        return Token(value, scope, parse_granted(value, scope), ends)

    def _make_denial(self, scope: Scope, token: Token) -> RegistryError:
        granted = ", ".join(sorted(token.granted or ())) or "nothing"
        return RegistryError(
            DENIED[scope.operation] if self._login else FaultCode.AUTH_MISSING,
            f"cannot {scope.operation} {self._registry}/{scope.name}",
            evidence=f"{self._realm.url.host} grants: {granted}",
        )

    def _make_refusal(self, response: Response, scope: Scope | None) -> RegistryError:
        if response.status == 401:
            return make_response_error(
                response, Operation.PING, self._registry, is_anonymous=self._login is None
            )
        if response.status in {400, 403}:
            operation = scope.operation if scope else Operation.PING
            return RegistryError(
                DENIED[operation],
                f"the token server of {self._registry} refuses {scope or 'this login'}",
                evidence=f"{self._realm.url.host}: HTTP {response.status}",
            )
        if response.status == 429 or response.status >= 500:
            where = f"the token server of {self._registry}"
            return make_response_error(response, Operation.PING, where, is_anonymous=False)
        return _make_no_token(self._realm, response)


def make_basic(login: Login) -> str:
    """Return the value of ``Authorization`` (RFC 7617, in UTF-8)."""
    pair = f"{login.username}:{login.secret.get_secret_value()}"
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
        evidence=error.evidence or error.code,
    )


def _make_no_token(realm: Realm, response: Response) -> RegistryError:
    return RegistryError(
        FaultCode.AUTH_SERVER_UNREACHABLE,
        f"the token server {realm.url.host} returns no token",
        evidence=f"HTTP {response.status}",
    )
