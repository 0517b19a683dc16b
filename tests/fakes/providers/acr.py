"""Azure: the token endpoint of Entra ID, and a registry's exchange and token endpoints."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

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
from tests.fakes.token_server import SigningKey

TENANT = "72f988bf-86f1-41af-91ab-2d7cd011db47"
CLIENT = "11112222-3333-4444-5555-666677778888"
NOBODY = "00000000-0000-0000-0000-000000000000"
SCOPE = "https://containerregistry.azure.net/.default"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
DENIED = "requested access to the resource is denied. Visit https://aka.ms/acr/authorization"

Role = Literal[
    "AcrPull",
    "AcrPush",
    "Container Registry Repository Reader",
    "Container Registry Repository Writer",
]
RIGHTS: Mapping[Role, frozenset[str]] = {
    "AcrPull": frozenset({"pull"}),
    "AcrPush": frozenset({"pull", "push"}),
    "Container Registry Repository Reader": frozenset({"pull"}),
    "Container Registry Repository Writer": frozenset({"pull", "push"}),
}


@dataclass
class Acr(Cloud):
    """One registry with an admin user and a service principal of one tenant.

    ``without_role`` is a principal that has no role at the registry.
    With ``is_abac`` it honours only the roles whose name begins with "Container Registry".
    """

    host: str = "myregistry.azurecr.io"
    authority: str = "login.microsoftonline.com"
    secret: str = "acr~client.secret-0123456789"
    federated: str = "header.claims.signature"
    without_role: tuple[str, str] = ("99990000-3333-4444-5555-666677778888", "acr~without.a.role")
    admin: tuple[str, str] = ("myregistry", "<acr-password>")
    role: Role = "AcrPush"
    is_abac: bool = False
    key: SigningKey = field(default_factory=SigningKey)

    def __post_init__(self) -> None:
        self.sign_ins = Tokens(self.clock, timedelta(hours=1))
        self.refreshes = Tokens(self.clock, timedelta(hours=3))
        self.access = Tokens(self.clock, timedelta(minutes=75))
        self.token_hosts = frozenset({self.authority})

    def hosts(self) -> Mapping[str, Serve]:
        return {self.authority: self._sign_in, self.host: self._serve}

    def expire(self) -> None:
        """Let every token end now."""
        for tokens in (self.refreshes, self.access):
            tokens.issued.clear()

    @property
    def rights(self) -> frozenset[str]:
        is_honoured = not self.is_abac or self.role.startswith("Container Registry")
        return RIGHTS[self.role] if is_honoured else frozenset()

    async def _sign_in(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        if request.path != f"/{TENANT}/oauth2/v2.0/token":
            return _entra_error("invalid_request", 90002)
        if form.get("grant_type") != "client_credentials" or form.get("scope") != SCOPE:
            return _entra_error("invalid_scope", 70011)
        client_id = str(form.get("client_id"))
        if client_id not in {CLIENT, self.without_role[0]}:
            return _entra_error("unauthorized_client", 700016)
        if "client_assertion" in form:
            is_typed = form.get("client_assertion_type") == ASSERTION
            if not is_typed or form["client_assertion"] != self.federated:
                return _entra_error("invalid_client", 700213, status=401)
        elif (client_id, form.get("client_secret")) not in {
            (CLIENT, self.secret),
            self.without_role,
        }:
            return _entra_error("invalid_client", 7000215, status=401)
        token = self.sign_ins.issue(client_id)
        return web.json_response(
            {"token_type": "Bearer", "expires_in": 3599, "access_token": token}
        )

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        match request.path:
            case "/oauth2/exchange":
                return await self._exchange(request)
            case "/oauth2/token":
                return await self._token(request)
        found = self.access.find(bearer(request))
        realm = f"https://{self.host}/oauth2/token"
        if found is None:
            return challenge(realm, self.host)
        if request.path == "/v2/":
            return web.json_response({}, headers=API)
        repository, action = requested(request)
        if action == "delete" and "/uploads/" in request.path:
            action = "push"
        if repository and action not in found.rights.get(repository, frozenset()):
            return refusal(403, "DENIED", DENIED)
        return await self.forward(request)

    async def _exchange(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        is_complete = form.get("grant_type") == "access_token" and form.get("service") == self.host
        found = self.sign_ins.find(str(form.get("access_token", "")))
        if not is_complete or form.get("tenant") != TENANT or found is None:
            return refusal(401, "UNAUTHORIZED", "authentication required")
        if found.owner == self.without_role[0]:
            return refusal(403, "DENIED", DENIED)
        return web.json_response({"refresh_token": self._make_refresh_token(found.owner)})

    def _make_refresh_token(self, owner: str) -> str:
        now = self.clock.seconds
        claims = {
            "sub": owner,
            "iss": "Azure Container Registry",
            "aud": self.host,
            "iat": now,
            "exp": now + int(self.refreshes.life.total_seconds()),
            "grant_type": "refresh_token",
            "jti": len(self.refreshes.issued),
        }
        return self.refreshes.issue(owner, name=self.key.sign(claims))

    async def _token(self, request: web.Request) -> web.StreamResponse:
        login = self.basic(request)
        if login is None or not self._accepts(*login):
            return refusal(401, "UNAUTHORIZED", "authentication required")
        rights = frozenset({"pull", "push", "delete"}) if login == self.admin else self.rights
        scopes = await parse_scopes(request)
        granted = {name: actions & rights for name, actions in scopes.items()}
        claims = {
            "sub": login[0],
            "exp": self.clock.seconds + int(self.access.life.total_seconds()),
            "access": [
                {"type": "repository", "name": name, "actions": sorted(actions)}
                for name, actions in granted.items()
                if actions
            ],
            "jti": len(self.access.issued),
        }
        token = self.access.issue(login[0], granted, name=self.key.sign(claims))
        return web.json_response({"access_token": token})

    def _accepts(self, username: str, password: str) -> bool:
        if username == NOBODY:
            return self.refreshes.find(password) is not None
        return (username, password) in {self.admin, (CLIENT, self.secret)}


def _entra_error(code: str, number: int, *, status: int = 400) -> web.Response:
    content = {
        "error": code,
        "error_description": f"AADSTS{number}: refused. Trace ID: 0a1b",
        "error_codes": [number],
        "timestamp": "2026-11-30 12:00:00Z",
    }
    return web.json_response(content, status=status)
