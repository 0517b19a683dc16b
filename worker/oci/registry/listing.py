"""Lists that a registry gives page by page: tags, repositories."""

import re

from pydantic import BaseModel, ValidationError
from yarl import URL

from worker.oci.auth.scope import Scope
from worker.oci.registry.conversation import Conversation
from worker.oci.transport.answers import make_strange
from worker.oci.transport.http import Answer, Request
from worker.oci.transport.route import find_origin

PAGE_ENTRIES = 100
PAGE_LIMIT_BYTES = 1024 * 1024
"""For registries that ignore how many entries were asked for."""

_NEXT = re.compile(r'<([^<>]*)>[^,<]*;\s*rel\s*=\s*"?next\b', re.IGNORECASE)


class _Page(BaseModel):
    tags: list[str] | None = None
    repositories: list[str] | None = None


async def list_entries(
    talk: Conversation, path: str, scope: Scope, *, limit: int
) -> tuple[str, ...]:
    """At most ``limit`` entries, following ``Link`` (OCI distribution, "Listing Tags").

    Raises:
        RegistryError: the registry refuses, or answers no list.
    """
    first = await talk.url(path)
    url: URL | None = first.with_query(n=min(limit, PAGE_ENTRIES))
    entries: dict[str, None] = {}
    while url and len(entries) < limit:
        answer = await talk.ask(Request("GET", url, limit_bytes=PAGE_LIMIT_BYTES), scope)
        if answer.status != 200:
            repository = scope.name if scope.kind == "repository" else ""
            raise talk.refusal(answer, scope.asked, repository)
        page = _parse_page(answer, talk.host.name)
        fresh = [entry for entry in page if entry not in entries]
        entries.update(dict.fromkeys(fresh))
        # A page that brings nothing new would otherwise be asked for without end.
        url = _parse_next(answer, first) if fresh else None
    return tuple(entries)[:limit]


async def list_whole(
    talk: Conversation, path: str, scope: Scope, *, limit: int
) -> tuple[str, ...] | None:
    """All entries; ``None`` where they are more than ``limit`` or cannot all be known.

    A registry may give fewer entries than were asked for, without a ``Link``: the page after the
    last entry is asked for too, and has to bring nothing new.

    Raises:
        RegistryError: as `list_entries`.
    """
    first = await talk.url(path)
    url: URL | None = first.with_query(n=PAGE_ENTRIES)
    entries: dict[str, None] = {}
    while url and len(entries) <= limit:
        answer = await talk.ask(Request("GET", url, limit_bytes=PAGE_LIMIT_BYTES), scope)
        if answer.status != 200:
            raise talk.refusal(answer, scope.asked, scope.name)
        if answer.is_cut:
            return None
        page = _parse_page(answer, talk.host.name)
        has_next = _NEXT.search(answer.headers.get("Link", "")) is not None
        if not set(page) - set(entries):
            return None if has_next else tuple(entries)
        entries.update(dict.fromkeys(page))
        after = first.with_query(n=PAGE_ENTRIES, last=page[-1])
        url = _parse_next(answer, first) if has_next else after
    return None


def _parse_page(answer: Answer, subject: str) -> list[str]:
    content = answer.json()
    if answer.is_html or answer.is_cut or not isinstance(content, dict):
        raise make_strange(answer, subject)
    try:
        page = _Page.model_validate(content)
    except ValidationError as error:
        raise make_strange(answer, subject) from error
    if not page.model_fields_set:
        raise make_strange(answer, subject)
    return page.tags or page.repositories or []


def _parse_next(answer: Answer, first: URL) -> URL | None:
    found = _NEXT.search(answer.headers.get("Link", ""))
    try:
        url = answer.url.join(URL(found[1])) if found else None
    except ValueError:
        return None
    return url if url and find_origin(url) == find_origin(first) else None
