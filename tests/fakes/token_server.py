"""A token server for registries: alice may pull and push, bob may pull, carol has no rights."""

import base64
import datetime as dt
import ssl
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import aiohttp
import jwt
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from tests.fakes.front import relay
from tests.fakes.web import Fake, open_fake

ISSUER, SERVICE = "token-server", "registry"
ALL = frozenset({"pull", "push", "delete"})
RIGHTS: Mapping[str, frozenset[str]] = {
    "alice": ALL,
    "bob": frozenset({"pull"}),
    "carol": frozenset(),
}


class SigningKey:
    """An RSA key with the self-signed certificate by which registries verify its tokens."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ISSUER)])
        now = dt.datetime.now(dt.UTC)
        self._certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=30))
            .sign(self._key, hashes.SHA256())
        )

    def write(self, path: Path) -> Path:
        """Write the certificate in PEM, for a registry's ``rootcertbundle``."""
        path.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))
        return path

    def sign(self, claims: Mapping[str, object]) -> str:
        encoded = self._certificate.public_bytes(serialization.Encoding.DER)
        headers = {"x5c": [base64.b64encode(encoded).decode()]}
        return jwt.encode(dict(claims), self._key, algorithm="RS256", headers=headers)


@dataclass(frozen=True)
class _Scope:
    kind: str
    name: str
    actions: frozenset[str]

    @classmethod
    def parse(cls, text: str) -> Self:
        kind, _, rest = text.partition(":")
        name, _, requested = rest.rpartition(":")
        return cls(kind, name, frozenset(requested.split(",") if requested else ()))

    def grant(self, rights: frozenset[str]) -> dict[str, object]:
        return {"type": self.kind, "name": self.name, "actions": sorted(self.actions & rights)}


@dataclass
class TokenServer:
    """A token server whose behaviour a test may change.

    ``is_opaque``: its tokens do not name their rights. ``refused``: actions that it answers with
    403; ``forbidden``: repositories that it answers so. ``life_seconds`` is the lifetime of a
    token. ``failure`` is a status to answer in place of a token. A registry without TLS has its
    token server at its own origin, so this one forwards other requests to ``registry``,
    ``address:port``.
    """

    key: SigningKey
    passwords: Mapping[str, str]
    rights: Mapping[str, frozenset[str]] = field(default_factory=lambda: RIGHTS)
    is_opaque: bool = False
    refused: frozenset[str] = frozenset()
    forbidden: frozenset[str] = frozenset()
    life_seconds: int = 300
    failure: int | None = None
    fake: Fake = field(default_factory=Fake)
    scheme: str = "http"
    registry: str = ""
    session: aiohttp.ClientSession | None = None

    @property
    def realm(self) -> str:
        return f"{self.scheme}://{self.fake.host}/token"

    @property
    def scopes(self) -> list[str]:
        """Every requested scope, in order; an empty one for a request without."""
        return [request.query.get("scope", "") for request in self.fake.requests]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if self.session and self.registry and request.path != "/token":
            self.fake.requests.remove(request)
            return await relay(self.session, self.registry, request)
        if request.method == "POST":
            return web.Response(status=405)  # clients of OAuth 2.0 ask by GET then
        if self.failure is not None:
            return web.Response(status=self.failure)
        user = self._user(request)
        if user is None:
            return web.json_response({"errors": [{"code": "UNAUTHORIZED"}]}, status=401)
        scopes = [_Scope.parse(text) for text in request.query.getall("scope", [])]
        if any(one.actions & self.refused or one.name in self.forbidden for one in scopes):
            return web.json_response({"errors": [{"code": "DENIED"}]}, status=403)
        rights = self.rights.get(user, frozenset())
        access = [one.grant(rights) for one in scopes if one.actions & rights]
        return web.json_response(
            {"token": self._make_token(user, access), "expires_in": self.life_seconds}
        )

    def _user(self, request: web.Request) -> str | None:
        header = request.headers.get("Authorization")
        if header is None:
            return ""
        pair = base64.b64decode(header.removeprefix("Basic "), validate=True).decode()
        username, _, password = pair.partition(":")
        return username if self.passwords.get(username) == password else None

    def _make_token(self, user: str, access: Sequence[Mapping[str, object]]) -> str:
        if self.is_opaque:
            return f"opaque-{uuid.uuid4()}"
        now = int(time.time())
        return self.key.sign(
            {
                "iss": ISSUER,
                "sub": user,
                "aud": SERVICE,
                "exp": now + self.life_seconds,
                "nbf": now - 5,
                "iat": now,
                "jti": str(uuid.uuid4()),
                "access": access,
            }
        )


@asynccontextmanager
async def open_token_server(
    key: SigningKey,
    passwords: Mapping[str, str],
    *,
    tls: ssl.SSLContext | None = None,
    listen: str = "127.0.0.1",
) -> AsyncIterator[TokenServer]:
    server = TokenServer(key, passwords, scheme="https" if tls else "http")
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        open_fake(server.answer, tls=tls, listen=listen) as fake,
    ):
        server.fake, server.session = fake, session
        yield server
