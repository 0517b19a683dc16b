"""The first page: what needs attention, and what happens now."""

from starlette.responses import Response

from api.console.page import Page, PageRoute


async def show(page: Page) -> Response:
    """Show the state of the fleet."""
    return page.render(
        "overview.html",
        servers=await page.call("server.all"),
        registries=await page.call("registry.all"),
        applications=await page.call("application.all"),
        jobs=await page.call("job.all"),
    )


ROUTES = (PageRoute("", show),)
