"""Where our registry traffic may go, and how long it may take."""

from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

from shared.networks import RegistryNetworks, is_address
from worker.oci.transport.address import Resolver, SystemResolver
from worker.oci.transport.certificate import CERTIFICATES_DIRECTORY


@dataclass(frozen=True)
class Deadlines:
    """How long each step may take; ``answer`` is one HTTP exchange.

    The transfer of a blob may take as long as it needs, but no byte of it longer than ``idle``.
    """

    dns: timedelta = timedelta(seconds=3)
    tcp: timedelta = timedelta(seconds=3)
    tls: timedelta = timedelta(seconds=5)
    answer: timedelta = timedelta(seconds=10)
    idle: timedelta = timedelta(seconds=60)


@dataclass(frozen=True)
class EngineProxy:
    """An Engine's proxy for HTTPS, and the hosts that it reaches without (``NO_PROXY``)."""

    url: str = ""
    without: str = ""

    def serves(self, hostname: str) -> bool:
        """Whether the Engine goes through it for a host, by the rules of Go's ``httpproxy``."""
        entries = {entry.strip().lower() for entry in self.without.split(",")} - {""}
        domains = {f".{entry.lstrip('.')}" for entry in entries}
        if not self.url or "*" in entries or hostname == "localhost":
            return False
        if not is_address(hostname):
            return not f".{hostname}".endswith(tuple(domains))
        address = ip_address(hostname)
        return not (address.is_loopback or any(_holds(entry, address) for entry in entries))


def _holds(entry: str, address: IPv4Address | IPv6Address) -> bool:
    try:
        return address in ip_network(entry, strict=False)
    except ValueError:
        return False  # a name


@dataclass(frozen=True)
class ConnectionSettings:
    """Where we may connect to, and how.

    ``insecure`` is the Engine's list: ``host[:port]`` as images name it, or a CIDR. ``proxy`` is
    what the Engine speaks HTTPS through; ours only to see where it would send a login.
    """

    networks: RegistryNetworks
    insecure: frozenset[str] = frozenset()
    certificates: Path = CERTIFICATES_DIRECTORY
    resolver: Resolver = field(default_factory=SystemResolver)
    deadlines: Deadlines = field(default_factory=Deadlines)
    proxy: EngineProxy = field(default_factory=EngineProxy)
