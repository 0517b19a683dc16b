"""HTTP exchanges with hosts whose addresses were checked and are pinned; bodies are capped."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from socket import AddressFamily, gaierror
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from shared.errors import RegistryError
from worker.oci.errors import make_connection_error
from worker.oci.route import Route, find_route_to
from worker.oci.settings import ConnectionSettings

BODY_LIMIT_BYTES = 64 * 1024
REDIRECTS = frozenset({301, 302, 303, 307, 308})
USER_AGENT = "wharfinger"


@dataclass(frozen=True)
class Answer:
    """An HTTP answer with as much of its body as was asked for.

    ``headers`` know no case; ``challenges`` are all values of ``WWW-Authenticate``.
    """

    method: str
    url: URL
    status: int
    headers: Mapping[str, str]
    body: bytes
    challenges: tuple[str, ...] = ()
    is_cut: bool = False

    @property
    def content_type(self) -> str:
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    @property
    def is_html(self) -> bool:
        return self.content_type in {"text/html", "application/xhtml+xml"}

    @property
    def is_redirect(self) -> bool:
        return self.status in REDIRECTS and "Location" in self.headers

    @property
    def location(self) -> URL | None:
        """Where ``Location`` points to, made absolute; ``None`` for none or an unreadable one."""
        try:
            target = self.url.join(URL(self.headers["Location"]))
        except (KeyError, ValueError):
            return None
        return target if target.scheme in {"http", "https"} and target.host else None

    def json(self) -> object:
        """The body as JSON, or ``None`` where it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


class Transport:
    """One session; a route is found once for each origin and then kept."""

    def __init__(self, settings: ConnectionSettings) -> None:
        self._settings = settings
        self._routes: dict[URL, Route] = {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        deadline = self._settings.deadlines.answer.total_seconds()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=_PinnedResolver(self._routes), use_dns_cache=False
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=deadline),
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session:
            await self._session.close()

    def add(self, route: Route) -> None:
        """Use ``route`` for its origin."""
        self._routes[route.origin] = route

    async def find_route(self, url: URL) -> Route:
        """The way to a URL's origin, checked.

        Raises:
            RefusedNetworkError: an address that a registry may not have here.
            RegistryError: no address, no connection, or plain HTTP where it may not be.
        """
        origin = url.origin()
        if origin not in self._routes:
            self.add(await find_route_to(origin, self._settings))
        return self._routes[origin]

    async def request(
        self,
        method: str,
        url: URL,
        *,
        headers: Mapping[str, str],
        limit_bytes: int = BODY_LIMIT_BYTES,
    ) -> Answer:
        """Exchange one request for one answer; redirects are the caller's matter.

        Raises:
            RefusedNetworkError: an address that a registry may not have here.
            RegistryError: no connection, or one that was cut.
        """
        route = await self.find_route(url)
        if self._session is None:
            raise RuntimeError("the transport is used outside of its context")
        try:
            async with self._session.request(
                method, url, headers=headers, allow_redirects=False, ssl=route.context or True
            ) as response:
                body = await _read(response, limit_bytes + 1)
                return Answer(
                    method=method,
                    url=url,
                    status=response.status,
                    headers=response.headers,
                    body=body[:limit_bytes],
                    challenges=tuple(response.headers.getall("WWW-Authenticate", ())),
                    is_cut=len(body) > limit_bytes,
                )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._diagnose(error, route) from error

    def _diagnose(self, error: Exception, route: Route) -> RegistryError:
        return make_connection_error(error, f"{route.hostname}:{route.port}")


class _PinnedResolver(AbstractResolver):
    """Answers aiohttp with the addresses that were checked, and knows no other name."""

    def __init__(self, routes: Mapping[URL, Route]) -> None:
        self._routes = routes

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: AddressFamily = AddressFamily.AF_UNSPEC,  # noqa: ARG002 - aiohttp's interface
    ) -> list[ResolveResult]:
        for route in self._routes.values():
            if (route.hostname, route.port) == (host, port):
                return [_make_result(host, port, address) for address in route.addresses]
        raise gaierror(f"{host} was not checked")

    async def close(self) -> None:
        await asyncio.sleep(0)


def _make_result(host: str, port: int, address: str) -> ResolveResult:
    family = AddressFamily.AF_INET6 if ":" in address else AddressFamily.AF_INET
    return ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)


async def _read(response: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
    body = bytearray()
    while len(body) < limit_bytes and (
        chunk := await response.content.read(limit_bytes - len(body))
    ):
        body += chunk
    if not response.content.at_eof():
        response.close()
    return bytes(body)
