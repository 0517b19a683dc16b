"""The ports that other machines reach, all with TLS: the API's, the database's, the broker's."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from shared.tls import fingerprint_of
from worker.local.tls.authority import CERTIFICATE
from worker.local.tls.certificates import LIFE
from worker.local.tls.service import API, BROKER, DATABASE

LOOPBACK = "127.0.0.1"
MODULE = "worker.local.tls"


@dataclass(frozen=True)
class Published:
    """Published ports of the embedded servers, which listen on loopback at their own ports.

    ``directory`` has the CA and the certificates, each with a life of ``life``. A pair is the
    published port and the server's own; ``None``: that server is not embedded.
    """

    directory: Path
    address: str
    database: tuple[int, int] | None = None
    broker: tuple[int, int] | None = None
    life: timedelta = LIFE

    @property
    def ca_file(self) -> Path:
        return self.directory / CERTIFICATE

    @property
    def api_certificate(self) -> Path:
        """Return the file with the API's certificate and key."""
        return self.directory / f"{API}.pem"

    @property
    def pin(self) -> str:
        """Return the SHA-256 of the CA, which servers pin."""
        return fingerprint_of(self.ca_file.read_text())

    @property
    def database_url(self) -> str | None:
        """Return the URL for server workers, without a role; ``None`` without that port."""
        if self.database is None:
            return None
        return f"postgresql://{self._host}:{self.database[0]}/wharf?sslmode=verify-full"

    @property
    def broker_url(self) -> str | None:
        """Return the URL for server workers, without a user; ``None`` without that port."""
        return None if self.broker is None else f"rediss://{self._host}:{self.broker[0]}/0"

    @property
    def ports(self) -> tuple[int, ...]:
        """Return the published ports of database and broker."""
        return tuple(pair[0] for pair in (self.database, self.broker) if pair)

    @property
    def environment(self) -> dict[str, str]:
        """Return the settings of the program that serves these ports."""
        return {"WHARF_CERTIFICATE_SECONDS": str(int(self.life.total_seconds()))}

    @property
    def command(self) -> tuple[str, ...]:
        """Return the arguments of Python that serve these ports and renew the certificates."""
        hosts = dict.fromkeys((self.address, LOOPBACK, "localhost"))
        names = [word for host in hosts for word in ("--host", host)]
        return ("-m", MODULE, "serve", str(self.directory), *names, *self._port_words())

    def _port_words(self) -> Iterator[str]:
        for name, pair in ((DATABASE, self.database), (BROKER, self.broker)):
            if pair is not None:
                yield from (f"--{name}", f"{self._host}:{pair[0]}={LOOPBACK}:{pair[1]}")

    @property
    def _host(self) -> str:
        return f"[{self.address}]" if ":" in self.address else self.address
