"""What is in a registry: its repositories, the tags of one, and one image.

Each page asks a server, which asks the registry: it shows what is there now.
"""

import asyncio
from typing import Any

from starlette.responses import Response

from api.console.page import Page, PageRoute
from api.console.pages.names import choose_server, name_servers
from shared.errors import NotFoundError, WharfError
from shared.reference import parse_registry

LIMIT = 100


async def show_repositories(page: Page) -> Response:
    """List the repositories; ``server`` is the one that asks, ``after`` the page before."""
    return await _render(
        page, "contents/repositories.html", "image.repositories", _paging(page), {}
    )


async def show_tags(page: Page) -> Response:
    """List the tags of ``repository``."""
    repository = page.query.get("repository", "").strip()
    chosen = {"repository": repository, **_paging(page)}
    return await _render(
        page, "contents/tags.html", "image.tags", chosen, {"repository": repository}
    )


async def show_image(page: Page) -> Response:
    """Show the image ``name``: a repository with a tag or a digest."""
    name = page.query.get("name", "").strip()
    repository = name.partition("@")[0].partition(":")[0]
    shown = {"image": name, "repository": repository}
    return await _render(page, "contents/image.html", "image.inspect", {"image": name}, shown)


async def _render(
    page: Page,
    template: str,
    procedure: str,
    chosen: dict[str, Any],
    shown: dict[str, Any],
) -> Response:
    registry_id = page.param("registry_id")
    registry, servers = await asyncio.gather(
        page.call("registry.one", registryId=registry_id), page.call("server.all")
    )
    host = parse_registry(registry["registryUrl"]).name
    if "image" in chosen:
        chosen["image"] = f"{host}/{chosen['image']}"
    server = page.query.get("server", "")
    if server:
        chosen["serverId"] = server
    found, fault = None, None
    try:
        found = await page.call(procedure, registryId=registry_id, **chosen)
    except NotFoundError:
        raise
    except WharfError as error:
        fault = error
    values = {
        "registry": registry,
        "host": host,
        "found": found,
        "server": server,
        "server_choices": choose_server(servers),
        "names": name_servers(servers),
        **shown,
    }
    return page.render(template, status=None, error=None, fault=fault, **values)


def _paging(page: Page) -> dict[str, Any]:
    return {"limit": LIMIT, "after": page.query.get("after", "")}


ROUTES = (
    PageRoute("/registries/{registry_id}/contents", show_repositories),
    PageRoute("/registries/{registry_id}/contents/tags", show_tags),
    PageRoute("/registries/{registry_id}/contents/image", show_image),
)
