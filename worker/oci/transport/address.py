"""The addresses of a registry's host, and the check that a registry may have them.

A name is resolved once and its addresses are kept for the connection: a name that resolves to
another address a moment later (DNS rebinding) changes nothing.
"""

import asyncio
import socket
from datetime import timedelta
from ipaddress import ip_address
from typing import Protocol

from shared.errors import InvalidReferenceError, RegistryError
from shared.faults import FAULTS, FaultCode
from shared.networks import RegistryNetworks, is_address, is_number
from worker.oci.providers.nearest import find_nearest_host
from worker.oci.transport.lookups import LookUps

_FAILURES = {
    socket.EAI_AGAIN: "a temporary failure: no DNS server answered",
    socket.EAI_FAIL: "the DNS server answered with an error",
}
NOT_FOUND = frozenset({socket.EAI_NONAME, socket.EAI_NODATA})


class Resolver(Protocol):
    async def resolve(self, hostname: str) -> tuple[str, ...]:
        """Return the addresses of a name, as text.

        Raises:
            socket.gaierror: as ``getaddrinfo`` does.
        """


class SystemResolver:
    """The machine's own resolver; all of a process share its look-ups."""

    async def resolve(self, hostname: str) -> tuple[str, ...]:
        return await _LOOK_UPS.find(hostname)


def look_up(hostname: str) -> tuple[str, ...]:
    """Resolve a name with the machine's own resolver (DNS, hosts file); this blocks.

    Raises:
        socket.gaierror: as ``getaddrinfo`` does.
    """
    found = socket.getaddrinfo(hostname, None, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


_LOOK_UPS = LookUps(look_up)


def require_host(hostname: str, networks: RegistryNetworks) -> None:
    """Check a literal address before any look-up.

    Raises:
        RefusedNetworkError: an address that is not allowed for registries.
        InvalidReferenceError: numbers and dots that are not an IPv4 address (``127.1``).
    """
    if is_address(hostname):
        networks.require(hostname)
    elif is_number(hostname):
        raise InvalidReferenceError(f"{hostname} is neither a host name nor an IPv4 address")


async def resolve(
    hostname: str, networks: RegistryNetworks, resolver: Resolver, deadline: timedelta
) -> tuple[str, ...]:
    """Resolve a host and check each address; a literal address is its own.

    Raises:
        RefusedNetworkError: one of them is not an address that a registry may have here.
        RegistryError: ``dns_not_found`` or ``dns_failure``.
    """
    require_host(hostname, networks)
    if is_address(hostname):
        return (hostname,)
    addresses = await _resolve(hostname, resolver, deadline)
    if not addresses:
        raise _make_not_found(hostname)
    return tuple(str(networks.require(address)) for address in addresses)


def are_loopback(addresses: tuple[str, ...]) -> bool:
    """Return whether a connection to any of them stays on this machine."""
    return all(ip_address(address).is_loopback for address in addresses)


async def _resolve(hostname: str, resolver: Resolver, deadline: timedelta) -> tuple[str, ...]:
    try:
        async with asyncio.timeout(deadline.total_seconds()):
            return await resolver.resolve(hostname)
    except socket.gaierror as error:
        if error.errno in NOT_FOUND:
            raise _make_not_found(hostname) from error
        raise RegistryError(
            FaultCode.DNS_FAILURE,
            f"the DNS resolver of this server reports an error for {hostname}",
            evidence=_FAILURES.get(error.errno or 0, ""),
        ) from error
    except (TimeoutError, UnicodeError) as error:
        raise RegistryError(
            FaultCode.DNS_FAILURE,
            f"the DNS resolver of this server did not answer for {hostname}",
            evidence=f"nothing within {deadline.total_seconds():g} s",
        ) from error


def _make_not_found(hostname: str) -> RegistryError:
    code, nearest = FaultCode.DNS_NOT_FOUND, find_nearest_host(hostname)
    remedy = f"Did you mean {nearest}? {FAULTS[code].remedy}" if nearest else ""
    return RegistryError(code, f"the name {hostname} does not exist", remedy=remedy)
