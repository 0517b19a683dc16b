"""Networks of registries (``WHARF_REGISTRY_NETWORKS``), of webhooks' endpoints and of clients.

A registry test makes our servers connect to a host that a caller names. A DNS name can resolve to
any address, so every address is checked after name resolution.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from shared.errors import RefusedNetworkError, SetupError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

REGISTRY_SETTING = "WHARF_REGISTRY_NETWORKS"
WEBHOOK_SETTING = "WHARF_WEBHOOK_NETWORKS"

METADATA = frozenset(
    ip_address(text)
    for text in (
        *("100.100.100.200", "192.0.0.192", "168.63.129.16"),  # Alibaba, Oracle, Azure
        *("fd00:ec2::254", "fd20:ce::254"),  # Amazon, Google
    )
)
"""Metadata services of clouds; 169.254.169.254 is link-local and so always refused."""

EMBEDDING = tuple(map(IPv6Network, ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96")))
"""The last 32 bits are an IPv4 address to which gateways forward (RFC 4291, 2765, 6052)."""

LOCAL_EMBEDDING = IPv6Network("64:ff9b:1::/48")
"""The same with a local mapping (RFC 8215), so the IPv4 address is unknown."""


@dataclass(frozen=True)
class RegistryNetworks:
    """``public``, ``private`` and ``loopback`` by word, any other network by CIDR.

    ``setting`` is the environment variable, ``subject`` the owner of the addresses, for messages.
    """

    words: frozenset[str]
    networks: tuple[Network, ...] = ()
    setting: str = REGISTRY_SETTING
    subject: str = "a registry"

    def require(self, text: str) -> Address:
        """Parse and check an address; an embedded IPv4 address is checked instead.

        Raises:
            RefusedNetworkError: outside the networks, or never allowed (link-local, metadata,
                multicast, unspecified, reserved).
        """
        address = _plain(ip_address(text))
        checked = _embedded(address)
        if _is_never_allowed(checked) or not self._has(checked):
            raise RefusedNetworkError(
                f"the address {address} is outside the networks allowed for {self.subject}",
                remedy=f"Let the operator add its network to {self.setting}.",
            )
        return address

    def _has(self, address: Address) -> bool:
        return _word(address) in self.words or any(address in network for network in self.networks)


NEARBY = RegistryNetworks(frozenset({"private", "loopback"}))
"""Networks to which a webhook's message may be sent over plain HTTP."""


def parse_networks(
    text: str, setting: str = REGISTRY_SETTING, subject: str = "a registry"
) -> RegistryNetworks:
    """Parse ``"public,private,10.0.0.0/8"``.

    Raises:
        SetupError: neither a known word nor a network.
    """
    parts = {part.strip() for part in text.split(",") if part.strip()}
    words = parts & {"public", "private", "loopback"}
    networks = tuple(_networks(sorted(parts - words), setting))
    return RegistryNetworks(frozenset(words), networks, setting, subject)


def parse_webhook_networks(text: str) -> RegistryNetworks:
    """Parse the networks of webhooks' endpoints, as `parse_networks` does."""
    return parse_networks(text, WEBHOOK_SETTING, "a webhook")


def is_address(host: str) -> bool:
    """Return whether a host (without port) is a literal IP address."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches what listens on ``host``."""
    return host == "localhost" or (is_address(host) and ip_address(host).is_loopback)


def network_of(host: str) -> str:
    """Return the address that counts as one client: for IPv6 its /64 network."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, IPv4Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ip_network((address, 64), strict=False).network_address)


def is_number(host: str) -> bool:
    """Return whether it is digits and dots, but not an address (``127.1``): ambiguous."""
    return host.replace(".", "").isdigit() and not is_address(host)


def _networks(texts: Iterable[str], setting: str) -> Iterable[Network]:
    for text in texts:
        try:
            yield ip_network(text)
        except ValueError as error:
            raise SetupError(
                f"{setting}: {text!r} is neither public, private, loopback nor a CIDR"
            ) from error


def _plain(address: Address) -> Address:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _embedded(address: Address) -> Address:
    """Return the embedded IPv4 address (6to4 or a gateway's), else the address itself."""
    if isinstance(address, IPv4Address) or address.is_loopback or address.is_unspecified:
        return address
    if any(address in network for network in EMBEDDING):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.sixtofour or address


def _is_never_allowed(address: Address) -> bool:
    return (
        address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or (address.is_reserved and not address.is_global and not address.is_loopback)
        or address in METADATA
        or address in LOCAL_EMBEDDING
    )


def _word(address: Address) -> str:
    if address.is_loopback:
        return "loopback"
    return "public" if address.is_global else "private"
