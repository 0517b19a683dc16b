"""Fetch an uploaded context from the API, once, with the token of this attempt."""

import asyncio
import errno
import ssl
from collections.abc import AsyncIterator
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import httpx2
from pydantic import SecretStr

from shared.errors import RegistryError, SetupError, SourceError
from shared.faults import FaultCode
from shared.jobs.sources import UploadSource
from shared.networks import parse_networks
from shared.tls import tls_context
from worker.builds.sources.git.refs import root_cause
from worker.builds.sources.limits import LIMITS, Limits
from worker.builds.sources.upload import receive
from worker.oci.transport.address import SystemResolver, resolve
from worker.oci.transport.errors import make_connection_error

DNS = timedelta(seconds=5)
SILENCE_SECONDS = 30
ALL_NETWORKS = parse_networks("public,private,loopback")
"""The operator sets the API's address; link-local and metadata addresses are not allowed."""

GONE_REMEDY = "Upload the context again, then build again."
_TLS_REMEDY = {
    FaultCode.TLS_UNKNOWN_CA: "Add the API's CA to this server's trusted certificates.",
    FaultCode.TLS_EXPIRED: "Renew the API's certificate, or correct this server's clock.",
    FaultCode.TLS_NAME_MISMATCH: "Set WHARF_URL to a name that the API's certificate is valid for.",
    FaultCode.TLS_NOT_OFFERED: "The API answers in plain HTTP. Put TLS in front of it.",
}
REFUSED_REMEDY = "Add the address to the networks of the server, or of the organization's servers."
UNREACHABLE_REMEDY = "Check that this server reaches the API, and that WHARF_URL is correct."


async def download(
    source: UploadSource,
    api_url: str | None,
    token: SecretStr | None,
    archive: Path,
    limits: Limits = LIMITS,
    *,
    ca_file: Path | None = None,
) -> None:
    """Write the context to ``archive``: exactly the bytes that ``source`` describes.

    The API is verified by the CA in ``ca_file``, by default by those of the system.

    Raises:
        SourceError: ``source_not_found``, the API no longer has it; ``source_unreachable``, also
            if it is cut; ``source_altered``, it has other bytes; ``source_too_large``;
            ``tls_not_offered``, the token would be sent in clear; ``transfer_timeout``.
        SetupError: the API's address is not known here.
    """
    if api_url is None or token is None:
        raise SetupError(
            "this server does not know the API's address, so it cannot fetch the context",
            remedy="Set WHARF_URL for its worker, and restart the worker.",
        )
    limits.require("the context", total_bytes=source.size_bytes)
    limit = asyncio.timeout(limits.time.total_seconds())
    try:
        async with limit:
            await _fetch(source, _parse(api_url), token, archive, ca_file)
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise SourceError(
            FaultCode.TRANSFER_TIMEOUT,
            f"the context was not fetched within {limits.time.total_seconds():g} s",
        ) from error


async def _fetch(
    source: UploadSource,
    api: SplitResult,
    token: SecretStr,
    archive: Path,
    ca_file: Path | None,
) -> None:
    address = await _resolve(api)
    trust = await asyncio.to_thread(_trust, ca_file)  # as at the enrolment
    try:
        async with httpx2.AsyncClient(
            timeout=SILENCE_SECONDS, verify=trust, trust_env=False
        ) as client:
            answer = await client.send(_request(client, api, address, source, token), stream=True)
            try:
                _require_good(answer, source, api)
                await receive(_limited_body(answer, source), archive, sha256=source.sha256)
            finally:
                await answer.aclose()
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise SourceError(FaultCode.DISK_FULL, "the disk has no space for the context") from error
    except httpx2.TransportError as error:
        raise _unreachable(error, api) from error


def _trust(ca_file: Path | None) -> ssl.SSLContext:
    return tls_context(ca_file) if ca_file else httpx2.create_ssl_context()


def _parse(url: str) -> SplitResult:
    try:
        parts = urlsplit(url.rstrip("/"))
        is_good = parts.scheme in {"http", "https"} and parts.hostname and (parts.port or 1)
    except ValueError:
        is_good = False
    if not is_good or "@" in parts.netloc:
        raise SetupError(
            "WHARF_URL is not the address of an API", remedy="Set WHARF_URL to https://host[:port]."
        )
    return parts


async def _resolve(api: SplitResult) -> str:
    """Return the address to use; the token must not be readable on its way."""
    try:
        addresses = await resolve(api.hostname or "", ALL_NETWORKS, SystemResolver(), DNS)
    except RegistryError as error:
        raise SourceError(
            FaultCode.SOURCE_UNREACHABLE, error.message, remedy=UNREACHABLE_REMEDY
        ) from error
    if api.scheme == "http" and any(ip_address(address).is_global for address in addresses):
        raise SourceError(
            FaultCode.TLS_NOT_OFFERED,
            f"the API at {api.netloc} is reached over the internet without TLS",
            remedy="Put TLS in front of the API, and set WHARF_URL to its https:// address.",
        )
    return addresses[0]


def _request(
    client: httpx2.AsyncClient,
    api: SplitResult,
    address: str,
    source: UploadSource,
    token: SecretStr,
) -> httpx2.Request:
    """Make a request to the checked address; TLS still verifies the host name."""
    host = f"[{address}]" if ":" in address else address
    port = api.port or (443 if api.scheme == "https" else 80)
    return client.build_request(
        "GET",
        f"{api.scheme}://{host}:{port}{api.path}/api/contexts/{source.context_id}",
        headers={
            "Host": api.netloc,
            "Authorization": f"Bearer {token.get_secret_value()}",
            "Accept-Encoding": "identity",
        },
        extensions={"sni_hostname": api.hostname},
    )


def _unreachable(error: httpx2.TransportError, api: SplitResult) -> SourceError:
    if isinstance(error, httpx2.TimeoutException):
        code, message = FaultCode.SOURCE_UNREACHABLE, f"{api.netloc} does not answer in time"
    else:
        found = make_connection_error(root_cause(error), api.netloc)
        code, message = FaultCode(found.code), found.message
    if code not in _TLS_REMEDY:
        code = FaultCode.SOURCE_UNREACHABLE
    remedy = _TLS_REMEDY.get(code, UNREACHABLE_REMEDY)
    return SourceError(code, f"the context was not fetched: {message}", remedy=remedy)


def _require_good(answer: httpx2.Response, source: UploadSource, api: SplitResult) -> None:
    if answer.status_code == httpx2.codes.NOT_FOUND:
        raise SourceError(
            FaultCode.SOURCE_NOT_FOUND,
            f"the API at {api.netloc} has no context {source.context_id} for this attempt",
            remedy=GONE_REMEDY,
        )
    if answer.status_code == httpx2.codes.FORBIDDEN:
        raise SourceError(
            FaultCode.SOURCE_UNREACHABLE,
            f"the API at {api.netloc} refuses the address of this server",
            remedy=REFUSED_REMEDY,
        )
    if answer.status_code != httpx2.codes.OK:
        raise SourceError(
            FaultCode.SOURCE_UNREACHABLE,
            f"the API at {api.netloc} answers with status {answer.status_code}",
            remedy=UNREACHABLE_REMEDY,
        )


async def _limited_body(answer: httpx2.Response, source: UploadSource) -> AsyncIterator[bytes]:
    """Yield the body while it is not longer than the context."""
    total = 0
    async for chunk in answer.aiter_raw():
        total += len(chunk)
        if total > source.size_bytes:
            raise SourceError(
                FaultCode.SOURCE_ALTERED,
                f"the context is longer than its {source.size_bytes} bytes",
                remedy=GONE_REMEDY,
            )
        yield chunk
