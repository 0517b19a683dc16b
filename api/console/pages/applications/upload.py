"""Upload the sources of an application: the browser's script sends the file as the body."""

from starlette.responses import Response

from api.console.page import Page, PageRoute
from api.http.uploads import answer_upload


async def upload(page: Page) -> Response:
    """Store the file as the newest upload of the application; the answer is that of the API."""
    return await answer_upload(page.resources, page.request, page.caller)


ROUTES = (PageRoute("/applications/upload", upload, method="POST", has_file=True),)
