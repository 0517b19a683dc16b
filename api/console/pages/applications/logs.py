"""The newest lines that what runs of an application has written."""

from typing import Any

from starlette.responses import Response

from api.console.page import Page, PageRoute
from shared.errors import NotFoundError, WharfError

SINCE = ("all", "10m", "1h", "1d", "7d")
TAILS = ("100", "500", "2000")


async def show(page: Page) -> Response:
    """Show the form; it starts no job, as a browser may load a page in advance."""
    application = await _find(page)
    return _render(page, application)


async def read(page: Page) -> Response:
    """Read the lines by a job on each server."""
    application = await _find(page)
    tail, since = (page.form.get(name, "") for name in ("tail", "since"))
    try:
        answer = await page.call(
            "application.readLogs",
            applicationId=application["applicationId"],
            tail=int(tail) if tail in TAILS else int(TAILS[0]),
            since=since if since in SINCE else SINCE[0],
            search=page.form.get("search", ""),
        )
    except NotFoundError:
        raise
    except WharfError as error:
        return _render(page, application, fault=error)
    if isinstance(answer, str):
        return _render(page, application, lines=answer)
    return _render(page, application, job_id=answer["jobId"])


async def _find(page: Page) -> dict[str, Any]:
    found: dict[str, Any] = await page.call(
        "application.one", applicationId=page.param("application_id")
    )
    return found


def _render(
    page: Page,
    application: dict[str, Any],
    *,
    fault: WharfError | None = None,
    lines: str = "",
    job_id: str | None = None,
) -> Response:
    chosen = page.form or page.query
    return page.render(
        "applications/logs.html",
        fault=fault,
        application=application,
        lines=lines,
        job_id=job_id,
        has_asked=bool(page.form),
        tails=TAILS,
        sinces=SINCE,
        tail=chosen.get("tail", TAILS[0]),
        since=chosen.get("since", SINCE[0]),
        search=chosen.get("search", ""),
    )


ROUTES = (
    PageRoute("/applications/{application_id}/logs", show),
    PageRoute("/applications/{application_id}/logs", read, "POST"),
)
