"""Images: forms that push, pull, copy or tag one on a server; the job's page follows."""

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.responses import Response

from api.console.page import ROOT, Page, PageRoute
from api.console.pages.names import read_names
from shared.errors import WharfError

ANONYMOUS = "none"


@dataclass(frozen=True)
class Form:
    """A form: the procedure that it calls, its title, and the names of its fields."""

    procedure: str
    title: str
    fields: tuple[str, ...]


TARGET = ("name", "tag")
FORMS = {
    "push": Form("image.push", "Push an image", ("image", "registryId", "serverId", *TARGET)),
    "pull": Form("image.pull", "Pull an image", ("image", "registryId", "serverId")),
    "copy": Form(
        "image.copy",
        "Copy an image",
        ("image", "sourceRegistryId", "registryId", "serverId", *TARGET),
    ),
    "tag": Form("image.tag", "Tag an image", ("source", "target", "serverId")),
}


async def show(page: Page, action: str, error: WharfError | None = None) -> Response:
    """Show a form, filled from the address or with what was typed."""
    return page.render(
        "images/form.html",
        error=error,
        action=action,
        chosen=FORMS[action],
        forms=FORMS,
        typed={**page.query, **page.form},
        names=await read_names(page),
    )


async def submit(page: Page, action: str) -> Response:
    """Request the job; go to its page."""
    chosen = FORMS[action]
    try:
        accepted = await page.start(chosen.procedure, **read_fields(chosen, page.form))
    except WharfError as error:
        return await show(page, action, error)
    joined = accepted.get("joined", False)
    notice = "An earlier request for the same image runs already." if joined else "Requested."
    return page.redirect(f"{ROOT}/jobs/{accepted['jobId']}", notice)


def read_fields(form: Form, typed: Mapping[str, str]) -> dict[str, str | None]:
    """Return the fields that were filled in; an anonymous pull names no registry."""
    given = {name: typed[name].strip() for name in form.fields if typed.get(name, "").strip()}
    return {name: None if value == ANONYMOUS else value for name, value in given.items()}


def _routes(action: str) -> tuple[PageRoute, PageRoute]:
    async def shown(page: Page) -> Response:
        return await show(page, action)

    async def submitted(page: Page) -> Response:
        return await submit(page, action)

    path = f"/images/{action}"
    return PageRoute(path, shown), PageRoute(path, submitted, "POST")


async def show_first(page: Page) -> Response:
    """Show the form that pushes; its tabs lead to the others."""
    return await show(page, "push")


ROUTES = (
    PageRoute("/images", show_first),
    *(route for action in FORMS for route in _routes(action)),
)
