"""``/docs``: the pages, their search and the API reference. No key is needed, no script is sent."""

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from api.docs.contents import HOME, ROOT, Page, read_asset, read_pages, read_picture
from api.docs.layout import (
    API_TITLE,
    API_URL,
    frame,
    list_headings,
    neighbours,
    not_found,
    show_results,
)
from api.docs.operations import render_document
from api.docs.rendering import Rendered, render_page
from api.docs.search import Entry, find, make_entries

MAX_QUERY_CHARACTERS = 200
HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "max-age=60",
}
METHODS = ["GET", "HEAD"]

MakeDocument = Callable[[], dict[str, Any]]
Finished = dict[str, tuple[bytes, list[Entry]]]


class Site:
    """The pages as they are sent. Each part is rendered once, at its first request."""

    def __init__(self, make_document: MakeDocument) -> None:
        self._make_document = make_document
        self._lock = asyncio.Lock()
        self._pages: Finished = {}
        self._reference: Finished = {}
        self._style = read_asset("style.css")
        self._icon = read_asset("icon.svg")

    async def answer(self, path: str) -> Response:
        """Answer one page, or 404 in a page of the same look."""
        pages = await self._rendered_pages()
        found = pages.get(path.strip("/") or HOME)
        return _respond(found[0]) if found else _respond(not_found(), 404)

    async def answer_reference(self) -> Response:
        """Answer the reference that is made from the OpenAPI document."""
        return _respond((await self._rendered_reference())[API_URL][0])

    async def answer_search(self, query: str) -> Response:
        """Answer the passages with all words of the query."""
        query = query[:MAX_QUERY_CHARACTERS]
        parts = (await self._rendered_pages(), await self._rendered_reference())
        entries = [entry for part in parts for _, found in part.values() for entry in found]
        results = [(each.url, each.title, each.shown) for each in find(query, entries)]
        return _respond(frame("Search", show_results(query, results), query=query))

    def answer_picture(self, name: str) -> Response:
        """Answer a picture of a page; 404 for another name."""
        try:
            content = read_picture(name)
        except FileNotFoundError:
            return _respond(not_found(), 404)
        return Response(content, media_type="image/png", headers=HEADERS)

    def answer_style(self) -> Response:
        """Answer the style sheet."""
        return Response(self._style, media_type="text/css", headers=HEADERS)

    def answer_icon(self) -> Response:
        """Answer the icon: a browser that is told of none asks for one that is not there."""
        return Response(self._icon, media_type="image/svg+xml", headers=HEADERS)

    async def _rendered_pages(self) -> Finished:
        async with self._lock:
            if not self._pages:
                self._pages = await asyncio.to_thread(_render_pages)
        return self._pages

    async def _rendered_reference(self) -> Finished:
        async with self._lock:
            if not self._reference:
                self._reference = await asyncio.to_thread(_render_reference, self._make_document)
        return self._reference


def add_docs(app: Starlette, make_document: MakeDocument) -> None:
    """Add the documentation's routes; ``make_document`` makes the OpenAPI document."""
    site = Site(make_document)

    async def style(_request: Request) -> Response:
        return site.answer_style()

    async def icon(_request: Request) -> Response:
        return site.answer_icon()

    async def search(request: Request) -> Response:
        return await site.answer_search(request.query_params.get("q", ""))

    async def reference(_request: Request) -> Response:
        return await site.answer_reference()

    async def home(_request: Request) -> Response:
        return await site.answer(HOME)

    async def page(request: Request) -> Response:
        return await site.answer(request.path_params["path"])

    async def picture(request: Request) -> Response:
        return site.answer_picture(request.path_params["name"])

    app.add_route(f"{ROOT}/style.css", style, methods=METHODS)
    app.add_route(f"{ROOT}/icon.svg", icon, methods=METHODS)
    app.add_route(f"{ROOT}/screenshots/{{name}}", picture, methods=METHODS)
    app.add_route(f"{ROOT}/search", search, methods=METHODS)
    app.add_route(API_URL, reference, methods=METHODS)
    app.add_route(ROOT, home, methods=METHODS)
    app.add_route(f"{ROOT}/{{path:path}}", page, methods=METHODS)


def _render_pages() -> Finished:
    return {path: _finish(page, render_page(page)) for path, page in read_pages().items()}


def _finish(page: Page, rendered: Rendered) -> tuple[bytes, list[Entry]]:
    content = f"{rendered.html}{neighbours(page)}"
    title, mark, rest = content.partition("</h1>")
    content = f"{title}{mark}{list_headings(rendered.passages)}{rest}"
    whole = frame(page.title, content, here=page.url)
    return whole, list(make_entries(page.url, page.title, rendered.passages))


def _render_reference(make_document: MakeDocument) -> Finished:
    rendered = render_document(make_document())
    whole = frame(API_TITLE, rendered.html, here=API_URL)
    return {API_URL: (whole, list(make_entries(API_URL, API_TITLE, rendered.passages)))}


def _respond(content: bytes, status: int = 200) -> Response:
    return Response(content, status, media_type="text/html", headers=HEADERS)
