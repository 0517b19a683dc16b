"""Accept registry hosts: a literal address is checked at once, a name when it is resolved."""

from shared.networks import RegistryNetworks, is_address
from shared.reference import RegistryHost, parse_registry

LOOPBACK = "127.0.0.1"


def require_host(url: str, networks: RegistryNetworks) -> RegistryHost:
    """The registry at ``url``; what a name resolves to is checked by whoever connects.

    Raises:
        InvalidReferenceError: not a registry URL.
        RefusedNetworkError: an address that registries may not have here.
    """
    host = parse_registry(url)
    require_hostname(host.hostname, networks)
    return host


def require_hostname(hostname: str, networks: RegistryNetworks) -> None:
    """Raises `RefusedNetworkError` where it writes an address that is not allowed.

    ``localhost`` writes one by RFC 6761, section 6.3.
    """
    if hostname == "localhost" or hostname.endswith(".localhost"):
        networks.require(LOOPBACK)
    elif is_address(hostname):
        networks.require(hostname)
