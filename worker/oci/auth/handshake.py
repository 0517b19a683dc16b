"""Which proof of the login a registry wants, and the header that carries it."""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.errors import RegistryError
from shared.faults import FaultCode
from worker.login import Login
from worker.oci.auth.challenge import Challenge, parse_challenges
from worker.oci.auth.realm import require_unambiguous
from worker.oci.auth.scope import Scope
from worker.oci.auth.token import Token, TokenSource, make_basic
from worker.oci.transport.http import Transport
from worker.oci.transport.route import Route

REFUSED_SCOPE = frozenset({FaultCode.PULL_DENIED, FaultCode.PUSH_DENIED})


@dataclass(frozen=True)
class Proof:
    """How a login was taken.

    ``realm_host`` is named where a token server made a token, ``is_foreign`` where that host is
    neither the registry's nor known to belong to it. ``actions`` are ``None`` where the token does
    not say them.
    """

    realm_host: str = ""
    is_foreign: bool = False
    scope: Scope | None = None
    actions: frozenset[str] | None = None


class Handshake:
    """What was learned of one registry's challenges; sends the login where `TokenSource` may."""

    def __init__(self, transport: Transport, login: Login | None, registry: str) -> None:
        self._transport = transport
        self._login = login
        self._registry = registry
        self._route: Route | None = None
        self._challenge: Challenge | None = None
        self._source: TokenSource | None = None

    def learn(self, values: Sequence[str], route: Route) -> bool:
        """Take the best challenge of a 401; says whether there is one that we can answer."""
        challenges = parse_challenges(values)
        tokens = [one for one in challenges if one.scheme == "bearer" and "realm" in one.parameters]
        basics = [one for one in challenges if one.scheme == "basic"]
        for challenge in (*tokens, *basics):
            self._route, self._challenge = route, self._challenge or challenge
            return True
        return False

    async def require_safe(self, values: Sequence[str], route: Route) -> None:
        """See that the login may go to every token server of a 401: an Engine may take any of them.

        Of a parameter that is named twice we take the first one, and an Engine the last one.

        Raises:
            RefusedNetworkError: one is at an address that a registry may not have here.
            RegistryError: ``auth_unsafe_realm`` or ``auth_server_unreachable``.
        """
        for challenge in require_unambiguous(values, self._registry):
            await TokenSource.open(
                self._transport, challenge, None, registry=self._registry, route=route
            )

    @property
    def has_scopes(self) -> bool:
        """Whether a proof is for a scope; Basic is the same for all."""
        return self._challenge is not None and self._challenge.scheme == "bearer"

    async def find(self, scope: Scope, *, is_fresh: bool = False) -> str | None:
        """The value of ``Authorization``; ``None`` before any challenge.

        Raises:
            RegistryError: no login for a registry that wants one, or the token server's refusal.
        """
        if self._challenge is None:
            return None
        if self._challenge.scheme == "basic":
            return self._make_basic()
        return _bearer(await (await self._tokens()).find(scope, is_fresh=is_fresh))

    async def prove(self, scopes: Sequence[Scope]) -> tuple[Proof, str]:
        """Answer the challenge; a token server is asked for each scope until one is not refused.

        Raises:
            RegistryError: as `find`.
        """
        if self._challenge is None or self._challenge.scheme == "basic":
            return Proof(), self._make_basic()
        source = await self._tokens()
        for scope in scopes:
            try:
                return _proof(source, token := await source.request(scope)), _bearer(token)
            except RegistryError as error:
                if error.code not in REFUSED_SCOPE:
                    raise
        token = await source.request(None)
        return _proof(source, token), _bearer(token)

    def _make_basic(self) -> str:
        if self._login is None:
            raise RegistryError(
                FaultCode.AUTH_MISSING, f"{self._registry} wants a login, and none is given"
            )
        return make_basic(self._login)

    async def _tokens(self) -> TokenSource:
        if self._source is None:
            if self._challenge is None or self._route is None:
                raise RuntimeError("no challenge was learned")
            self._source = await TokenSource.open(
                self._transport,
                self._challenge,
                self._login,
                registry=self._registry,
                route=self._route,
            )
        return self._source


def _proof(source: TokenSource, token: Token) -> Proof:
    realm = source.realm
    return Proof(realm.url.host or "", realm.is_foreign, token.asked, token.granted)


def _bearer(token: Token) -> str:
    return f"Bearer {token.value}"
