"""Which addresses a registry may have (``WHARF_REGISTRY_NETWORKS``), or a webhook's endpoint.

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

METADATA = ip_address("fd00:ec2::254")
"""Amazon's metadata service over IPv6; its IPv4 one is link-local and so refused anyway."""


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
        """The address that ``text`` writes.

        Raises:
            RefusedNetworkError: not among the networks, or one that is never allowed (link-local,
                metadata, multicast, unspecified, reserved).
        """
        address = _plain(ip_address(text))
        if _is_never_allowed(address) or not self._has(address):
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
    """Whether a host (without port) is a literal IP address."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


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


def _is_never_allowed(address: Address) -> bool:
    return (
        address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or (address.is_reserved and not address.is_global)
        or address == METADATA
    )


def _word(address: Address) -> str:
    if address.is_loopback:
        return "loopback"
    return "public" if address.is_global else "private"
