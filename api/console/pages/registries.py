"""Registries: the list, one registry, and what is done with it."""

from starlette.responses import Response

from api.console.page import Page, PageRoute


async def show_all(page: Page) -> Response:
    """List the registries; ``q`` filters by name, host and username."""
    found = await page.call("registry.all")
    words = page.query.get("q", "").lower().split()
    shown = [
        each
        for each in found
        if all(
            word in f"{each['registryName']} {each['registryUrl']} {each['username']}".lower()
            for word in words
        )
    ]
    return page.render("registries/all.html", registries=shown, count=len(found))


async def show(page: Page) -> Response:
    """Show one registry: its login's life, quota, uses and rotation."""
    registry = await page.call("registry.one", registryId=page.param("registry_id"))
    return page.render("registries/one.html", registry=registry)


ROUTES = (
    PageRoute("/registries", show_all),
    PageRoute("/registries/{registry_id}", show),
)
