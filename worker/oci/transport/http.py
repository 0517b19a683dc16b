"""HTTP exchanges with hosts whose addresses were checked and pinned; body sizes are limited."""

import asyncio
import io
import json
from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass, field, replace
from socket import AddressFamily, gaierror
from typing import Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from shared.errors import RegistryError, WharfError
from worker.oci.transport.address import Resolver
from worker.oci.transport.errors import make_connection_error
from worker.oci.transport.peer import explain_failure
from worker.oci.transport.route import Route, blame_engine, find_origin, find_route_to
from worker.oci.transport.settings import ConnectionSettings, Deadlines
from worker.oci.transport.stream import Stream

BODY_LIMIT_BYTES = 64 * 1024
READ_BYTES = 128 * 1024
"""At most twice this size of a streamed body is buffered; then TCP slows the sender down."""

HEADER_LIMIT_BYTES = 256 * 1024
"""The size limit of one header line, as in browsers: some policies in headers are long."""

STREAMED = frozenset({200, 206})
REDIRECTS = frozenset({301, 302, 303, 307, 308})
USER_AGENT = "wharfinger"


@dataclass(frozen=True)
class Request:
    """An HTTP request to one URL.

    A streamed ``content`` has its length in a header. ``stream_body`` leaves the body of a success
    to be read by the caller. ``same_origin_only`` returns a redirect to another origin instead of
    following it.
    """

    method: str
    url: URL
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    content: bytes | AsyncIterable[bytes] | None = field(default=None, repr=False)
    limit_bytes: int = BODY_LIMIT_BYTES
    stream_body: bool = False
    same_origin_only: bool = False

    @property
    def is_repeatable(self) -> bool:
        return not isinstance(self.content, AsyncIterable)

    @property
    def payload(self) -> io.BytesIO | AsyncIterable[bytes] | None:
        """Return the content for aiohttp, which warns of ``bytes`` beyond a mebibyte."""
        return io.BytesIO(self.content) if isinstance(self.content, bytes) else self.content

    def with_authorization(self, authorization: str | None) -> Self:
        """Return the request with an ``Authorization`` header, if a value is given."""
        if authorization is None:
            return self
        return replace(self, headers={**self.headers, "Authorization": authorization})


@dataclass(frozen=True)
class Response:
    """An HTTP response with as much of its body as was requested.

    ``headers`` ignore case; ``challenges`` are all values of ``WWW-Authenticate``. ``stream`` is a
    streamed body, which the caller closes. ``has_login`` if the request carried a login or a token.
    """

    method: str
    url: URL
    status: int
    headers: Mapping[str, str]
    body: bytes
    challenges: tuple[str, ...] = ()
    is_truncated: bool = False
    stream: Stream | None = None
    has_login: bool = False

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
        """Return the absolute URL of ``Location``; ``None`` if it is missing or malformed."""
        try:
            target = self.url.join(URL(self.headers["Location"]))
        except (KeyError, ValueError):
            return None
        return target if target.scheme in {"http", "https"} and target.host else None

    def json(self) -> object:
        """Return the body as JSON, or ``None`` if it is not JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


class Transport:
    """One HTTP session; the route to each origin is found once and kept."""

    def __init__(self, settings: ConnectionSettings) -> None:
        self._settings = settings
        self._routes: dict[URL, Route] = {}
        self._answered: set[URL] = set()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=_PinnedResolver(self._routes, self._settings.resolver),
                use_dns_cache=False,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=READ_BYTES,
            max_line_size=HEADER_LIMIT_BYTES,
            max_field_size=HEADER_LIMIT_BYTES,
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        )
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._session:
            await self._session.close()

    def add(self, route: Route) -> None:
        """Use ``route`` for its origin."""
        self._routes[route.origin] = route

    async def find_route(self, url: URL) -> Route:
        """Return the checked route to a URL's origin.

        Raises:
            RefusedNetworkError: an address that is not allowed for registries.
            RegistryError: no address, no connection, or plain HTTP where TLS is required.
        """
        origin = find_origin(url)
        if origin not in self._routes:
            self.add(await find_route_to(origin, self._settings))
        return self._routes[origin]

    async def request(self, request: Request) -> Response:
        """Send one request and return its response; the caller follows redirects.

        Raises:
            RefusedNetworkError: an address that is not allowed for registries.
            RegistryError: no connection, or one that was cut; or an error of the content.
        """
        route = await self.find_route(request.url)
        if self._session is None:
            raise RuntimeError("the transport is used outside of its context")
        authority = f"{route.hostname}:{route.port}"
        try:
            response = await self._session.request(
                request.method,
                request.url,
                headers=request.headers,
                data=request.payload,
                allow_redirects=False,
                timeout=_make_timeout(request, self._settings.deadlines),
                ssl=route.context or True,
                proxy=route.proxy or None,
            )
            if request.stream_body and response.status in STREAMED:
                self._answered.add(route.origin)
                return _make_response(request, response, stream=Stream(response, authority))
            async with response:
                body = await _read(response, request.limit_bytes + 1)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            if isinstance(
                own := error.__cause__, WharfError
            ):  # raised by the content, not by the connection
                raise own from own.__cause__
            raise await self._explain(error, route) from error
        self._answered.add(route.origin)
        return _make_response(request, response, body)

    async def _explain(self, error: BaseException, route: Route) -> RegistryError:
        """Make the error of a failed exchange; look at the TLS of a host that never answered."""
        fault = make_connection_error(error, f"{route.hostname}:{route.port}")
        if route.context is None or not route.addresses or route.origin in self._answered:
            return fault
        cause = await explain_failure(
            fault,
            route.hostname,
            route.addresses[0],
            route.port,
            self._settings.deadlines.tls,
            has_certificate=bool(self._settings.tls_of(route.hostname).client_certificate),
        )
        return blame_engine(cause, self._settings)


class _PinnedResolver(AbstractResolver):
    """A resolver that gives aiohttp the checked addresses, and those of the Engine's proxy."""

    def __init__(self, routes: Mapping[URL, Route], resolver: Resolver) -> None:
        self._routes = routes
        self._resolver = resolver

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: AddressFamily = AddressFamily.AF_UNSPEC,  # noqa: ARG002 - aiohttp's interface
    ) -> list[ResolveResult]:
        for route in self._routes.values():
            proxy = URL(route.proxy)
            if route.proxy and (proxy.raw_host, proxy.port) == (host, port):
                found = await self._resolver.resolve(host)
                return [_make_result(host, port, address) for address in found]
            if (route.hostname, route.port) == (host, port):
                return [_make_result(host, port, address) for address in route.addresses]
        raise gaierror(f"{host} was not checked")

    async def close(self) -> None:
        await asyncio.sleep(0)


def _make_timeout(request: Request, deadlines: Deadlines) -> aiohttp.ClientTimeout:
    """Make the time limits: a transfer may continue as long as bytes move."""
    if request.content is None and not request.stream_body:
        return aiohttp.ClientTimeout(total=deadlines.response.total_seconds())
    return aiohttp.ClientTimeout(
        sock_connect=deadlines.tcp.total_seconds(), sock_read=deadlines.idle.total_seconds()
    )


def _make_result(host: str, port: int, address: str) -> ResolveResult:
    family = AddressFamily.AF_INET6 if ":" in address else AddressFamily.AF_INET
    return ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)


def _make_response(
    request: Request,
    response: aiohttp.ClientResponse,
    body: bytes = b"",
    stream: Stream | None = None,
) -> Response:
    return Response(
        method=request.method,
        url=request.url,
        status=response.status,
        headers=response.headers,
        body=body[: request.limit_bytes],
        challenges=tuple(response.headers.getall("WWW-Authenticate", ())),
        is_truncated=len(body) > request.limit_bytes,
        stream=stream,
        has_login="Authorization" in request.headers,
    )


async def _read(response: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
    body = bytearray()
    while len(body) < limit_bytes and (
        chunk := await response.content.read(limit_bytes - len(body))
    ):
        body += chunk
    if not response.content.at_eof():
        response.close()
    return bytes(body)
