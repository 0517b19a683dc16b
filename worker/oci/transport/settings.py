"""Settings of the registry traffic: allowed networks, certificates, deadlines, proxy."""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

from shared.networks import RegistryNetworks, is_address
from worker.oci.providers.quotas import QuotaLog
from worker.oci.transport.address import Resolver, SystemResolver
from worker.oci.transport.certificate import CERTIFICATES_DIRECTORY
from worker.registry_tls import PUBLIC, RegistryTls


@dataclass(frozen=True)
class Deadlines:
    """The time limits of each step; ``response`` is that of one HTTP exchange.

    The transfer of a blob may take as long as it needs, but fails if no byte moves for ``idle``.
    """

    dns: timedelta = timedelta(seconds=3)
    tcp: timedelta = timedelta(seconds=3)
    tls: timedelta = timedelta(seconds=5)
    response: timedelta = timedelta(seconds=10)
    idle: timedelta = timedelta(seconds=60)


@dataclass(frozen=True)
class EngineProxy:
    """An Engine's proxies for HTTPS and for plain HTTP, and the hosts that it reaches directly.

    ``no_proxy`` is its ``NO_PROXY``.
    """

    url: str = ""
    no_proxy: str = ""
    http_url: str = ""

    def find(self, hostname: str, *, is_plain: bool = False) -> str:
        """Return the proxy that the Engine uses for a host; empty for none."""
        url = self.http_url if is_plain else self.url
        return url if self.applies_to(hostname) else ""

    def applies_to(self, hostname: str) -> bool:
        """Return whether the Engine uses a proxy for a host (rules of Go's ``httpproxy``)."""
        entries = {entry.strip().lower() for entry in self.no_proxy.split(",")} - {""}
        domains = {f".{entry.lstrip('.')}" for entry in entries}
        if not (self.url or self.http_url) or "*" in entries or hostname == "localhost":
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
    """The networks, certificates and limits of connections to registries.

    ``insecure`` is the Engine's list: ``host[:port]`` as in image names, or a CIDR. ``proxy`` is
    the Engine's proxy; we use it where a registry cannot be reached without. ``mirrors`` are the
    URLs that the Engine asks for images of Docker Hub first.
    ``engine_problem`` says why the Engine's list is unknown, if it is. ``quotas`` collects what
    registries say about their limits. ``tls`` is what is stored with the registry at ``tls_host``
    that these connections are for.
    """

    networks: RegistryNetworks
    insecure: frozenset[str] = frozenset()
    certificates: Path = CERTIFICATES_DIRECTORY
    resolver: Resolver = field(default_factory=SystemResolver)
    deadlines: Deadlines = field(default_factory=Deadlines)
    proxy: EngineProxy = field(default_factory=EngineProxy)
    mirrors: tuple[str, ...] = ()
    engine_problem: str = ""
    quotas: QuotaLog = field(default_factory=QuotaLog, compare=False, repr=False)
    tls: RegistryTls = PUBLIC
    tls_host: str = ""

    def for_registry(self, hostname: str, tls: RegistryTls) -> "ConnectionSettings":
        """Return the settings for connections to one registry, and to hosts that it names."""
        return replace(self, tls=tls, tls_host=hostname)

    def tls_of(self, hostname: str) -> RegistryTls:
        """Return what counts for a host: as in Docker, the CA also for the token server.

        The client certificate is shown to the registry alone.
        """
        return self.tls if hostname == self.tls_host else self.tls.for_other_hosts()

    def is_same_engine(self, other: "ConnectionSettings") -> bool:
        """Return whether the Engine's part is the same."""
        own = (self.insecure, self.proxy, self.mirrors)
        return own == (other.insecure, other.proxy, other.mirrors)
