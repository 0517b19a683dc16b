"""Networks of clients: an address or a CIDR each."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated

from pydantic import AfterValidator, Field

MAX_NETWORKS = 100
MAPPED_BITS = 96
"""The prefix of IPv4 addresses that are mapped into IPv6: ``::ffff:0:0/96`` (RFC 4291)."""


def _require_network(text: str) -> str:
    try:
        return str(_parse(text))
    except ValueError:
        raise ValueError("Invalid network: give an address or a CIDR, as 10.1.0.0/16") from None


Network = Annotated[str, Field(max_length=50), AfterValidator(_require_network)]
Networks = Annotated[list[Network], Field(max_length=MAX_NETWORKS)]


def is_within(text: str, networks: Iterable[str]) -> bool:
    """Return whether an address or a network is a part of one of the networks."""
    try:
        inner = _parse(text.partition("%")[0])
    except ValueError:
        return False
    return any(
        inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]
        for outer in map(_parse, networks)
    )


def intersect(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """Return the networks whose addresses both lists contain."""
    # Of two networks one contains the other, or they have no address in common.
    common = [each for each in first if is_within(each, second)]
    common += [each for each in second if is_within(each, first)]
    return list(dict.fromkeys(common))


def _parse(text: str) -> IPv4Network | IPv6Network:
    """Read an address or a CIDR; IPv4 that is mapped into IPv6 becomes IPv4.

    Raises:
        ValueError: another text, or a CIDR with bits after its prefix.
    """
    network = ip_network(text)
    if isinstance(network, IPv6Network) and network.prefixlen >= MAPPED_BITS:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - MAPPED_BITS))
    return network
