"""Deploy hooks of an application: URLs that a registry or a git host calls after a push."""

from typing import Any

from starlette.responses import Response

from api.console.page import ROOT, Page, PageRoute
from shared.errors import WharfError


async def show(
    page: Page, fault: WharfError | None = None, created: dict[str, Any] | None = None
) -> Response:
    """List the hooks; the URL and the secret of a new one are shown this once."""
    chosen = {"applicationId": page.param("application_id")}
    return page.render(
        "applications/hooks.html",
        fault=fault,
        created=created,
        application=await page.call("application.one", **chosen),
        hooks=await page.call("deployHook.all", **chosen),
        base_url=str(page.request.base_url).rstrip("/"),
    )


async def create(page: Page) -> Response:
    """Create a hook."""
    form = page.form
    filters = {name: form[name].strip() for name in ("tagFilter", "branchFilter") if form.get(name)}
    paths = [line.strip() for line in form.get("pathFilters", "").splitlines() if line.strip()]
    try:
        created = await page.call(
            "deployHook.create",
            applicationId=page.param("application_id"),
            requireSignature=form.get("requireSignature") == "true",
            **{name: text for name, text in filters.items() if text},
            **({"pathFilters": paths} if paths else {}),
        )
    except WharfError as error:
        return await show(page, error)
    return await show(page, created=created)


async def remove(page: Page) -> Response:
    """Remove a hook; its URL stops working."""
    path = f"{ROOT}/applications/{page.param('application_id')}/hooks"
    await page.call("deployHook.remove", hookId=page.param("hook_id"))
    return page.redirect(path, "The deploy hook was removed.")


ROUTES = (
    PageRoute("/applications/{application_id}/hooks", show),
    PageRoute("/applications/{application_id}/hooks", create, "POST"),
    PageRoute("/applications/{application_id}/hooks/{hook_id}/remove", remove, "POST"),
)
