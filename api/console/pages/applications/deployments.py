"""Deployments: those of an application, and one with its servers, its jobs and its log."""

import asyncio

from starlette.responses import Response

from api.console.page import ROOT, Page, PageRoute
from api.console.pages.applications.builds import read_job
from api.console.pages.names import read_names
from shared.errors import NotFoundError, WharfError

MOST = 100
TAIL = 500


async def show_all(page: Page) -> Response:
    """List the newest deployments of an application."""
    chosen = {"applicationId": page.param("application_id")}
    builds = await page.call("build.all", **chosen, limit=MOST)
    return page.render(
        "deployments/all.html",
        application=await page.call("application.one", **chosen),
        deployments=await page.call("deployment.all", **chosen, limit=MOST),
        versions={each["buildId"]: each["version"] for each in builds},
        names=await read_names(page),
    )


async def show(page: Page, error: WharfError | None = None) -> Response:
    """Show a deployment."""
    deployment = await page.call("deployment.one", deploymentId=page.param("deployment_id"))
    ids = [job_id for each in deployment["servers"] for job_id in each["jobIds"]]
    jobs = await asyncio.gather(*(read_job(page, job_id) for job_id in ids))
    return page.render(
        "deployments/one.html",
        error=error,
        deployment=deployment,
        application=await page.call("application.one", applicationId=deployment["applicationId"]),
        build=await _build(page, deployment["buildId"]),
        jobs={job["jobId"]: job for job in jobs if job},
        log=await page.call(
            "deployment.readLogs", deploymentId=deployment["deploymentId"], tail=TAIL
        ),
        names=await read_names(page),
    )


async def cancel(page: Page) -> Response:
    """Cancel the deployment."""
    deployment_id = page.param("deployment_id")
    try:
        await page.call("deployment.cancel", deploymentId=deployment_id)
    except WharfError as error:
        return await show(page, error)
    return page.redirect(f"{ROOT}/deployments/{deployment_id}", "It is being cancelled.")


async def _build(page: Page, build_id: str) -> object:
    try:
        return await page.call("build.one", buildId=build_id)
    except NotFoundError:
        return None


ROUTES = (
    PageRoute("/applications/{application_id}/deployments", show_all),
    PageRoute("/deployments/{deployment_id}", show),
    PageRoute("/deployments/{deployment_id}/cancel", cancel, "POST"),
)
