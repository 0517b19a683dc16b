"""The interface of minters, and the HTTP client with which they call a provider."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Protocol, TypeVar

from pydantic import SecretStr
from yarl import URL

from shared.credentials.source import Source
from shared.errors import RegistryError
from shared.faults import FaultCode
from shared.untrusted.text import plain_text
from worker.oci.transport.http import Request, Response, Transport
from worker.oci.transport.route import Route
from worker.oci.transport.settings import ConnectionSettings

EXCHANGE = timedelta(seconds=15)
"""The limit of one HTTP exchange, from name resolution to the end of the answer."""

MAX_SHOWN_CHARACTERS = 300
MASK = "***"

AnySource_contra = TypeVar("AnySource_contra", bound=Source, contravariant=True)


@dataclass(frozen=True)
class Minted:
    """A short-lived login's secret; the username is that of its kind (`Source.USERNAME`).

    ``lifetime`` is by the provider's own clock (its ``Date`` header), not by ours.
    """

    password: SecretStr
    lifetime: timedelta


@dataclass(frozen=True)
class HttpClient:
    """HTTP exchanges with providers: addresses are checked, answers bounded, redirects refused.

    Every exchange has a connection of its own, because its address is checked each time.
    """

    settings: ConnectionSettings
    timeout: timedelta = EXCHANGE

    async def get(self, url: URL, headers: Mapping[str, str]) -> Response:
        """Send a GET request.

        Raises:
            RegistryError: ``auth_server_unreachable``; the cause is in its message and evidence.
        """
        return await self._exchange(Request("GET", url, headers=headers))

    async def post(self, url: URL, headers: Mapping[str, str], content: bytes) -> Response:
        """Send a POST request; `get` says the errors."""
        return await self._exchange(Request("POST", url, headers=headers, content=content))

    async def local(
        self, method: str, url: URL, headers: Mapping[str, str], *, addresses: frozenset[str]
    ) -> Response:
        """Send a request over plain HTTP to one of the ``addresses`` of a metadata service.

        They are never allowed for registries, so only a literal address that the caller knows is
        accepted.

        Raises:
            RegistryError: it is none of them, or ``auth_server_unreachable``.
        """
        host = url.raw_host or ""
        if url.scheme != "http" or host not in addresses:
            raise RegistryError(FaultCode.NETWORK_REFUSED, f"{host} is no metadata service")
        route = Route(host, url.port or 80, (host,), None)
        return await self._exchange(Request(method, url, headers=headers), route)

    async def _exchange(self, request: Request, route: Route | None = None) -> Response:
        host = request.url.host
        try:
            async with (
                asyncio.timeout(self.timeout.total_seconds()),
                Transport(self.settings) as transport,
            ):
                if route is not None:
                    transport.add(route)
                return await transport.request(request)
        except TimeoutError as error:
            raise _make_unreachable(f"{host} did not answer in time") from error
        except RegistryError as error:
            raise _make_unreachable(error.message, error.evidence) from error


class Minter(Protocol[AnySource_contra]):
    """Get short-lived logins from one kind of source."""

    async def mint(
        self, source: AnySource_contra, host: str, client: HttpClient, now: datetime
    ) -> Minted:
        """Return a login for the registry ``host``; ``now`` is the time by our clock.

        Raises:
            RegistryError: ``credential_refused`` or ``credential_denied``, which is final until
                the source or the provider's settings change; or a code that is retryable.
        """


def provider_time(response: Response, default: datetime) -> datetime:
    """Return the time at the provider by its ``Date`` header; ``default`` if there is none."""
    try:
        moment = parsedate_to_datetime(response.headers.get("Date", ""))
    except ValueError:
        return default
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Secrets:
    """The secrets of one exchange, which no shown text may contain."""

    values: tuple[SecretStr, ...] = field(default=(), repr=False)

    def mask(self, text: str) -> str:
        """Return a provider's text for a message: one line, bounded, without the secrets."""
        shown = plain_text(text)
        for secret in self.values:
            shown = shown.replace(secret.get_secret_value(), MASK)
        shown = " ".join(shown.split())
        return shown[:MAX_SHOWN_CHARACTERS]


def require_object(response: Response, provider: str) -> dict[str, Any]:
    """Return a JSON object that a provider answered.

    Raises:
        RegistryError: ``registry_error``, it is none, or it was too large.
    """
    document = None if response.is_truncated else response.json()
    if not isinstance(document, dict):
        raise RegistryError(
            FaultCode.REGISTRY_ERROR,
            f"{provider} gave an answer that cannot be read",
            remedy="Check that no proxy answers in its place.",
            evidence=f"HTTP {response.status}",
        )
    return document


def _make_unreachable(message: str, evidence: str = "") -> RegistryError:
    return RegistryError(
        FaultCode.AUTH_SERVER_UNREACHABLE,
        f"wharf control cannot reach the provider: {message}",
        remedy="Check that wharf control can reach the address that the message names.",
        evidence=evidence,
    )
