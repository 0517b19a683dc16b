"""The referrers API: manifests that refer to another one, such as signatures."""

from dataclasses import dataclass

from pydantic import BaseModel, ValidationError
from yarl import URL

from shared.reference import require_digest, require_repository
from worker.oci.auth.scope import PULL, Scope
from worker.oci.registry.client import RegistryClient
from worker.oci.registry.listing import PAGE_LIMIT_BYTES, has_next, parse_next
from worker.oci.transport.answers import make_protocol_error
from worker.oci.transport.http import Request, Response
from worker.oci.transport.shape import parse_error_codes
from worker.oci.transport.verdicts import Operation

UNSUPPORTED_STATUSES = frozenset({404, 405, 501})
"""The statuses of a registry that does not have the API."""


class _Referrer(BaseModel):
    digest: str


class _Referrers(BaseModel):
    manifests: list[_Referrer]


@dataclass(frozen=True)
class Referrers:
    """The digests of manifests that refer to another one.

    ``is_complete`` is false if there are more than the limit, or a later page could not be read.
    """

    digests: tuple[str, ...]
    is_complete: bool = True


async def has_referrers_api(client: RegistryClient, repository: str, digest: str) -> bool:
    """Return whether the registry lists the referrers of this digest.

    Raises:
        RegistryError: as `list_referrers`.
    """
    url = await _first_url(client, repository, digest)
    return await _read_page(client, repository, digest, url) is not None


async def list_referrers(
    client: RegistryClient, repository: str, digest: str, limit: int
) -> Referrers | None:
    """Return at most ``limit`` referrers of all pages; ``None`` if the registry lacks the API.

    OCI distribution 1.1, "Listing Referrers".

    Raises:
        RegistryError: ``pull_denied`` …, ``registry_error`` for content that is not a list.
    """
    url: URL | None = await _first_url(client, repository, digest)
    found: dict[str, None] = {}
    is_complete = False
    while url and len(found) <= limit:
        page = await _read_page(client, repository, digest, url)
        if page is None:
            return Referrers(tuple(found), is_complete=False) if found else None
        # A page without new entries ends the loop, which would otherwise be endless.
        is_new = bool(set(page.digests) - set(found))
        found.update(dict.fromkeys(page.digests))
        is_complete = not page.is_continued
        url = page.next if is_new else None
    return Referrers(tuple(found)[:limit], is_complete=is_complete and len(found) <= limit)


async def _first_url(client: RegistryClient, repository: str, digest: str) -> URL:
    require_repository(repository)
    require_digest(digest)
    return await client.url(f"{repository}/referrers/{digest}")


@dataclass(frozen=True)
class _Page:
    digests: tuple[str, ...]
    next: URL | None
    is_continued: bool


async def _read_page(
    client: RegistryClient, repository: str, digest: str, url: URL
) -> _Page | None:
    request = Request("GET", url, limit_bytes=PAGE_LIMIT_BYTES)
    response = await client.send_authorized(request, Scope(repository, PULL))
    if response.status in UNSUPPORTED_STATUSES or "UNSUPPORTED" in parse_error_codes(response):
        return None
    if response.status != 200:
        raise await client.refuse(response, Operation.PULL, repository, digest)
    digests = _parse(response, f"{client.host.name}/{repository}")
    return _Page(digests, parse_next(response, url), has_next(response))


def _parse(response: Response, subject: str) -> tuple[str, ...]:
    try:
        found = _Referrers.model_validate(response.json())
    except ValidationError as error:
        raise make_protocol_error(response, subject) from error
    if not found.manifests and "Link" in response.headers:
        raise make_protocol_error(response, subject)
    return tuple(referrer.digest for referrer in found.manifests)
