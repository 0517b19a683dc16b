"""The frame of every page: header with search, contents list, neighbours."""

from collections.abc import Iterable, Sequence
from html import escape

from api.docs.contents import CONTENTS, ROOT, Page, read_pages, url_of
from api.docs.rendering import Passage

API_URL = f"{ROOT}/api"
API_TITLE = "API reference"
MAX_LISTED = 60
"""A page with more headings lists none: its search finds them."""

_FRAME = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="{root}/icon.svg">
<link rel="stylesheet" href="{root}/style.css">
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<header>
<a class="name" href="{root}">Wharfinger</a>
<a class="to-contents" href="#contents">Contents</a>
<form action="{root}/search" method="get" role="search">
<input type="search" name="q" value="{query}" maxlength="200" required
 aria-label="Search the documentation" placeholder="Search">
<button>Search</button>
</form>
</header>
<div class="columns">
<main id="content">
{content}
</main>
<nav id="contents" aria-label="Contents">
{contents}
</nav>
</div>
</body>
</html>
"""


def frame(title: str, content: str, *, here: str = "", query: str = "") -> bytes:
    """Return a whole page; ``here`` is its address, ``content`` is HTML."""
    return _FRAME.format(
        title=escape(f"{title} · Wharfinger"),
        root=ROOT,
        query=escape(query),
        content=content,
        contents=_contents(here),
    ).encode()


def list_headings(passages: Sequence[Passage]) -> str:
    """Return links to the second-level headings of a page, if they help."""
    found = [each for each in passages if each.level == 2]
    if not 3 <= len(found) <= MAX_LISTED:
        return ""
    links = "".join(
        f'<li><a href="#{escape(each.anchor)}">{escape(each.heading)}</a></li>' for each in found
    )
    return f'<nav class="headings" aria-label="On this page"><ul>{links}</ul></nav>'


def neighbours(page: Page) -> str:
    """Return the links to the page before and the page after."""
    pages = list(read_pages().values())
    index = pages.index(page)
    links = []
    if index > 0:
        links.append(_neighbour("prev", "Previous", pages[index - 1]))
    if index + 1 < len(pages):
        links.append(_neighbour("next", "Next", pages[index + 1]))
    return f'<nav class="neighbours" aria-label="Neighbouring pages">{"".join(links)}</nav>'


def show_results(query: str, results: Iterable[tuple[str, str, str]]) -> str:
    """Return the list of what a search found: address, page title and heading of each."""
    items = "".join(
        f'<li><a href="{escape(url)}">{escape(heading)}</a> <small>{escape(title)}</small></li>'
        for url, title, heading in results
    )
    found = f"<ul>{items}</ul>" if items else "<p>Nothing was found. Try fewer words.</p>"
    return f"<h1>Search</h1><p>Results for “{escape(query)}”:</p>{found}"


def not_found() -> bytes:
    """Return the page for an address that has none."""
    return frame(
        "Page not found",
        "<h1>Page not found</h1><p>There is no page at this address. Use the contents list or the "
        "search.</p>",
    )


def _neighbour(relation: str, label: str, page: Page) -> str:
    title = escape(page.title)
    return f'<a rel="{relation}" href="{page.url}"><small>{label}</small> {title}</a>'


def _contents(here: str) -> str:
    pages = read_pages()
    parts = []
    for section in CONTENTS:
        entries = [(url_of(path), pages[path].title) for path in section.paths]
        if "reference/procedures" in section.paths:
            entries.append((API_URL, API_TITLE))
        items = "".join(_entry(url, title, here) for url, title in entries)
        parts.append(f"<h2>{escape(section.title)}</h2><ul>{items}</ul>")
    return "".join(parts)


def _entry(url: str, title: str, here: str) -> str:
    current = ' aria-current="page"' if url == here else ""
    return f'<li><a href="{url}"{current}>{escape(title)}</a></li>'
