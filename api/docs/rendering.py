"""Markdown to HTML: headings get anchors, links between pages get their addresses."""

import html
import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from markdown_it import MarkdownIt
from markdown_it.token import Token

from api.docs.contents import Page, url_of

_EXTERNAL = re.compile(r"^(?:[a-z][a-z0-9+.-]*:|/|#)", re.IGNORECASE)
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")


@dataclass
class Passage:
    """A heading and the text below it, up to the next heading. ``level`` is 1 for a title."""

    anchor: str
    heading: str
    level: int
    text: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Rendered:
    """A page as HTML, and its passages for the search and the list of headings."""

    html: str
    passages: tuple[Passage, ...]


def render_page(page: Page) -> Rendered:
    """Render a page with its links rewritten."""
    tokens = _MARKDOWN.parse(page.text)
    for token in _links(tokens):
        token.attrSet("href", resolve_link(page.path, str(token.attrGet("href"))))
    passages = tuple(_mark_headings(tokens))
    return Rendered(_MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {}), passages)


def render_text(text: str) -> str:
    """Render Markdown that belongs to no page."""
    return str(_MARKDOWN.render(text))


def resolve_link(path: str, href: str) -> str:
    """Return the address of a link on the page ``path``; ``../limits.md#x`` is a page's."""
    target, mark, anchor = href.partition("#")
    if _EXTERNAL.match(href) or not target.endswith(".md"):
        return href
    found = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    return f"{url_of(found.removesuffix('.md'))}{mark}{anchor}"


def make_anchor(heading: str) -> str:
    """Return the anchor of a heading, as GitHub makes it: ``Roll back`` is ``roll-back``."""
    return re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-")


def _links(tokens: Sequence[Token]) -> Iterator[Token]:
    for token in tokens:
        for child in token.children or ():
            if child.type == "link_open":
                yield child


def _mark_headings(tokens: Sequence[Token]) -> Iterator[Passage]:
    used: set[str] = set()
    passage: Passage | None = None
    for index, token in enumerate(tokens):
        if token.type == "heading_open":
            inline = tokens[index + 1]
            heading = _plain(inline)
            anchor = _unused(make_anchor(heading), used)
            token.attrSet("id", anchor)
            if inline.children is not None:
                inline.children.append(_anchor_link(anchor))
            if passage is not None:
                yield passage
            passage = Passage(anchor, heading, int(token.tag[1:]))
        elif passage is not None and token.type in ("inline", "fence"):
            passage.text.append(_plain(token))
    if passage is not None:
        yield passage


def _plain(token: Token) -> str:
    if token.type == "fence" or token.children is None:
        return token.content
    return "".join(child.content for child in token.children if child.type != "html_inline")


def _unused(anchor: str, used: set[str]) -> str:
    number, found = 0, anchor
    while found in used:
        number += 1
        found = f"{anchor}-{number}"
    used.add(found)
    return found


def _anchor_link(anchor: str) -> Token:
    link = Token("html_inline", "", 0)
    name = html.escape(anchor)
    link.content = f' <a class="anchor" href="#{name}" aria-label="Link to this heading">#</a>'
    return link
