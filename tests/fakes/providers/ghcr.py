"""GitHub's registry: opaque tokens, the scopes of classic tokens, and organizations with SSO."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from aiohttp import web

from tests.fakes.providers.cloud import (
    API,
    Cloud,
    Serve,
    Tokens,
    bearer,
    challenge,
    parse_scopes,
    refusal,
    requested,
)

HOST = "ghcr.io"
REALM = "https://ghcr.io/token"
WRONG_SCOPES = "permission_denied: The token provided does not match expected scopes."
SSO = (
    "permission_denied: Resource protected by organization SAML enforcement. You must grant your "
    "Personal Access token access to this organization."
)


@dataclass
class AccessToken:
    """A classic token of a user; ``authorised`` are the organizations that it is authorised for."""

    value: str = "ghp_xxxxxxxxxxxxxxxxxxxx"
    scopes: frozenset[str] = frozenset({"read:packages", "write:packages"})
    authorised: frozenset[str] = frozenset()


@dataclass
class Ghcr(Cloud):
    """GitHub with one user; ``members`` are the owners that it may push to."""

    username: str = "github-username"
    token: AccessToken = field(default_factory=AccessToken)
    members: frozenset[str] = frozenset({"myorg", "github-username"})
    sso: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.access = Tokens(self.clock, timedelta(minutes=5))

    def hosts(self) -> Mapping[str, Serve]:
        return {HOST: self._serve}

    def is_token_request(self, request: web.Request) -> bool:
        return request.path == "/token"

    def expire(self) -> None:
        """Let every token end now."""
        self.access.issued.clear()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/token":
            return await self._token(request)
        if self.access.find(bearer(request)) is None:
            return challenge(REALM, HOST, "repository:user/image:pull")
        if request.path == "/v2/":
            return web.json_response({}, headers=API)
        repository, action = requested(request)
        return self._refuse(repository, action) or await self.forward(request)

    async def _token(self, request: web.Request) -> web.StreamResponse:
        """Give a token to every right login, whatever its scopes are: all packages are private.

        Only a GET gets one: containerd tries the POST of OAuth 2.0 first, and where ghcr.io refuses
        a login, it names a GET.
        """
        if request.method == "POST":
            return web.Response(status=405)
        login = self.basic(request)
        if login and login[1] != self.token.value:
            return refusal(403, "DENIED", "denied")
        if login is None and await parse_scopes(request):
            return refusal(403, "DENIED", "requested access to the resource is denied")
        owner = login[0] if login else ""
        name = base64.b64encode(f"v2:{len(self.access.issued)}:{owner}".encode()).decode()
        return web.json_response({"token": self.access.issue(owner, name=name)})

    def _refuse(self, repository: str, action: str) -> web.Response | None:
        owner = repository.partition("/")[0]
        needed = "read:packages" if action == "pull" else "write:packages"
        if owner in self.sso and owner not in self.token.authorised:
            return refusal(403, "DENIED", SSO)
        if needed not in self.token.scopes:
            return refusal(403, "DENIED", WRONG_SCOPES)
        if owner not in self.members:
            missing = "read_package" if action == "pull" else "write_package"
            return refusal(403, "DENIED", f"permission_denied: {missing}")
        return None
