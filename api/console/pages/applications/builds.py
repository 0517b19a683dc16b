"""Builds: those of an application, and one with its jobs."""

import asyncio

from starlette.responses import Response

from api.console.page import ROOT, Page, PageRoute
from shared.errors import NotFoundError, WharfError

STEPS = ("make", "push", "keep for rollbacks")
MOST = 100


async def show_all(page: Page) -> Response:
    """List the newest builds of an application."""
    chosen = {"applicationId": page.param("application_id")}
    return page.render(
        "builds/all.html",
        application=await page.call("application.one", **chosen),
        builds=await page.call("build.all", **chosen, limit=MOST),
    )


async def show(page: Page, error: WharfError | None = None) -> Response:
    """Show a build and its jobs."""
    build = await page.call("build.one", buildId=page.param("build_id"))
    jobs = await asyncio.gather(*(read_job(page, job_id) for job_id in build["jobIds"]))
    return page.render(
        "builds/one.html",
        error=error,
        build=build,
        application=await page.call("application.one", applicationId=build["applicationId"]),
        jobs=[(step, job) for step, job in zip(STEPS, jobs, strict=False) if job],
    )


async def cancel(page: Page) -> Response:
    """Cancel the build."""
    build_id = page.param("build_id")
    try:
        await page.call("build.cancel", buildId=build_id)
    except WharfError as error:
        return await show(page, error)
    return page.redirect(f"{ROOT}/builds/{build_id}", "The build is being cancelled.")


async def read_job(page: Page, job_id: str) -> dict[str, object] | None:
    """Return a job; ``None`` if it was deleted since, as old jobs are."""
    try:
        job: dict[str, object] = await page.call("job.one", jobId=job_id)
    except NotFoundError:
        return None
    return job


ROUTES = (
    PageRoute("/applications/{application_id}/builds", show_all),
    PageRoute("/builds/{build_id}", show),
    PageRoute("/builds/{build_id}/cancel", cancel, "POST"),
)
