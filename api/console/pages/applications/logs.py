"""The newest lines that what runs of an application has written."""

from starlette.responses import Response

from api.console.page import Page, PageRoute
from shared.errors import NotFoundError, WharfError

SINCE = ("all", "10m", "1h", "1d", "7d")
TAILS = ("100", "500", "2000")


async def show(page: Page) -> Response:
    """Read the lines by a job on each server, when the form asks for them."""
    chosen = {"applicationId": page.param("application_id")}
    application = await page.call("application.one", **chosen)
    tail, since = page.query.get("tail", TAILS[0]), page.query.get("since", SINCE[0])
    lines, job_id, fault = "", None, None
    if "tail" in page.query:
        try:
            answer = await page.call(
                "application.readLogs",
                **chosen,
                tail=int(tail) if tail in TAILS else int(TAILS[0]),
                since=since if since in SINCE else SINCE[0],
                search=page.query.get("search", ""),
            )
        except NotFoundError:
            raise
        except WharfError as error:
            fault = error
        else:
            lines = answer if isinstance(answer, str) else ""
            job_id = None if isinstance(answer, str) else answer["jobId"]
    return page.render(
        "applications/logs.html",
        fault=fault,
        application=application,
        lines=lines,
        job_id=job_id,
        has_asked="tail" in page.query,
        tails=TAILS,
        sinces=SINCE,
        tail=tail,
        since=since,
    )


ROUTES = (PageRoute("/applications/{application_id}/logs", show),)
