"""Fields of a webhook: the URL of its endpoint, and its events."""

import re
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, Field

from api.errors import InvalidUrlError
from api.fields.hosts import require_hostname
from shared.errors import RefusedNetworkError
from shared.networks import NEARBY, RegistryNetworks, is_address, is_number
from shared.webhooks import DEFAULT_PORTS, EventName

MAX_URL_CHARACTERS = 1000

_LABEL = r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?"
_HOSTNAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_VISIBLE = re.compile(r"[\x21-\x7e]+")


def require_endpoint(url: str, networks: RegistryNetworks) -> None:
    """Check the URL without resolving its host; control checks the address at each delivery.

    Raises:
        InvalidUrlError: not http or https, user info, a fragment, or an invalid host.
        RefusedNetworkError: an address that is not allowed, or plain HTTP to a public address.
    """
    hostname = _require_plain(_split(url))
    require_hostname(hostname, networks)
    if is_address(hostname) and not url.lower().startswith("https:"):
        _require_nearby(hostname)


def hide_path(url: str) -> str:
    """Return ``https://ci.example.com/…``: the URL without its path, which may be a secret."""
    parts = urlsplit(url)
    is_bare = parts.path in {"", "/"} and not parts.query
    return url if is_bare else f"{parts.scheme}://{parts.netloc}/…"


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        has_port = parts.port != 0
    except ValueError:
        has_port = False
    if not has_port or not _VISIBLE.fullmatch(url):
        raise InvalidUrlError("the URL has unsupported characters or an invalid port")
    return parts


def _require_plain(parts: SplitResult) -> str:
    """Check scheme, user info and fragment; return the host's name."""
    if parts.scheme not in DEFAULT_PORTS:
        raise InvalidUrlError("the URL's scheme is not http or https")
    if "@" in parts.netloc or parts.fragment:
        raise InvalidUrlError(
            "the URL contains user info or a fragment",
            remedy="Leave it out. To authenticate messages, verify webhook-signature.",
        )
    hostname = parts.hostname or ""
    if not _HOSTNAME.fullmatch(hostname) or len(hostname) > 253 or is_number(hostname):
        raise InvalidUrlError("the URL has an invalid host")
    return hostname


def _require_nearby(address: str) -> None:
    try:
        NEARBY.require(address)
    except RefusedNetworkError:
        raise RefusedNetworkError(
            f"messages are not sent to {address} over plain HTTP", remedy="Give an https:// URL."
        ) from None


def _unique(events: list[EventName]) -> list[EventName]:
    return sorted(set(events))


EndpointUrl = Annotated[str, Field(min_length=1, max_length=MAX_URL_CHARACTERS)]
Events = Annotated[list[EventName], Field(min_length=1, max_length=20), AfterValidator(_unique)]
