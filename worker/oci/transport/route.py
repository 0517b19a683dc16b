"""Routes to hosts: checked and pinned addresses, and TLS or, if allowed, plain HTTP.

Plain HTTP is used only for loopback, and for registries for which an administrator allows it and
which the server's Engine lists as insecure; and only if the port itself does not speak TLS.
"""

import asyncio
import ssl
from dataclasses import dataclass, replace
from datetime import timedelta

from yarl import URL

from shared.errors import RegistryError
from shared.faults import FaultCode
from worker.oci.transport.certificate import (
    Certificate,
    make_context,
    make_unverified_context,
    parse_certificate,
)
from worker.oci.transport.endpoint import Endpoint, connect, find_endpoint
from worker.oci.transport.errors import (
    is_not_tls,
    is_reset,
    make_connection_error,
    make_plain_http_error,
    make_timeout,
)
from worker.oci.transport.peer import answers_http, explain_failure
from worker.oci.transport.settings import ConnectionSettings

CONNECTION_FAILURES = frozenset(
    {
        FaultCode.DNS_NOT_FOUND,
        FaultCode.DNS_FAILURE,
        FaultCode.CONN_REFUSED,
        FaultCode.CONN_TIMEOUT,
        FaultCode.CONN_RESET,
        FaultCode.NO_ROUTE,
    }
)
"""Errors that are usual if only a proxy can reach the registry."""

INSECURE_CODES = frozenset(
    {
        FaultCode.TLS_NOT_OFFERED,
        FaultCode.TLS_UNKNOWN_CA,
        FaultCode.TLS_EXPIRED,
        FaultCode.TLS_NAME_MISMATCH,
    }
)
"""Faults that do not matter for a registry on the Engine's insecure list."""


@dataclass(frozen=True)
class Route:
    """A way to reach a host.

    ``context`` is ``None`` for plain HTTP; ``unverified_reason`` says why TLS is not verified. A
    ``proxy`` resolves the name itself: the route then has no addresses.
    """

    hostname: str
    port: int
    addresses: tuple[str, ...]
    context: ssl.SSLContext | None
    certificate: Certificate | None = None
    unverified_reason: str = ""
    proxy: str = ""

    @property
    def origin(self) -> URL:
        scheme = "http" if self.context is None else "https"
        return URL.build(scheme=scheme, host=self.hostname, port=self.port)

    @property
    def is_verified(self) -> bool:
        return self.context is not None and not self.unverified_reason


def find_origin(url: URL) -> URL:
    """Return the origin of a URL, as `Route.origin`: equal with and without the default port."""
    return URL.build(scheme=url.scheme, host=url.raw_host or "", port=url.port)


async def negotiate(endpoint: Endpoint, settings: ConnectionSettings) -> Route:
    """Try TLS with a connected endpoint, and decide between TLS and plain HTTP.

    Raises:
        RegistryError: one of the ``tls_…`` codes; the evidence describes the certificate.
    """
    tls = settings.tls_of(endpoint.hostname)
    context = await make_context(endpoint.name, settings.certificates, tls)
    try:
        return await _handshake(endpoint, context, settings.deadlines.tls)
    except TimeoutError as error:
        deadline = settings.deadlines.tls
        raise make_timeout(endpoint.authority, "TLS handshake", deadline) from error
    except OSError as error:
        if await _is_plain(endpoint, error, settings):
            return make_plain_route(endpoint)
        fault = make_connection_error(error, endpoint.authority)
        if isinstance(error, ssl.SSLCertVerificationError) and endpoint.is_insecure:
            unverified = await _fetch_certificate(endpoint, settings.deadlines.tls)
            if unverified:
                return replace(unverified, unverified_reason=fault.message)
        cause = await explain_failure(
            fault,
            endpoint.hostname,
            endpoint.addresses[0],
            endpoint.port or 443,
            settings.deadlines.tls,
            has_certificate=bool(tls.client_certificate),
        )
        if endpoint.lacks_permission and cause.code == FaultCode.TLS_NOT_OFFERED:
            raise make_plain_http_error(endpoint.authority) from error
        raise blame_engine(cause, settings) from error


async def _is_plain(endpoint: Endpoint, error: OSError, settings: ConnectionSettings) -> bool:
    """Return whether to use plain HTTP after a failed handshake; some cut it instead."""
    if not endpoint.allows_plain_http:
        return False
    if not is_reset(error):
        return is_not_tls(error)
    port, deadline = endpoint.port or 443, settings.deadlines.tls
    return await answers_http(endpoint.authority, endpoint.addresses[0], port, deadline)


def blame_engine(fault: RegistryError, settings: ConnectionSettings) -> RegistryError:
    """Return the error of an Engine whose list is unknown, if the list could allow the registry."""
    if not settings.engine_problem or fault.code not in INSECURE_CODES:
        return fault
    return RegistryError(
        FaultCode.ENGINE_UNREACHABLE,
        f"{fault.message}; the registry may be on Docker's list of insecure registries, but "
        f"{settings.engine_problem}",
        evidence=fault.evidence,
    )


async def find_route(
    name: str, hostname: str, port: int | None, settings: ConnectionSettings
) -> Route:
    """Return the route to a registry; connect only if it may use plain HTTP.

    Raises:
        RefusedNetworkError: an address that is not allowed for registries.
        RegistryError: no address, no connection, no TLS.
    """
    try:
        endpoint = await find_endpoint(name, hostname, port, settings)
        if endpoint.allows_plain_http or endpoint.is_insecure:
            return await negotiate(await connect(endpoint, settings), settings)
        return await _make_strict_route(endpoint, settings)
    except RegistryError as error:
        proxied = await find_proxied_route(error, name, hostname, port, settings)
        if proxied is None:
            raise
        return proxied


async def find_proxied_route(
    error: RegistryError, name: str, hostname: str, port: int | None, settings: ConnectionSettings
) -> Route | None:
    """Return the route through the Engine's proxy, if it uses one and there is no other way.

    The proxy resolves the name, as for the Engine itself. Plain HTTP needs the permission and an
    entry in the Engine's list, and is used if the Engine has only a proxy for that.
    """
    if error.code not in CONNECTION_FAILURES:
        return None
    if url := settings.proxy.find(hostname):
        context = await make_context(name, settings.certificates, settings.tls_of(hostname))
        return Route(hostname, port or 443, (), context, proxy=url)
    is_permitted = settings.tls.plain_http and name in settings.insecure
    if is_permitted and (url := settings.proxy.find(hostname, is_plain=True)):
        return Route(hostname, port or 80, (), None, proxy=url)
    return None


async def find_route_to(url: URL, settings: ConnectionSettings) -> Route:
    """Return the route to a URL that a registry named; its scheme is kept, or refused.

    Raises:
        RefusedNetworkError: an address that is not allowed for registries.
        RegistryError: ``plain_http_refused`` or ``tls_not_offered`` for plain HTTP to elsewhere; no
            address, no connection.
    """
    hostname, port = url.raw_host or "", url.port or 443
    name = hostname if url.is_default_port() else f"{hostname}:{port}"
    route: Route | None
    try:
        route = await _find_direct_route(url, name, settings)
    except RegistryError as error:
        route = await find_proxied_route(error, name, hostname, port, settings)
        if route is None:
            raise
    if route.origin.scheme != url.scheme:
        raise RegistryError(
            FaultCode.TLS_NOT_OFFERED,
            f"{hostname}:{port} has no TLS, and plain HTTP is not allowed",
        )
    return route


async def _find_direct_route(url: URL, name: str, settings: ConnectionSettings) -> Route:
    endpoint = await find_endpoint(name, url.raw_host or "", url.port or 443, settings)
    if url.scheme == "https":
        if not endpoint.is_insecure:
            return await _make_strict_route(endpoint, settings)
        return await negotiate(await connect(endpoint, settings), settings)
    if endpoint.allows_plain_http:
        return make_plain_route(endpoint)
    if endpoint.lacks_permission:
        raise make_plain_http_error(endpoint.authority)
    return await _make_strict_route(endpoint, settings)  # refused for its scheme


async def require_connection(url: URL, settings: ConnectionSettings) -> None:
    """Check that a URL's host accepts connections by the URL's scheme.

    Raises:
        RefusedNetworkError: an address that is not allowed for registries.
        RegistryError: as `find_route_to`, no connection, or no TLS.
    """
    route = await find_route_to(url, settings)
    if route.proxy:
        return
    name = route.hostname if url.is_default_port() else f"{route.hostname}:{route.port}"
    endpoint = Endpoint(name, route.hostname, route.port, route.addresses, is_insecure=False)
    connected = await connect(endpoint, settings)
    if route.context is not None:
        await negotiate(connected, settings)


def make_plain_route(endpoint: Endpoint) -> Route:
    return Route(endpoint.hostname, endpoint.port or 80, endpoint.addresses, None)


async def _make_strict_route(endpoint: Endpoint, settings: ConnectionSettings) -> Route:
    if settings.proxy.find(endpoint.hostname):
        await connect(endpoint, settings)  # if that fails, the Engine's proxy is the way
    tls = settings.tls_of(endpoint.hostname)
    context = await make_context(endpoint.name, settings.certificates, tls)
    return Route(endpoint.hostname, endpoint.port or 443, endpoint.addresses, context)


async def _handshake(endpoint: Endpoint, context: ssl.SSLContext, deadline: timedelta) -> Route:
    address, port = endpoint.addresses[0], endpoint.port or 443
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(deadline.total_seconds()):
        transport, _ = await loop.create_connection(
            asyncio.Protocol, address, port, ssl=context, server_hostname=endpoint.hostname
        )
    try:
        encoded = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        transport.abort()
    certificate = parse_certificate(encoded)
    return Route(endpoint.hostname, port, endpoint.addresses, context, certificate)


async def _fetch_certificate(endpoint: Endpoint, deadline: timedelta) -> Route | None:
    """Read the certificate in a handshake that verifies nothing and sends nothing."""
    try:
        return await _handshake(endpoint, make_unverified_context(), deadline)
    except (OSError, TimeoutError):
        return None
