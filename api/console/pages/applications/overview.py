"""The list of applications."""

from starlette.responses import Response

from api.console.page import Page, PageRoute
from api.console.pages.names import read_names


async def show_all(page: Page) -> Response:
    """List the applications; ``q`` filters by name, image name and source."""
    found = await page.call("application.all")
    words = page.query.get("q", "").lower().split()
    keys = ("name", "appName", "dockerImage", "customGitUrl")
    shown = [
        each
        for each in found
        if all(word in " ".join(str(each[key]) for key in keys).lower() for word in words)
    ]
    return page.render(
        "applications/all.html",
        applications=shown,
        count=len(found),
        names=await read_names(page),
    )


ROUTES = (PageRoute("/applications", show_all),)
