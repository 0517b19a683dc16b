"""Google: its token endpoint (JWT grant), STS, impersonation, and ``gcr.io`` with access tokens."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.fakes.providers.cloud import (
    API,
    Cloud,
    Serve,
    Tokens,
    bearer,
    challenge,
    refusal,
    requested,
)

TOKEN_URL = "https://oauth2.googleapis.com/token"
STS_URL = "https://sts.googleapis.com/v1/token"
EMAIL = "wharf@my-project.iam.gserviceaccount.com"
IMPERSONATION_URL = f"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{EMAIL}:generateAccessToken"
AUDIENCE = (
    "//iam.googleapis.com/projects/123/locations/global/workloadIdentityPools/pool/providers/here"
)
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
STORAGE = "https://www.googleapis.com/auth/devstorage.read_write"
IAM = "https://www.googleapis.com/auth/iam"
TOLERANCE = timedelta(minutes=2)
REPOSITORY_MISSING = (
    "gcr.io repo does not exist. Creating on push requires the "
    "artifactregistry.repositories.createOnPush permission"
)


class ServiceAccount:
    """A service account with one key, as Google's console gives it to its owner."""

    def __init__(self, email: str = EMAIL) -> None:
        self.email = email
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    @cached_property
    def file(self) -> dict[str, str]:
        pem = self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return {
            "type": "service_account",
            "project_id": "my-project",
            "private_key_id": "0123456789abcdef0123456789abcdef01234567",
            "private_key": pem.decode(),
            "client_email": self.email,
            "client_id": "123456789012345678901",
            "auth_uri": "https://accounts.google.com/o/oauth2/auth",
            "token_uri": TOKEN_URL,
            "universe_domain": "googleapis.com",
        }

    @property
    def text(self) -> str:
        """The content of its key file."""
        return json.dumps(self.file, indent=2)


@dataclass
class Google(Cloud):
    """Google with one service account; ``registries`` are its hosts.

    ``repositories`` exist: of ``gcr.io`` the project's name, of ``pkg.dev`` also the repository's.
    ``subject`` is the token of a machine that the identity pool trusts. ``blocked`` is an account
    that a policy of its organization keeps from tokens.
    """

    account: ServiceAccount = field(default_factory=ServiceAccount)
    registries: tuple[str, ...] = ("gcr.io",)
    repositories: set[str] = field(default_factory=lambda: {"my-project"})
    subject: str = "header.claims.signature"
    blocked: str = ""
    token_hosts: frozenset[str] = frozenset(
        {"oauth2.googleapis.com", "sts.googleapis.com", "iamcredentials.googleapis.com"}
    )

    def __post_init__(self) -> None:
        self.access = Tokens(self.clock, timedelta(hours=1))
        self.federated = Tokens(self.clock, timedelta(hours=1))
        self.pulls = Tokens(self.clock, timedelta(minutes=5))

    def hosts(self) -> Mapping[str, Serve]:
        return {
            "oauth2.googleapis.com": self._grant,
            "sts.googleapis.com": self._exchange,
            "iamcredentials.googleapis.com": self._impersonate,
            **dict.fromkeys(self.registries, self._serve),
        }

    def expire(self) -> None:
        """Let every token end now."""
        for tokens in (self.access, self.pulls):
            tokens.issued.clear()

    async def _grant(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        if (request.method, request.path) != ("POST", "/token"):
            return web.Response(status=404)
        if form.get("grant_type") != JWT_BEARER:
            return _oauth_error("unsupported_grant_type", "Invalid grant_type")
        assertion = str(form.get("assertion", ""))
        if self.blocked and _issuer(assertion) == self.blocked:
            return web.json_response({"error": "access_denied"}, status=403)
        if problem := self._find_problem(assertion):
            return _oauth_error("invalid_grant", problem)
        return self._give(self.account.email)

    def _find_problem(self, assertion: str) -> str:
        try:
            claims: dict[str, Any] = jwt.decode(
                assertion,
                self.account.key.public_key(),
                algorithms=["RS256"],
                audience=TOKEN_URL,
                options={"verify_exp": False, "verify_iat": False, "verify_nbf": False},
            )
        except jwt.InvalidTokenError:
            return "Invalid JWT Signature."
        now, tolerance = self.clock.seconds, TOLERANCE.total_seconds()
        is_short = 0 < claims["exp"] - claims["iat"] <= 3600
        if not is_short or abs(claims["iat"] - now) > tolerance or claims["exp"] <= now:
            return "Invalid JWT: Token must be a short-lived token (60 minutes)"
        if claims["iss"] != self.account.email:
            return "Invalid grant: account not found"
        return "" if claims["scope"] == STORAGE else "Invalid scope"

    def _give(self, owner: str) -> web.StreamResponse:
        return web.json_response(
            {
                "access_token": self.access.issue(owner),
                "expires_in": int(self.access.life.total_seconds()),
                "token_type": "Bearer",
            }
        )

    async def _exchange(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        if form.get("grant_type") != TOKEN_EXCHANGE or form.get("audience") != AUDIENCE:
            return _oauth_error("invalid_request", "Invalid audience")
        if form.get("subject_token") != self.subject:
            return _oauth_error("invalid_grant", "The subject token is not trusted")
        if form.get("scope") == STORAGE:
            return self._give("principal://pool")
        return web.json_response(
            {"access_token": self.federated.issue("principal://pool"), "expires_in": 3600}
        )

    async def _impersonate(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if self.federated.find(bearer(request)) is None or EMAIL not in request.path:
            error = {"code": 403, "message": "Permission denied", "status": "PERMISSION_DENIED"}
            return web.json_response({"error": error}, status=403)
        assert body["scope"] == [STORAGE]
        ends = self.clock.now() + self.access.life
        return web.json_response(
            {"accessToken": self.access.issue(EMAIL), "expireTime": f"{ends:%Y-%m-%dT%H:%M:%SZ}"}
        )

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        host = request.host
        if request.path == "/v2/token":
            return self._token(request)
        realm = f"https://{host}/v2/token"
        if self.pulls.find(bearer(request)) is None:
            return challenge(realm, host)
        if request.path == "/v2/":
            return web.json_response({}, headers=API)
        repository, action = requested(request)
        if not self._exists(host, repository):
            if action == "push" and host.endswith("gcr.io"):
                return refusal(403, "DENIED", REPOSITORY_MISSING)
            return refusal(404, "NAME_UNKNOWN", f'Repository "{repository}" not found')
        return await self.forward(request)

    def _token(self, request: web.Request) -> web.StreamResponse:
        login = self.basic(request)
        if login is None or not self._accepts(*login):
            return refusal(401, "UNAUTHORIZED", "Not Authorized.")
        seconds = int(self.pulls.life.total_seconds())
        return web.json_response({"token": self.pulls.issue(login[0]), "expires_in": seconds})

    def _accepts(self, username: str, password: str) -> bool:
        if username == "oauth2accesstoken":
            return self.access.find(password) is not None
        return username == "_json_key" and password.strip() == self.account.text

    def _exists(self, host: str, repository: str) -> bool:
        depth = 1 if host.endswith("gcr.io") else 2
        return "/".join(repository.split("/")[:depth]) in self.repositories


def _issuer(assertion: str) -> object:
    return jwt.decode(assertion, options={"verify_signature": False}).get("iss")


def _oauth_error(code: str, description: str) -> web.Response:
    return web.json_response({"error": code, "error_description": description}, status=400)
