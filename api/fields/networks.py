"""Networks of clients: an address or a CIDR each."""

from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Annotated

from pydantic import AfterValidator, Field

MAX_NETWORKS = 100


def _require_network(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError:
        raise ValueError("Invalid network: give an address or a CIDR, as 10.1.0.0/16") from None


Network = Annotated[str, Field(max_length=50), AfterValidator(_require_network)]
Networks = Annotated[list[Network], Field(max_length=MAX_NETWORKS)]


def is_within(text: str, networks: Iterable[str]) -> bool:
    """Return whether an address or a network is a part of one of the networks."""
    try:
        inner = ip_network(_unmapped(text.partition("%")[0]))
    except ValueError:
        return False
    return any(
        inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]
        for outer in map(ip_network, networks)
    )


def _unmapped(text: str) -> str:
    """Return the IPv4 address of one that is mapped into IPv6; another text as it is."""
    if "/" in text:
        return text
    address = ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)
