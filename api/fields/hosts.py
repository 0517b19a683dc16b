"""Check registry hosts: a literal address at once, a name when it is resolved."""

from shared.networks import RegistryNetworks, is_address
from shared.reference import RegistryHost, parse_registry

LOOPBACK = "127.0.0.1"


def require_host(url: str, networks: RegistryNetworks) -> RegistryHost:
    """Return the registry at ``url``; the addresses of a name are checked on connection.

    Raises:
        InvalidReferenceError: not a registry URL.
        RefusedNetworkError: an address that is not allowed for registries.
    """
    host = parse_registry(url)
    require_hostname(host.hostname, networks)
    return host


def require_hostname(hostname: str, networks: RegistryNetworks) -> None:
    """Raise `RefusedNetworkError` if it is a literal address that is not allowed.

    ``localhost`` is a loopback address (RFC 6761, section 6.3).
    """
    if hostname == "localhost" or hostname.endswith(".localhost"):
        networks.require(LOOPBACK)
    elif is_address(hostname):
        networks.require(hostname)
