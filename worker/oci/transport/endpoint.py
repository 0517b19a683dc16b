"""Hosts with their checked addresses, and the first TCP connection to one of them."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from ipaddress import ip_address, ip_network

from shared.coroutines import end
from shared.errors import RegistryError
from shared.networks import Network
from worker.oci.transport.address import are_loopback, resolve
from worker.oci.transport.errors import (
    NO_ROUTE_ERRNOS,
    make_connection_error,
    make_plain_http_error,
    make_timeout,
)
from worker.oci.transport.settings import ConnectionSettings


@dataclass(frozen=True)
class Endpoint:
    """A host with its resolved addresses.

    ``name`` is Docker's name for it (certificates, insecure list). ``is_insecure`` if the Engine
    lists it; plain HTTP ``is_permitted`` if an administrator also allows it for the registry.
    """

    name: str
    hostname: str
    port: int | None
    addresses: tuple[str, ...]
    is_insecure: bool
    is_permitted: bool = False

    @property
    def allows_plain_http(self) -> bool:
        return (self.is_insecure and self.is_permitted) or are_loopback(self.addresses)

    @property
    def lacks_permission(self) -> bool:
        """True if only the administrator's permission for plain HTTP is missing."""
        return self.is_insecure and not self.allows_plain_http

    @property
    def authority(self) -> str:
        return f"{self.hostname}:{self.port or 443}"


async def find_endpoint(
    name: str, hostname: str, port: int | None, settings: ConnectionSettings
) -> Endpoint:
    """Resolve a host and check its addresses.

    Raises:
        RefusedNetworkError: an address that is not allowed for registries.
        RegistryError: ``dns_not_found`` or ``dns_failure``.
    """
    deadline = settings.deadlines.dns
    addresses = await resolve(hostname, settings.networks, settings.resolver, deadline)
    listed = name in settings.insecure or _is_in_networks(addresses, settings.insecure)
    return Endpoint(name, hostname, port, addresses, listed, settings.tls.plain_http)


async def connect(endpoint: Endpoint, settings: ConnectionSettings) -> Endpoint:
    """Return the endpoint with the address and port that first accepted a TCP connection.

    Without a given port this is 443, and then 80 for a host that may use plain HTTP.

    Raises:
        RegistryError: ``conn_refused``, ``conn_timeout`` or ``conn_reset``; ``plain_http_refused``
            if only port 80 accepts one.
    """
    try:
        return await _connect(endpoint, endpoint.port or 443, settings.deadlines.tcp)
    except RegistryError:
        if endpoint.port is not None or not (endpoint.allows_plain_http or endpoint.is_insecure):
            raise
        found = await _connect(endpoint, 80, settings.deadlines.tcp)
        if endpoint.lacks_permission:
            raise make_plain_http_error(found.authority) from None
        return found


async def _connect(endpoint: Endpoint, port: int, deadline: timedelta) -> Endpoint:
    authority = f"{endpoint.hostname}:{port}"
    tasks = [asyncio.create_task(_try_port(one, port)) for one in endpoint.addresses]
    try:
        async with asyncio.timeout(deadline.total_seconds()):
            return replace(endpoint, port=port, addresses=(await _first(tasks),))
    except TimeoutError as error:
        raise make_timeout(authority, "TCP connection", deadline) from error
    except OSError as error:
        raise make_connection_error(error, authority) from error
    finally:
        await end(*tasks)


async def _first(tasks: list[asyncio.Task[str]]) -> str:
    """Return the first address that accepted a connection, or raise the most telling error."""
    failures: list[OSError] = []
    for done in asyncio.as_completed(tasks):
        try:
            return await done
        except OSError as error:
            failures.append(error)
    # An answer, even a refusal, tells more than an address of a family without a route.
    raise next((one for one in failures if one.errno not in NO_ROUTE_ERRNOS), failures[-1])


async def _try_port(address: str, port: int) -> str:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(asyncio.Protocol, address, port)
    transport.abort()
    return address


def _is_in_networks(addresses: tuple[str, ...], listed: frozenset[str]) -> bool:
    networks = list(_networks(listed))
    # Docker accepts one address in a network; but any of them may be the one that is used.
    return all(any(ip_address(one) in network for network in networks) for one in addresses)


def _networks(listed: frozenset[str]) -> Iterator[Network]:
    for text in listed:
        try:
            yield ip_network(text)
        except ValueError:
            continue  # a host name
