"""How the links of servers to the database and the broker are protected, as the API sees them."""

import asyncio
import contextlib
import ssl
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from cryptography import x509
from prometheus_client.core import Metric

from api.operations.metric_families import make_gauge
from api.procedure.context import Resources
from shared.networks import is_loopback

DATABASE, BROKER = "database", "broker"
SECONDS = 2.0
SSL_REQUEST = struct.pack("!II", 8, 80877103)
PORTS = {"postgresql": 5432, "postgres": 5432, "redis": 6379, "rediss": 6379}


@dataclass(frozen=True)
class Link:
    """A link with TLS has the life of its certificate; one without has none."""

    name: str
    life: tuple[datetime, datetime] | None


async def look_at_links(resources: Resources) -> list[Link]:
    """Return the links whose address answers; those on loopback are left out."""
    urls = {DATABASE: resources.server_database_url, BROKER: resources.server_broker_url}
    found = await asyncio.gather(*(_look(name, url or "") for name, url in urls.items()))
    return [link for link in found if link is not None]


def make_link_families(links: Iterable[Link]) -> Iterator[Metric]:
    """Make the metrics of links."""
    known = list(links)
    yield make_gauge(
        "wharf_link_encrypted",
        "The link of servers to the database or the broker has TLS: 1, else 0.",
        [{"link": link.name, "value": int(link.life is not None)} for link in known],
        "link",
    )
    yield make_gauge(
        "wharf_link_certificate_seconds",
        "Begin and end of its certificate, in seconds since the epoch.",
        [
            {"link": link.name, "edge": edge, "value": time.timestamp()}
            for link in known
            if link.life is not None
            for edge, time in zip(("begin", "end"), link.life, strict=True)
        ],
        "link",
        "edge",
    )


async def _look(name: str, url: str) -> Link | None:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if not host or is_loopback(host):
        return None
    with contextlib.suppress(OSError, EOFError, TimeoutError, ValueError):
        async with asyncio.timeout(SECONDS):
            port = parts.port or PORTS.get(parts.scheme, 0)
            return Link(name, await _read_life(name, host, port, is_tls=parts.scheme == "rediss"))
    return None


async def _read_life(
    name: str, host: str, port: int, *, is_tls: bool
) -> tuple[datetime, datetime] | None:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        if name == DATABASE:
            writer.write(SSL_REQUEST)
            is_tls = await reader.readexactly(1) == b"S"
        if not is_tls:
            return None
        # Only the dates are wanted: servers verify the certificate themselves.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        await writer.start_tls(context)
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        found = x509.load_der_x509_certificate(shown)
        return found.not_valid_before_utc, found.not_valid_after_utc
    finally:
        writer.transport.abort()
