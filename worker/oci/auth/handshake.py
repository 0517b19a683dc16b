"""Choose how a login authenticates at a registry, and make the header for it."""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.errors import RegistryError
from shared.faults import FaultCode
from worker.login import Login
from worker.oci.auth.challenge import Challenge, parse_challenges
from worker.oci.auth.realm import require_unambiguous
from worker.oci.auth.scope import UNKNOWN, Claims, Scope
from worker.oci.auth.token import Token, TokenSource, make_basic
from worker.oci.transport.http import Transport
from worker.oci.transport.route import Route

REFUSED_SCOPE = frozenset({FaultCode.PULL_DENIED, FaultCode.PUSH_DENIED, FaultCode.AUTH_MISSING})


@dataclass(frozen=True)
class Authentication:
    """The way in which a registry accepted a login.

    ``realm_host`` is the host of the token server that issued a token; empty for Basic.
    ``is_foreign`` is set if that host is neither the registry's nor known to belong to it.
    ``actions`` are ``None`` if the token does not name them.
    """

    realm_host: str = ""
    is_foreign: bool = False
    scope: Scope | None = None
    actions: frozenset[str] | None = None
    claims: Claims = UNKNOWN


class Handshake:
    """The authentication at one registry: its challenge, and the login that answers it."""

    def __init__(self, transport: Transport, login: Login | None, registry: str) -> None:
        self._transport = transport
        self._login = login
        self._registry = registry
        self._route: Route | None = None
        self._challenge: Challenge | None = None
        self._source: TokenSource | None = None

    def accept_challenge(self, values: Sequence[str], route: Route) -> bool:
        """Keep the first 401's best challenge, bearer before basic.

        Return whether this 401 has a supported one.
        """
        challenges = parse_challenges(values)
        tokens = [one for one in challenges if one.scheme == "bearer" and "realm" in one.parameters]
        basics = [one for one in challenges if one.scheme == "basic"]
        supported = [*tokens, *basics]
        if supported:
            self._route, self._challenge = route, self._challenge or supported[0]
        return bool(supported)

    async def require_safe(self, values: Sequence[str], route: Route) -> None:
        """Check that the login may go to every token server of a 401: an Engine may use any.

        If a parameter is named twice, we take the first one and an Engine the last one.

        Raises:
            RefusedNetworkError: one is at an address that is not allowed.
            RegistryError: ``auth_unsafe_realm`` or ``auth_server_unreachable``.
        """
        for challenge in require_unambiguous(values, self._registry):
            await TokenSource.open(
                self._transport, challenge, None, registry=self._registry, route=route
            )

    @property
    def has_scopes(self) -> bool:
        """True if the registry issues tokens for scopes; Basic is the same for every scope."""
        return self._challenge is not None and self._challenge.scheme == "bearer"

    async def find_authorization(
        self, scope: Scope, *, is_fresh: bool = False
    ) -> tuple[str | None, RegistryError | None]:
        """Return the value of ``Authorization`` for ``scope``; ``None`` before any challenge.

        The second value is the error of a token that grants less: the registry may then still tell
        another cause, for example that the project does not exist.

        Raises:
            RegistryError: a login is required and missing, or the token server refuses.
        """
        if self._challenge is None:
            return None, None
        if self._challenge.scheme == "basic":
            return self._make_basic(), None
        source = await self._tokens()
        token = await source.find(scope, is_fresh=is_fresh)
        return _bearer(token), source.find_denial(scope, token)

    async def authenticate(self, scopes: Sequence[Scope]) -> tuple[Authentication, str]:
        """Answer the challenge; request a token for each scope in turn until one is granted.

        Raises:
            RegistryError: as `find_authorization`.
        """
        if self._challenge is None or self._challenge.scheme == "basic":
            return Authentication(), self._make_basic()
        source = await self._tokens()
        for scope in scopes:
            try:
                return _make_authentication(source, token := await source.request(scope)), _bearer(
                    token
                )
            except RegistryError as error:
                if error.code not in REFUSED_SCOPE:
                    raise
        token = await source.request(None)
        return _make_authentication(source, token), _bearer(token)

    def _make_basic(self) -> str:
        if self._login is None:
            raise RegistryError(
                FaultCode.AUTH_MISSING, f"{self._registry} requires a login, and none was given"
            )
        return make_basic(self._login)

    async def _tokens(self) -> TokenSource:
        if self._source is None:
            if self._challenge is None or self._route is None:
                raise RuntimeError("no challenge was accepted")
            self._source = await TokenSource.open(
                self._transport,
                self._challenge,
                self._login,
                registry=self._registry,
                route=self._route,
            )
        return self._source


def _make_authentication(source: TokenSource, token: Token) -> Authentication:
    realm = source.realm
    host = realm.url.host or ""
    return Authentication(host, realm.is_foreign, token.scope, token.granted, token.claims)


def _bearer(token: Token) -> str:
    return f"Bearer {token.value}"
