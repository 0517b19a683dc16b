"""Post one message of a webhook to its endpoint: signed, to a checked address."""

import asyncio
import json
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from yarl import URL

from shared.errors import RefusedNetworkError, RegistryError, WharfError
from shared.faults import FaultCode
from shared.networks import NEARBY
from shared.vault import KeyRing
from shared.webhooks import ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, seal_context, sign
from worker.oci.transport.endpoint import find_endpoint
from worker.oci.transport.http import Request, Transport
from worker.oci.transport.route import Route, find_route_to, make_plain_route
from worker.oci.transport.settings import ConnectionSettings

ATTEMPT = timedelta(seconds=10)
"""The limit of an attempt, from name resolution to the end of the answer."""

GONE = 410
CODES = {FaultCode.NOT_A_REGISTRY.value: "not_http"}
"""Codes of connection errors that differ for endpoints, which are not registries."""


@dataclass(frozen=True)
class Delivery:
    """A claimed message and the number of its attempt; ``secret`` is sealed."""

    delivery_id: str
    organization_id: str
    webhook_id: str
    url: str
    secret: str
    payload: dict[str, Any] = field(repr=False)
    attempts: int


@dataclass(frozen=True)
class Posted:
    """The status of the answer, or the code of the error if there was none."""

    status: int | None = None
    code: str | None = None

    @property
    def is_delivered(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def is_gone(self) -> bool:
        return self.status == GONE


async def post(
    delivery: Delivery,
    vault: KeyRing,
    settings: ConnectionSettings,
    *,
    within: timedelta = ATTEMPT,
) -> Posted:
    """Send the message once, without following redirects."""
    try:
        async with asyncio.timeout(within.total_seconds()):
            return Posted(status=await _exchange(_sign(delivery, vault), settings))
    except TimeoutError:
        return Posted(code=FaultCode.CONN_TIMEOUT)
    except WharfError as error:
        return Posted(code=CODES.get(error.code, error.code))
    except ValueError:
        return Posted(code="url_invalid")


def make_body(payload: dict[str, Any]) -> bytes:
    """Make the body: the same bytes for every attempt."""
    ordered = {key: payload[key] for key in ("type", "timestamp", "data")}
    return json.dumps(ordered, ensure_ascii=False, separators=(",", ":")).encode()


def _sign(delivery: Delivery, vault: KeyRing) -> Request:
    """Raise `CredentialError` if the secret does not open for this host."""
    context = seal_context(delivery.organization_id, delivery.webhook_id, delivery.url)
    secret = vault.open(delivery.secret, context)
    body, now = make_body(delivery.payload), int(time.time())
    return Request(
        "POST",
        URL(delivery.url),
        headers={
            "Content-Type": "application/json",
            ID_HEADER: delivery.delivery_id,
            TIMESTAMP_HEADER: str(now),
            SIGNATURE_HEADER: sign(secret, delivery.delivery_id, now, body),
        },
        content=body,
        limit_bytes=0,
    )


async def _exchange(request: Request, settings: ConnectionSettings) -> int:
    # A new connection for each attempt, because the address is checked for each.
    async with Transport(settings) as transport:
        transport.add(await _find_route(request.url, settings))
        return (await transport.request(request)).status


async def _find_route(url: URL, settings: ConnectionSettings) -> Route:
    """Return the route to an endpoint: by TLS, or by plain HTTP to private networks only.

    Raises:
        RefusedNetworkError: an address that is not allowed for webhooks.
        RegistryError: no address, or plain HTTP to a public one.
    """
    if url.scheme == "https":
        return await find_route_to(url, settings)
    hostname = url.raw_host or ""
    endpoint = await find_endpoint(hostname, hostname, url.port, settings)
    try:
        for address in endpoint.addresses:
            NEARBY.require(address)
    except RefusedNetworkError:
        raise RegistryError(
            FaultCode.TLS_NOT_OFFERED,
            f"the URL of {endpoint.authority} begins with http://, but its address is public",
            remedy="Give the https:// URL of the webhook.",
        ) from None
    return make_plain_route(endpoint)
