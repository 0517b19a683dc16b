"""The digests of an application side by side: recorded, running, and what its tag says now."""

import asyncio
from typing import Any

from starlette.responses import Response

from api.console.page import Page, PageRoute
from api.console.pages.names import name_servers
from shared.errors import NotFoundError, WharfError

SEARCHED = 50
"""How many deployments are looked at for what runs on a server."""


async def show(page: Page) -> Response:
    """Ask the registry for the application's tag, by a job on one of its servers."""
    chosen = {"applicationId": page.param("application_id")}
    application = await page.call("application.one", **chosen)
    deployments, builds, servers = await asyncio.gather(
        page.call("deployment.all", **chosen, limit=SEARCHED),
        page.call("build.all", **chosen, limit=SEARCHED),
        page.call("server.all"),
    )
    image = find_image(application, builds)
    online = {each["serverId"] for each in servers if each["online"]}
    own = next((each for each in application["serverIds"] if each in online), None)
    found, fault = None, None
    if image:
        try:
            found = await page.call(
                "image.inspect", image=image, **chosen, **({"serverId": own} if own else {})
            )
        except NotFoundError:
            raise
        except WharfError as error:
            fault = error
    return page.render(
        "applications/digests.html",
        status=200,  # a script shows no part of a refusal
        fault=fault,
        application=application,
        image=image,
        found=found,
        recorded=next((each for each in deployments if each["state"] == "succeeded"), None),
        running=find_running(application, deployments),
        servers=name_servers(servers),
    )


def find_image(application: dict[str, Any], builds: list[dict[str, Any]]) -> str:
    """Return the image that a deployment would pull: the source's, or that of the newest build."""
    if application["sourceType"] == "docker":
        return str(application["dockerImage"] or "")
    built = (each["reference"] for each in builds if each["state"] == "succeeded")
    return next(built, "")


def find_running(application: dict[str, Any], deployments: list[dict[str, Any]]) -> list[str]:
    """Return the digests that run by the record of deployments, each once."""
    newest: dict[str, str] = {}
    for each in deployments:
        for place in each["servers"]:
            if place["state"] == "succeeded":
                newest.setdefault(place["serverId"], each["digest"])
    own = [newest[each] for each in application["serverIds"] if newest.get(each)]
    return list(dict.fromkeys(own))


ROUTES = (PageRoute("/applications/{application_id}/digests", show),)
