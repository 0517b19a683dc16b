"""Actions on an application: build, deploy, stop, start, reload, remove, a deploy key."""

from starlette.responses import Response

from api.console.page import ROOT, Page, PageRoute
from api.console.pages.applications.one import show
from shared.errors import NotFoundError, WharfError

CONTROLS = {"stop": "stopped", "start": "started", "reload": "restarted"}
OPTIONS = ("title", "tag", "branch", "commit")


async def deploy(page: Page) -> Response:
    """Build, build and deploy, or deploy the newest build again; go to what was requested."""
    chosen = {"applicationId": page.param("application_id")}
    given = {name: page.form[name].strip() for name in OPTIONS if page.form.get(name, "").strip()}
    try:
        match page.form.get("what"):
            case "build":
                answer = await page.call("application.build", **chosen, **given)
                return page.redirect(
                    f"{ROOT}/builds/{answer['buildId']}", "The build was requested."
                )
            case "redeploy":
                title = {"title": given["title"]} if "title" in given else {}
                answer = await page.call("application.redeploy", **chosen, **title)
            case _:
                if page.form.get("buildId"):
                    given["buildId"] = page.form["buildId"]
                answer = await page.call("application.deploy", **chosen, **given)
    except WharfError as error:
        return await show(page, error)
    path = f"{ROOT}/deployments/{answer['deploymentId']}"
    return page.redirect(path, "The deployment was requested.")


async def control(page: Page) -> Response:
    """Stop, start or restart what runs; go to the first job."""
    action = page.param("action")
    if action not in CONTROLS:
        raise NotFoundError("there is no such action")
    try:
        answer = await page.start(
            f"application.{action}", applicationId=page.param("application_id")
        )
    except WharfError as error:
        return await show(page, error)
    count = len(answer["servers"])
    notice = f"It is being {CONTROLS[action]} on {count} server{'' if count == 1 else 's'}."
    return page.redirect(f"{ROOT}/jobs/{answer['jobId']}", notice)


async def ask_remove(page: Page, fault: WharfError | None = None) -> Response:
    """Show what a removal does, and ask."""
    application = await page.call("application.one", applicationId=page.param("application_id"))
    return page.render("applications/remove.html", application=application, fault=fault)


async def remove(page: Page) -> Response:
    """Remove the application."""
    try:
        removed = await page.call("application.remove", applicationId=page.param("application_id"))
    except NotFoundError:
        raise
    except WharfError as error:
        return await ask_remove(page, error)
    return page.redirect(f"{ROOT}/applications", f"{removed['name']} was removed.")


ROUTES = (
    PageRoute("/applications/{application_id}/deploy", deploy, "POST"),
    PageRoute("/applications/{application_id}/remove", ask_remove),
    PageRoute("/applications/{application_id}/remove", remove, "POST"),
    PageRoute("/applications/{application_id}/control/{action}", control, "POST"),
)
