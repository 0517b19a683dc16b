"""Until when the certificate is valid with which the API, or the proxy in front of it, serves."""

import re
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2

RENEWED_BEFORE = timedelta(days=14)
"""So long before its end it should have been renewed, or in the last quarter of a shorter life."""

RENEW = "Renew it: replace the files of WHARF_TLS_CERTIFICATE and WHARF_TLS_KEY, or the proxy's."


RENEW_LINK = "See the log of wharf ca serve or wharf up, or renew it where its TLS is done."

_ENCRYPTED = re.compile(r'^wharf_link_encrypted\{link="(\w+)"\} (\S+)$', re.MULTILINE)
_EDGE = re.compile(
    r'^wharf_link_certificate_seconds\{edge="(\w+)",link="(\w+)"\} (\S+)$', re.MULTILINE
)


def describe_certificate(client: httpx2.Client, now: datetime) -> tuple[str, str] | None:
    """Return what was found, and a remedy if it ends soon; ``None`` without TLS."""
    found = _read_certificate(client)
    if not found:
        return None
    begin, end = _time(found["notBefore"]), _time(found["notAfter"])
    return f"valid until {end:%Y-%m-%d %H:%M} UTC", RENEW if _is_late(begin, end, now) else ""


def describe_links(metrics: str, now: datetime) -> Iterator[tuple[str, str, str]]:
    """Yield for each link of servers its name, how it is protected, and a remedy if that ends."""
    edges = {(link, edge): float(value) for edge, link, value in _EDGE.findall(metrics)}
    for link, value in _ENCRYPTED.findall(metrics):
        name = f"link of servers to the {link}"
        if float(value) == 0:
            yield name, "without TLS: the network in between can read it", ""
            continue
        begin, end = (
            datetime.fromtimestamp(edges.get((link, edge), 0), UTC) for edge in ("begin", "end")
        )
        late = RENEW_LINK if _is_late(begin, end, now) else ""
        yield name, f"TLS, its certificate is valid until {end:%Y-%m-%d %H:%M} UTC", late


def _is_late(begin: datetime, end: datetime, now: datetime) -> bool:
    return end - now < min(RENEWED_BEFORE, (end - begin) / 4)


def _read_certificate(client: httpx2.Client) -> dict[str, Any] | None:
    try:
        # In a stream: afterwards the connection may be closed, and its certificate forgotten.
        with client.stream("GET", "/healthz") as answer:
            encrypted = answer.extensions["network_stream"].get_extra_info("ssl_object")
            return encrypted.getpeercert() if encrypted is not None else None
    except httpx2.TransportError:
        return None


def _time(text: Any) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC)
