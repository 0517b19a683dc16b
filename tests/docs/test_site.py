"""``/docs``: every page opens, every link leads somewhere, nothing needs a key or a script."""

import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag

import httpx2
import pytest
from starlette.applications import Starlette

from api.docs import contents
from api.docs.contents import read_pages
from api.docs.operations import render_document
from api.docs.site import add_docs
from api.http.openapi.document import make_document
from api.routers import PROCEDURES

DIRECTORY = Path(contents.__file__).parent
ROOT = DIRECTORY.parent.parent
PAGES = sorted(page.url for page in read_pages().values())
OUTSIDE = {"/openapi.json"}
"""Addresses outside ``/docs`` that pages lead to."""


class Links(HTMLParser):
    """The ids and the links of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.pictures: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attrs)
        if name := given.get("id"):
            self.ids.append(name)
        if tag == "img" and (source := given.get("src")):
            self.pictures.append(source)
        if href := given.get("href"):
            self.links.append(href)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return make_document(PROCEDURES.values())


@pytest.fixture
async def client(document: dict[str, Any]) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the documentation alone: it needs no database."""
    app = Starlette()
    add_docs(app, lambda: document)
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://docs.example") as client:
        yield client


def test_every_markdown_file_is_in_the_contents_list() -> None:
    files = {path.relative_to(DIRECTORY).as_posix() for path in DIRECTORY.rglob("*.md")}

    assert files == {f"{path}.md" for path in read_pages()}


async def test_every_page_opens_with_its_title(client: httpx2.AsyncClient) -> None:
    for page in read_pages().values():
        answer = await client.get(page.url)

        assert answer.status_code == 200
        assert f"<title>{page.title} · Wharfinger</title>" in answer.text.replace("&#x27;", "'")
        assert answer.headers["content-type"] == "text/html; charset=utf-8"


async def test_the_pages_have_an_icon(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/docs/icon.svg")

    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/svg+xml")
    assert 'href="/docs/icon.svg"' in (await client.get("/docs")).text


async def test_every_link_leads_to_a_page_and_a_heading(client: httpx2.AsyncClient) -> None:
    seen = {url: Links((await client.get(url)).text) for url in [*PAGES, "/docs/api"]}
    assets = {"/docs/style.css", "/docs/icon.svg"}
    wrong = []
    for url, found in seen.items():
        for link in found.links:
            target, anchor = urldefrag(link)
            page = seen.get(target or url)
            if link.startswith("https://") or target in OUTSIDE | assets:
                continue
            if page is None or (anchor and anchor not in page.ids and anchor != "contents"):
                wrong.append(f"{url}: {link}")

    assert not wrong


async def test_every_picture_of_a_page_opens(client: httpx2.AsyncClient) -> None:
    shown: set[str] = set()
    for url in PAGES:
        page = await client.get(url)
        shown |= {str(page.url.join(source)) for source in Links(page.text).pictures}

    answers = [await client.get(address) for address in shown]
    assert answers
    assert {answer.headers["content-type"] for answer in answers} == {"image/png"}
    missing = await client.get("/docs/screenshots/..%2Fcontents.py")
    assert missing.status_code == 404


async def test_no_id_stands_twice_on_a_page(client: httpx2.AsyncClient) -> None:
    for url in [*PAGES, "/docs/api"]:
        ids = Links((await client.get(url)).text).ids

        assert len(ids) == len(set(ids)), url


async def test_pages_have_no_script_and_may_load_none(client: httpx2.AsyncClient) -> None:
    for url in (*PAGES, "/docs/api", "/docs/search?q=login", "/docs/nothing"):
        answer = await client.get(url)

        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'self'")
        assert not {"script", "style", "iframe"} & set(Links(answer.text).tags)
        assert not re.search(r"<[^>]+\s(?:style|on\w+)=", answer.text)


async def test_the_style_sheet_loads_nothing_from_elsewhere(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/docs/style.css")

    assert answer.headers["content-type"].startswith("text/css")
    assert "url(" not in answer.text and "@import" not in answer.text


async def test_an_address_without_a_page_is_404_in_a_page(client: httpx2.AsyncClient) -> None:
    for path in ("/docs/nothing", "/docs/../pyproject.toml", "/docs/quickstart.md"):
        answer = await client.get(path)

        assert answer.status_code == 404
    assert "Page not found" in (await client.get("/docs/nothing")).text


async def test_the_address_with_a_slash_is_the_first_page(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/docs/")).text == (await client.get("/docs")).text


async def test_a_page_leads_to_its_neighbours(client: httpx2.AsyncClient) -> None:
    text = (await client.get("/docs/concepts")).text

    assert '<a rel="prev" href="/docs/quickstart">' in text
    assert '<a rel="next" href="/docs/how-to/console">' in text
    assert '<a href="/docs/concepts" aria-current="page">' in text


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("rollback point", "/docs/concepts#rollback-point"),
        ("WHARF_VAULT", "/docs/reference/settings#wharf_vault_public_key"),
        ("auth_bad_credentials", "/docs/reference/codes#auth_bad_credentials"),
        ("registry.create", "/docs/reference/procedures#registrycreate"),
        ("IDEMPOTENCY", "/docs/how-to/follow-jobs#repeat-a-request-safely"),
    ],
)
async def test_the_search_finds_headings_and_text(
    client: httpx2.AsyncClient, query: str, found: str
) -> None:
    answer = await client.get("/docs/search", params={"q": query})

    assert found in Links(answer.text).links


async def test_a_search_shows_its_words_as_text(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/docs/search", params={"q": '"><b>nothing has this</b>'})

    assert "<b>" not in answer.text
    assert "Nothing was found" in answer.text
    assert (await client.get("/docs/search")).status_code == 200


async def test_a_head_request_is_answered(client: httpx2.AsyncClient) -> None:
    assert (await client.head("/docs")).status_code == 200


async def test_the_api_reference_has_every_operation(
    client: httpx2.AsyncClient, document: dict[str, Any]
) -> None:
    text = (await client.get("/docs/api")).text

    operations = [each for item in document["paths"].values() for each in item.values()]
    assert not [one for one in operations if f">{one['operationId']} <" not in text]


def test_the_api_reference_shows_what_a_document_says() -> None:
    shown = render_document(
        {
            "info": {"title": "Title", "version": "3"},
            "tags": [{"name": "things", "description": "All things."}],
            "paths": {
                "/things": {
                    "post": {
                        "operationId": "createThing",
                        "tags": ["things"],
                        "summary": "Create <b>",
                        "parameters": [{"$ref": "#/components/parameters/Key"}],
                        "requestBody": {
                            "content": {
                                "application/json": {
                                    "schema": {"$ref": "#/components/schemas/Thing"},
                                    "examples": {"one": {"value": {"name": "first"}}},
                                }
                            }
                        },
                        "responses": {
                            "200": {
                                "description": "The thing.",
                                "content": {"application/json": {"example": {"id": 1}}},
                            },
                            "400": {"description": "Refused."},
                        },
                    },
                },
                "/bare": {"get": {"responses": {}}},
            },
            "components": {
                "parameters": {"Key": {"name": "Key", "in": "header", "required": True}},
                "schemas": {
                    "Thing": {
                        "properties": {
                            "name": {"type": "string", "description": "Its name."},
                            "kind": {"enum": ["a", "b"], "default": "a"},
                            "parts": {
                                "type": "array",
                                "items": {"$ref": "#/components/schemas/Thing"},
                            },
                            "labels": {"additionalProperties": {"type": "string"}},
                            "size": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
                        },
                        "required": ["name"],
                    }
                },
            },
        }
    )

    for part in (
        *("createThing", "Create &lt;b&gt;", "All things.", "Its name.", "Refused."),
        *("&quot;name&quot;: &quot;first&quot;", "&quot;id&quot;: 1", "get /bare"),
        *('<code>"a"</code> or <code>"b"</code>'.replace('"', "&quot;"), "integer or null"),
        *('list of <a href="#schema-thing">Thing</a>', "map of string", "<td>header</td>"),
    ):
        assert part in shown.html
    assert "<b>" not in shown.html
    assert [each.anchor for each in shown.passages][:2] == ["things", "creatething"]


def test_every_path_of_the_project_that_a_page_names_exists() -> None:
    named = {
        (page.path, path)
        for page in read_pages().values()
        for path in re.findall(r"`((?:api|worker|shared|tests)/[\w./-]*)`", page.text)
    }

    assert named
    assert not [(page, path) for page, path in named if not (ROOT / path).exists()]
