"""One application: what runs on each server, its builds and its deployments."""

import asyncio
from collections.abc import Iterable
from typing import Any

from starlette.responses import Response

from api.console.page import Page, PageRoute
from api.console.pages.names import read_names
from shared.errors import WharfError

SHOWN = 10
SEARCHED = 50
"""How many deployments are looked at for what runs on a server."""


async def show(page: Page, fault: WharfError | None = None) -> Response:
    """Show an application."""
    chosen = {"applicationId": page.param("application_id")}
    application = await page.call("application.one", **chosen)
    deployments, builds, points, servers = await asyncio.gather(
        page.call("deployment.all", **chosen, limit=SEARCHED),
        page.call("build.all", **chosen, limit=SEARCHED),
        page.call("rollback.all", **chosen),
        page.call("server.all"),
    )
    versions = {each["buildId"]: each["version"] for each in builds}
    return page.render(
        "applications/one.html",
        fault=fault,
        application=application,
        places=list(_places(application, deployments, servers)),
        deployments=deployments[:SHOWN],
        builds=builds[:SHOWN],
        newest_build=next((each for each in builds if each["state"] == "succeeded"), None),
        recorded=next((each for each in deployments if each["state"] == "succeeded"), None),
        versions=versions,
        points=points,
        is_moving=any(not each["finishedAt"] for each in (*deployments, *builds)),
        base_url=str(page.request.base_url).rstrip("/"),
        names=await read_names(page),
    )


def _places(
    application: dict[str, Any], deployments: list[dict[str, Any]], servers: Iterable[Any]
) -> Iterable[dict[str, Any]]:
    """Yield each server with the deployment that runs on it, and the newest one that touched it."""
    by_id = {each["serverId"]: each for each in servers}
    before = {place["serverId"] for each in deployments for place in each["servers"]}
    for server_id in (*application["serverIds"], *sorted(before - {*application["serverIds"]})):
        touched = [
            (each, place)
            for each in deployments
            for place in each["servers"]
            if place["serverId"] == server_id
        ]
        runs = next((pair for pair in touched if pair[1]["state"] == "succeeded"), None)
        is_chosen = server_id in application["serverIds"]
        if is_chosen or runs:
            yield {
                "server_id": server_id,
                "server": by_id.get(server_id),
                "is_chosen": is_chosen,
                "runs": runs and runs[0],
                "container": runs and runs[1]["containerId"],
                "newest": touched[0][0] if touched else None,
                "state": touched[0][1]["state"] if touched else None,
                "error": touched[0][1]["error"] if touched else None,
            }


ROUTES = (PageRoute("/applications/{application_id}", show),)
