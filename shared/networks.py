"""Networks of registries (``WHARF_REGISTRY_NETWORKS``) and of webhooks' endpoints.

A registry test makes our servers connect to a host that a caller names, so the answer must not
depend on what a DNS name resolves to at the moment: every address is checked after the look-up.
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
"""Clouds' metadata services; 169.254.169.254 is link-local and so refused anyway."""

EMBEDDING = tuple(map(IPv6Network, ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96")))
"""Their last 32 bits are an IPv4 address that gateways pass it on to (RFC 4291, 2765, 6052)."""

LOCAL_EMBEDDING = IPv6Network("64:ff9b:1::/48")
"""The same, at a place that each site chooses (RFC 8215): nobody can say to which address."""


@dataclass(frozen=True)
class RegistryNetworks:
    """``public``, ``private`` and ``loopback`` by word, any other network by CIDR.

    ``setting`` is the variable that says so, ``what`` is what has its addresses there.
    """

    words: frozenset[str]
    networks: tuple[Network, ...] = ()
    setting: str = REGISTRY_SETTING
    what: str = "a registry"

    def require(self, text: str) -> Address:
        """The address that ``text`` writes; one that holds an IPv4 address is judged by that.

        Raises:
            RefusedNetworkError: not among the networks, or one that is never allowed (link-local,
                metadata, multicast, unspecified, reserved).
        """
        address = _plain(ip_address(text))
        judged = _embedded(address)
        if _is_never_allowed(judged) or not self._has(judged):
            raise RefusedNetworkError(
                f"{address} is not an address that {self.what} may have here",
                remedy=f"{self.setting} names the allowed networks.",
            )
        return address

    def _has(self, address: Address) -> bool:
        return _word(address) in self.words or any(address in network for network in self.networks)


NEARBY = RegistryNetworks(frozenset({"private", "loopback"}))
"""Where a webhook's message may go in clear."""


def parse_networks(
    text: str, setting: str = REGISTRY_SETTING, what: str = "a registry"
) -> RegistryNetworks:
    """Read ``"public,private,10.0.0.0/8"``.

    Raises:
        SetupError: neither a word we know nor a network.
    """
    parts = {part.strip() for part in text.split(",") if part.strip()}
    words = parts & {"public", "private", "loopback"}
    networks = tuple(_networks(sorted(parts - words), setting))
    return RegistryNetworks(frozenset(words), networks, setting, what)


def parse_webhook_networks(text: str) -> RegistryNetworks:
    """The same for endpoints of webhooks; raises `SetupError` too."""
    return parse_networks(text, WEBHOOK_SETTING, "a webhook")


def is_address(host: str) -> bool:
    """Return whether a host (without port) is a literal IP address."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def is_number(host: str) -> bool:
    """Return whether it is digits and dots but no address (``127.1``): programs disagree on it."""
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
    """Return the IPv4 address inside it (6to4 or a gateway's), else the address itself."""
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
