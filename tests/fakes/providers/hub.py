"""Docker Hub: its token server on another host, the limit of pulls, and the limit of requests."""

import time
from collections import Counter
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
from tests.fakes.token_server import SigningKey

AUTH, REGISTRY, INDEX = "auth.docker.io", "registry-1.docker.io", "index.docker.io"
REALM, SERVICE = "https://auth.docker.io/token", "registry.docker.io"
USED_UP = (
    "You have reached your pull rate limit. You may increase the limit by authenticating and "
    "upgrading: https://www.docker.com/increase-rate-limit"
)


@dataclass(frozen=True)
class Account:
    """A user: the namespaces that it may push to, and the rights of its access token."""

    password: str
    namespaces: frozenset[str]
    rights: frozenset[str] = frozenset({"pull", "push"})


@dataclass
class Limit:
    """The number of pulls in a window; ``None`` for an account without a limit.

    A window begins with its first pull. ``counted`` are all pulls, ``refused`` the requests for
    manifests that were refused, by method.
    """

    pulls: int | None = None
    window: timedelta = timedelta(hours=1)
    used: int = 0
    source: str = "dockerhubuser"
    began: float | None = None
    counted: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def take(self, method: str, now: float) -> bool:
        """Return whether a request for a manifest is answered; a GET counts as a pull."""
        if self.began is not None and now - self.began >= self.window.total_seconds():
            self.used, self.began = 0, None
        if self.pulls is not None and self.used >= self.pulls:
            self.refused[method] += 1
            return False
        if method == "GET":
            self.used += 1
            self.counted += 1
            self.began = now if self.began is None else self.began
        return True

    @property
    def headers(self) -> dict[str, str]:
        if self.pulls is None:
            return {}
        seconds = int(self.window.total_seconds())
        return {
            "ratelimit-limit": f"{self.pulls};w={seconds}",
            "ratelimit-remaining": f"{max(self.pulls - self.used, 0)};w={seconds}",
            "docker-ratelimit-source": self.source,
        }


@dataclass
class Hub(Cloud):
    """Docker Hub; ``abuse`` is the number of requests that are refused for their frequency."""

    accounts: dict[str, Account] = field(
        default_factory=lambda: {
            "dockerhubuser": Account("dockerhub-token", frozenset({"mycompany", "dockerhubuser"}))
        }
    )
    limit: Limit = field(default_factory=Limit)
    abuse: int = 0
    key: SigningKey = field(default_factory=SigningKey)

    def __post_init__(self) -> None:
        self.access = Tokens(self.clock, timedelta(minutes=5))
        self.token_hosts = frozenset({AUTH})

    def hosts(self) -> Mapping[str, Serve]:
        return {AUTH: self._token, REGISTRY: self._serve, INDEX: self._serve}

    def expire(self) -> None:
        """Let every token end now."""
        self.access.issued.clear()

    async def _token(self, request: web.Request) -> web.StreamResponse:
        login = await self.login(request)
        account = self.accounts.get(login[0]) if login else None
        if login and (account is None or account.password != login[1]):
            content = {"details": "incorrect username or password"}
            return web.json_response(content, status=401)
        granted = {
            name: actions & _find_rights(account, name)
            for name, actions in (await parse_scopes(request)).items()
        }
        seconds = int(self.access.life.total_seconds())
        claims = {
            "sub": login[0] if login else "",
            "exp": self.clock.seconds + seconds,
            "access": [
                {"type": "repository", "name": name, "actions": sorted(actions)}
                for name, actions in granted.items()
            ],
            "jti": len(self.access.issued),
        }
        token = self.access.issue(login[0] if login else "", granted, name=self.key.sign(claims))
        return web.json_response({"token": token, "access_token": token, "expires_in": seconds})

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if self.abuse:
            self.abuse -= 1
            return web.Response(status=429, text="Too Many Requests")
        found = self.access.find(bearer(request))
        if found is None:
            return challenge(REALM, SERVICE)
        if request.path == "/v2/":
            return web.json_response({}, headers=API)
        repository, action = requested(request)
        if action == "delete" and "/uploads/" in request.path:
            action = "push"
        if action not in found.rights.get(repository, frozenset()):
            scope = f"repository:{repository}:{action}"
            return challenge(REALM, SERVICE, scope, "insufficient_scope")
        if "/manifests/" in request.path and action == "pull":
            return await self._pull(request)
        return await self.forward(request)

    async def _pull(self, request: web.Request) -> web.StreamResponse:
        """Count a GET of a manifest as a pull; a HEAD is free."""
        if not self.limit.take(request.method, time.monotonic()):
            return refusal(429, "TOOMANYREQUESTS", USED_UP, headers=self.limit.headers)
        response = await self.forward(request)
        response.headers.update(self.limit.headers)
        return response


def _find_rights(account: Account | None, repository: str) -> frozenset[str]:
    namespace = repository.partition("/")[0]
    if account and namespace in account.namespaces:
        return account.rights
    return frozenset({"pull"}) if namespace in {"library", "ratelimitpreview"} else frozenset()
