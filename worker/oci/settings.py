"""Where our registry traffic may go, and how long it may take."""

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from shared.networks import RegistryNetworks
from worker.oci.address import Resolver, SystemResolver
from worker.oci.certificate import CERTIFICATES_DIRECTORY


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
class ConnectionSettings:
    """Where we may connect to, and how.

    ``insecure`` is the Engine's list: ``host[:port]`` as images name it, or a CIDR.
    """

    networks: RegistryNetworks
    insecure: frozenset[str] = frozenset()
    certificates: Path = CERTIFICATES_DIRECTORY
    resolver: Resolver = field(default_factory=SystemResolver)
    deadlines: Deadlines = field(default_factory=Deadlines)
