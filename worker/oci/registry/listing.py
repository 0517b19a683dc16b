"""Lists that a registry returns page by page: tags, repositories."""

import re
from dataclasses import dataclass

from pydantic import BaseModel, ValidationError
from yarl import URL

from shared.errors import RegistryError
from shared.reference import require_repository
from worker.oci.auth.scope import PULL, Scope
from worker.oci.registry.client import RegistryClient
from worker.oci.transport.http import Request, Response
from worker.oci.transport.route import find_origin
from worker.oci.transport.verdicts import Operation

PAGE_ENTRIES = 100
PAGE_LIMIT_BYTES = 1024 * 1024
"""The size limit of a page: some registries ignore how many entries were requested."""

MAX_PAGES = 50
"""The pages that one call reads at most: of a registry with a prefix, most may be of others."""

MAX_NEXT_CHARACTERS = 2000

CATALOG = Scope("catalog", frozenset("*"), "registry")

_NEXT = re.compile(r'<([^<>]*)>[^,<]*;\s*rel\s*=\s*"?next\b', re.IGNORECASE)


@dataclass(frozen=True)
class Entries:
    """Entries in the registry's order, and where the next ones are; ``next`` is empty at the end.

    ``next`` is the query of the following page, as the registry wrote it, or its own entry.
    """

    names: tuple[str, ...]
    next: str = ""


class _Page(BaseModel):
    tags: list[str] | None = None
    repositories: list[str] | None = None


async def list_tags(
    client: RegistryClient, repository: str, limit: int, *, pages: int | None = None
) -> tuple[str, ...]:
    """Return at most ``limit`` tags, in the registry's order, of at most so many ``pages``.

    Raises:
        RegistryError: the registry refuses, or does not return a list.
    """
    path, scope = _tags_of(repository)
    return await _list_entries(client, path, scope, limit, pages=pages)


async def read_first_page(client: RegistryClient, repository: str, page: Response | None) -> None:
    """Check that the tags of a repository can be read; ``page`` is an answer that is known already.

    Raises:
        RegistryError: as `list_tags`.
    """
    if page is None:
        await list_tags(client, repository, 1)
    elif page.status != 200 or read_page(page) is None:
        raise await client.refuse(page, Operation.LIST, repository)


async def list_all_tags(
    client: RegistryClient, repository: str, limit: int
) -> tuple[str, ...] | None:
    """Return all tags; ``None`` if there are more than ``limit`` or the list is incomplete.

    A registry may return fewer tags than requested, without a ``Link``. So the page after the last
    tag is requested too, and has to contain nothing new.

    Raises:
        RegistryError: as `list_tags`.
    """
    path, scope = _tags_of(repository)
    first = await client.url(path)
    url: URL | None = first.with_query(n=PAGE_ENTRIES)
    entries: dict[str, None] = {}
    while url and len(entries) <= limit:
        response = await client.send_authorized(
            Request("GET", url, limit_bytes=PAGE_LIMIT_BYTES), scope
        )
        if response.status != 200:
            raise await _refuse(client, response, scope)
        if response.is_truncated:
            return None
        page = await _parse_page(client, response, scope)
        is_continued = has_next(response)
        if not set(page) - set(entries):
            return None if is_continued else tuple(entries)
        entries.update(dict.fromkeys(page))
        after = first.with_query(n=PAGE_ENTRIES, last=page[-1])
        url = parse_next(response, first) if is_continued else after
    return None


async def list_repositories(
    client: RegistryClient, limit: int, *, pages: int | None = None
) -> tuple[str, ...]:
    """Return at most ``limit`` repositories; many registries refuse this to every login.

    Raises:
        RegistryError: as `list_tags`.
    """
    return await _list_entries(client, "_catalog", CATALOG, limit, pages=pages)


async def read_tags(
    client: RegistryClient, repository: str, limit: int, after: str = ""
) -> Entries:
    """Return about ``limit`` tags that follow ``after``, the ``next`` of the entries before.

    Raises:
        RegistryError: as `list_tags`.
    """
    path, scope = _tags_of(repository)
    return await _read_entries(client, path, scope, limit, after)


async def read_repositories(
    client: RegistryClient, limit: int, after: str = "", *, prefix: str = ""
) -> Entries:
    """Return about ``limit`` repositories at ``prefix`` or below, of `MAX_PAGES` pages at most.

    Raises:
        RegistryError: as `list_tags`.
    """
    return await _read_entries(client, "_catalog", CATALOG, limit, after, prefix=prefix)


async def _read_entries(
    client: RegistryClient, path: str, scope: Scope, limit: int, after: str, *, prefix: str = ""
) -> Entries:
    first = await client.url(path)
    pages = -(-limit // PAGE_ENTRIES)
    url: URL | None = first.with_query(after or f"n={-(-limit // pages)}")
    names: dict[str, None] = {}
    for _ in range(MAX_PAGES):
        if url is None or len(names) >= limit:
            break
        response = await client.send_authorized(
            Request("GET", url, limit_bytes=PAGE_LIMIT_BYTES), scope
        )
        if response.status != 200:
            raise await _refuse(client, response, scope)
        page = await _parse_page(client, response, scope)
        rest = _follow(page, url.query.get("last", ""))
        taken = [one for one in rest if _is_below(one, prefix)]
        # A page that is cut is continued by its last name, which not every registry understands:
        # so it is cut only if the registry ignores how many entries were requested.
        is_cut = len(page) > PAGE_ENTRIES and len(taken) > limit - len(names)
        taken = taken[: limit - len(names)] if is_cut else taken
        names.update(dict.fromkeys(taken))
        url = parse_next(response, first) if rest else None
        if is_cut:
            url = first.with_query(n=PAGE_ENTRIES, last=taken[-1])
    found = url.raw_query_string if url else ""
    return Entries(tuple(names), found if len(found) <= MAX_NEXT_CHARACTERS else "")


def _follow(page: list[str], last: str) -> list[str]:
    """Return the entries after ``last``: a registry without pages lists all of them again."""
    return page[page.index(last) + 1 :] if last in page else page


def _is_below(repository: str, prefix: str) -> bool:
    return not prefix or f"{repository}/".startswith(f"{prefix}/")


def _tags_of(repository: str) -> tuple[str, Scope]:
    require_repository(repository)
    return f"{repository}/tags/list", Scope(repository, PULL)


async def _list_entries(
    client: RegistryClient, path: str, scope: Scope, limit: int, *, pages: int | None
) -> tuple[str, ...]:
    """Return at most ``limit`` entries, following ``Link`` (OCI distribution, "Listing Tags").

    ``pages`` is the maximum of requests; ``None`` stands for none.
    """
    first = await client.url(path)
    url: URL | None = first.with_query(n=min(limit, PAGE_ENTRIES))
    entries: dict[str, None] = {}
    while url and len(entries) < limit:
        response = await client.send_authorized(
            Request("GET", url, limit_bytes=PAGE_LIMIT_BYTES), scope
        )
        if response.status != 200:
            raise await _refuse(client, response, scope)
        page = await _parse_page(client, response, scope)
        new = [entry for entry in page if entry not in entries]
        entries.update(dict.fromkeys(new))
        # A page without new entries ends the loop, which would otherwise be endless.
        url = parse_next(response, first) if new else None
        pages = pages and pages - 1
        if pages == 0:
            break
    return tuple(entries)[:limit]


async def _refuse(client: RegistryClient, response: Response, scope: Scope) -> RegistryError:
    if scope.kind != "repository":
        return await client.refuse(response, Operation.CATALOG)
    return await client.refuse(response, Operation.LIST, scope.name)


async def _parse_page(client: RegistryClient, response: Response, scope: Scope) -> list[str]:
    page = read_page(response)
    if page is None:
        raise await _refuse(client, response, scope)
    return page


def read_page(response: Response) -> list[str] | None:
    """Return the entries of a page; ``None`` if it is not a page of a list."""
    content = response.json()
    if response.is_html or response.is_truncated or not isinstance(content, dict):
        return None
    try:
        page = _Page.model_validate(content)
    except ValidationError:
        return None
    return (page.tags or page.repositories or []) if page.model_fields_set else None


def has_next(response: Response) -> bool:
    """Return whether a page names a next one, of any origin."""
    return _NEXT.search(response.headers.get("Link", "")) is not None


def parse_next(response: Response, first: URL) -> URL | None:
    """Return the next page's URL, of the same origin as ``first``; ``None`` if there is none."""
    found = _NEXT.search(response.headers.get("Link", ""))
    try:
        url = response.url.join(URL(found[1])) if found else None
    except ValueError:
        return None
    return url if url and find_origin(url) == find_origin(first) else None
