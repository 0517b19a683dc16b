"""The common parts of providers' fakes: their hosts, a clock, tokens that end, and misbehaviour."""

import asyncio
import base64
import binascii
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import MappingProxyType
from typing import Literal

import aiohttp
from aiohttp import web

from tests.fakes.certificates import Authority
from tests.fakes.front import relay
from tests.fakes.web import open_fake

HTTPS = 443
LARGE = 4 * 1024 * 1024
READ_METHODS = frozenset({"GET", "HEAD"})
API = {"Docker-Distribution-Api-Version": "registry/2.0"}

Misbehaviour = Literal["", "page", "large", "slow", "busy"]
Serve = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Clock:
    """The clock of a provider, which may differ from ours."""

    offset: timedelta = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.offset

    @property
    def seconds(self) -> int:
        return int(self.now().timestamp())


@dataclass(frozen=True)
class Issued:
    """A token's owner, the rights that it is for, and its end by the provider's clock."""

    owner: str
    ends_at: datetime
    rights: Mapping[str, frozenset[str]]


@dataclass
class Tokens:
    """Opaque tokens that really end; ``life`` may be changed, also to a negative one."""

    clock: Clock
    life: timedelta
    issued: dict[str, Issued] = field(default_factory=dict)

    def issue(
        self,
        owner: str,
        rights: Mapping[str, frozenset[str]] = MappingProxyType({}),
        name: str = "",
    ) -> str:
        token = name or f"opaque-{secrets.token_urlsafe(24)}"
        self.issued[token] = Issued(owner, self.clock.now() + self.life, rights)
        return token

    def find(self, token: str) -> Issued | None:
        """Return the token if it was issued here and has not ended."""
        found = self.issued.get(token)
        return found if found and found.ends_at > self.clock.now() else None


@dataclass
class Cloud:
    """A provider: each of its hosts with what it serves, at one address.

    ``registry`` is the real one behind, ``address:port``. ``misbehaviour`` is that of the hosts in
    ``token_hosts``, which issue tokens, and ``failure`` what they answer in place of their own
    answers. Each blob is sent ``blob_seconds`` late. ``requests`` are all that came.
    """

    registry: str = ""
    clock: Clock = field(default_factory=Clock)
    misbehaviour: Misbehaviour = ""
    failure: Callable[[], web.Response] | None = None
    token_hosts: frozenset[str] = frozenset()
    blob_seconds: float = 0.0
    session: aiohttp.ClientSession | None = None
    address: str = ""
    requests: list[web.Request] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)

    def hosts(self) -> Mapping[str, Serve]:
        """Return what each host serves."""
        raise NotImplementedError

    def is_token_request(self, request: web.Request) -> bool:
        """Return whether a misbehaving provider misbehaves for this request."""
        return request.host in self.token_hosts

    @property
    def lines(self) -> list[str]:
        """``POST oauth2.googleapis.com/token``, without queries."""
        return [f"{one.method} {one.host}{one.path}" for one in self.requests]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        serve = self.hosts()[request.host]
        if self.misbehaviour and self.is_token_request(request):
            response = await misbehave(self.misbehaviour)
        elif self.failure and self.is_token_request(request):
            response = self.failure()
        else:
            response = await serve(request)
            if self.blob_seconds and request.method == "GET" and "/blobs/" in request.path:
                await asyncio.sleep(self.blob_seconds)
        response.headers["Date"] = format_datetime(self.clock.now(), usegmt=True)
        return response

    async def forward(self, request: web.Request) -> web.StreamResponse:
        """Pass a request on to the real registry, which sees the host that was asked for."""
        assert self.session is not None
        return await relay(
            self.session, self.registry, request, added={"X-Forwarded-Proto": "https"}
        )

    def basic(self, request: web.Request) -> tuple[str, str] | None:
        """Return the username and password of a request, which are remembered."""
        header = request.headers.get("Authorization", "")
        try:
            decoded = base64.b64decode(header.removeprefix("Basic "), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return None
        username, separator, password = decoded.partition(":")
        if not separator:
            return None
        self.logins.append((username, password))
        return username, password

    async def login(self, request: web.Request) -> tuple[str, str] | None:
        """Return the username and password of a form (OAuth 2.0), or those of `basic`."""
        form = await request.post()
        if form.get("grant_type") != "password":
            return self.basic(request)
        login = str(form.get("username")), str(form.get("password"))
        self.logins.append(login)
        return login


async def misbehave(how: Misbehaviour) -> web.StreamResponse:
    match how:
        case "page":
            return web.Response(
                text="<html>Sign in to the network</html>", content_type="text/html"
            )
        case "large":
            return web.json_response({"access_token": "a" * LARGE, "expires_in": 3600})
        case "busy":
            return web.json_response({"error": "temporarily_unavailable"}, status=503)
        case _:
            await asyncio.Event().wait()
            raise AssertionError


def bearer(request: web.Request) -> str:
    """Return the token of a request; empty if it has none."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" else ""


def challenge(realm: str, service: str, scope: str = "", error: str = "") -> web.Response:
    """Ask for a token."""
    parts = {"realm": realm, "service": service, "scope": scope, "error": error}
    value = ",".join(f'{name}="{text}"' for name, text in parts.items() if text)
    return refusal(401, "UNAUTHORIZED", "authentication required", bearer=value)


def refusal(
    status: int,
    code: str,
    message: str,
    *,
    bearer: str = "",
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """An error in the form of the OCI specification."""
    added = {"WWW-Authenticate": f"Bearer {bearer}"} if bearer else {}
    return web.json_response(
        {"errors": [{"code": code, "message": message}]},
        status=status,
        headers={**API, **added, **(headers or {})},
    )


def requested(request: web.Request) -> tuple[str, str]:
    """Return the repository and the action that a request of ``/v2/`` needs."""
    path = request.path.removeprefix("/v2/")
    for part in ("/manifests/", "/blobs/", "/tags/", "/referrers/"):
        repository, found, _ = path.rpartition(part)
        if found:
            if request.method in READ_METHODS:
                return repository, "pull"
            return repository, "delete" if request.method == "DELETE" else "push"
    return "", ""


async def parse_scopes(request: web.Request) -> dict[str, frozenset[str]]:
    """Return the requested actions by repository, from the query and the form of a request."""
    texts = [*request.query.getall("scope", []), *(await request.post()).getall("scope", [])]
    found: dict[str, frozenset[str]] = {}
    for scope in " ".join(map(str, texts)).split():
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        if kind == "repository":
            found[name] = frozenset(actions.split(","))
    return found


@asynccontextmanager
async def open_clouds(
    *clouds: Cloud, authority: Authority, listen: str, port: int = HTTPS
) -> AsyncIterator[None]:
    """Serve all hosts of the providers at one address, with one certificate."""
    by_host = {host: cloud for cloud in clouds for host in cloud.hosts()}

    async def answer(request: web.Request) -> web.StreamResponse:
        cloud = by_host.get(request.host)
        if cloud is None:
            return web.Response(status=421, text=f"{request.host} is not served here")
        return await cloud.answer(request)

    tls = authority.context(*by_host)
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        open_fake(answer, tls=tls, listen=listen, port=port),
    ):
        for cloud in clouds:
            cloud.session, cloud.address = session, listen
        yield


def names(*clouds: Cloud) -> dict[str, tuple[str, ...]]:
    """Return the address of each host, for `tests.fakes.names.Names`."""
    return {host: (cloud.address,) for cloud in clouds for host in cloud.hosts()}
