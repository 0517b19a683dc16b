"""Rollback points: listed, verified, deleted, and rolled back to after a page that shows how."""

import asyncio
from typing import Any

from starlette.responses import Response

from api.console.page import ROOT, Page, PageRoute
from api.console.pages.names import read_names
from api.errors import DeploymentChangedError
from shared.errors import NotFoundError, WharfError

SHOWN_APPLICATIONS = 20
SEARCHED = 50


async def show_all(page: Page, error: WharfError | None = None) -> Response:
    """List the rollback points of one application, or of all by pages of applications."""
    names = await read_names(page)
    chosen = page.query.get("applicationId", "")
    shown = [chosen] if chosen else sorted(names.applications, key=names.applications.__getitem__)
    first = _offset(page.query.get("from", ""))
    on_page = shown[first:][:SHOWN_APPLICATIONS]
    found = await asyncio.gather(
        *(page.call("rollback.all", applicationId=each) for each in on_page)
    )
    return page.render(
        "rollbacks/all.html",
        error=error,
        points=[point for points in found for point in points],
        chosen=chosen,
        first=first,
        on_page=len(on_page),
        size=SHOWN_APPLICATIONS,
        count=len(shown),
        names=names,
    )


async def verify(page: Page) -> Response:
    """Verify the points of an application now."""
    application_id = page.param("application_id")
    points = await page.call("rollback.verify", applicationId=application_id)
    good = sum(point["offered"] for point in points)
    path = f"{ROOT}/rollbacks?applicationId={application_id}"
    return page.redirect(path, f"{good} of {len(points)} rollback points can be rolled back to.")


async def ask(page: Page, fault: WharfError | None = None) -> Response:
    """Show what a rollback does; its form is bound to the state that is shown."""
    chosen = {"applicationId": page.param("application_id")}
    points, deployments = await asyncio.gather(
        page.call("rollback.all", **chosen), page.call("deployment.all", **chosen, limit=SEARCHED)
    )
    point = _find(points, page.param("rollback_id"))
    application = await page.call("application.one", **chosen)
    builds = await page.call("build.all", **chosen, limit=SEARCHED)
    return page.render(
        "rollbacks/ask.html",
        fault=fault,
        application=application,
        point=point,
        runs={each: _running(each, deployments) for each in application["serverIds"]},
        versions={each["buildId"]: each["version"] for each in builds},
        newest=deployments[0] if deployments else None,
        seen=_state(deployments),
        names=await read_names(page),
    )


async def roll_back(page: Page) -> Response:
    """Roll back, if the application's deployments are those that the page has shown."""
    chosen = {"applicationId": page.param("application_id")}
    rollback_id = page.param("rollback_id")
    deployments = await page.call("deployment.all", **chosen, limit=1)
    if _state(deployments) != page.form.get("seen"):
        return await ask(page, _changed())
    newest = {"newestDeploymentId": deployments[0]["deploymentId"]} if deployments else {}
    title = page.form.get("title", "").strip()
    try:
        answer = await page.call("rollback.rollback", rollbackId=rollback_id, title=title, **newest)
    except DeploymentChangedError:
        return await ask(page, _changed())
    except NotFoundError:
        raise
    except WharfError as error:
        return await ask(page, error)
    path = f"{ROOT}/deployments/{answer['deploymentId']}"
    return page.redirect(path, "The rollback was requested.")


async def delete(page: Page) -> Response:
    """Delete a point, and its image if nothing else needs it."""
    path = f"{ROOT}/rollbacks?applicationId={page.param('application_id')}"
    await page.call("rollback.delete", rollbackId=page.param("rollback_id"))
    return page.redirect(path, "The rollback point was deleted.")


def _offset(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 9 else 0


def _changed() -> DeploymentChangedError:
    return DeploymentChangedError(
        "the application has changed since this page was shown",
        remedy="Look at what runs now, and confirm again.",
    )


def _state(deployments: list[dict[str, Any]]) -> str:
    """Return what a confirmation is bound to: the newest deployment and its state."""
    if not deployments:
        return "none"
    return f"{deployments[0]['deploymentId']} {deployments[0]['state']}"


def _find(points: list[dict[str, Any]], rollback_id: str) -> dict[str, Any]:
    found = next((each for each in points if each["rollbackId"] == rollback_id), None)
    if found is None:
        raise NotFoundError("Rollback not found")
    return found


def _running(server_id: str, deployments: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the newest deployment that succeeded on a server."""
    return next(
        (
            each
            for each in deployments
            for place in each["servers"]
            if place["serverId"] == server_id and place["state"] == "succeeded"
        ),
        None,
    )


ROUTES = (
    PageRoute("/rollbacks", show_all),
    PageRoute("/applications/{application_id}/rollbacks/verify", verify, "POST"),
    PageRoute("/applications/{application_id}/rollbacks/{rollback_id}", ask),
    PageRoute("/applications/{application_id}/rollbacks/{rollback_id}", roll_back, "POST"),
    PageRoute("/applications/{application_id}/rollbacks/{rollback_id}/delete", delete, "POST"),
)
