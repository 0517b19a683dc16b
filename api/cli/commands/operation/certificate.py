"""Until when the certificate is valid with which the API, or the proxy in front of it, serves."""

import ssl
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2

RENEWED_BEFORE = timedelta(days=14)
"""So long before its end it should have been renewed, or in the last quarter of a shorter life."""

RENEW = "Renew it: replace the files of WHARF_TLS_CERTIFICATE and WHARF_TLS_KEY, or the proxy's."


def describe_certificate(client: httpx2.Client, now: datetime) -> tuple[str, str] | None:
    """Return what was found, and a remedy if it ends soon; ``None`` without TLS."""
    found = _read_certificate(client)
    if not found:
        return None
    begin, end = _time(found["notBefore"]), _time(found["notAfter"])
    is_late = end - now < min(RENEWED_BEFORE, (end - begin) / 4)
    return f"valid until {end:%Y-%m-%d %H:%M} UTC", RENEW if is_late else ""


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
