"""Rotate the login of a registry: test a new one, use it, go back to the old one."""

from typing import Any

from starlette.responses import Response

from api.console.page import ROOT, Page, PageRoute
from api.console.pages.registries.login import KINDS, SECRETS, is_checked, read_login, read_number
from api.console.pages.registries.one import render_one
from api.procedure.auth import require_role
from shared.errors import WharfError


async def show(page: Page) -> Response:
    """Show the form for the new login."""
    registry = await _find(page)
    require_role(page.caller, "admin")
    return _render(page, registry)


async def rotate(page: Page) -> Response:
    """Start the tests of the new login; the registry's page shows how they go on."""
    registry, hours = await _find(page), read_number(page.form.get("keepOldHours", ""))
    kept = {} if hours is None else {"keepOldHours": hours}
    login = {name: value for name, value in read_login(page.form).items() if value}
    if login.get("username") == registry["username"]:
        del login["username"]
    try:
        await page.start(
            "registry.rotate",
            registryId=registry["registryId"],
            force=is_checked(page.form, "force"),
            **kept,
            **login,
        )
    except WharfError as error:
        return _render(page, registry, error)
    notice = "The new login is being tested. The old one stays in use until the test has passed."
    return page.redirect(f"{_path(page)}#rotation", notice)


async def cancel(page: Page) -> Response:
    """Stop the tests of a new login."""
    notice = "The rotation is cancelled: the registry keeps its login."
    return await _change(page, "registry.cancelRotation", notice)


async def roll_back(page: Page) -> Response:
    """Use the former login again."""
    return await _change(page, "registry.rollbackCredential", "The former login is in use again.")


async def _change(page: Page, procedure: str, notice: str) -> Response:
    try:
        await page.call(procedure, registryId=page.param("registry_id"))
    except WharfError as error:
        return await render_one(page, error)
    return page.redirect(_path(page), notice)


def _render(page: Page, registry: dict[str, Any], fault: WharfError | None = None) -> Response:
    typed = {name: value for name, value in page.form.items() if name not in SECRETS}
    values = typed or {"username": registry["username"], "keepOldHours": "24"}
    return page.render(
        "registries/rotate.html", fault=fault, registry=registry, values=values, kinds=KINDS
    )


async def _find(page: Page) -> dict[str, Any]:
    found: dict[str, Any] = await page.call("registry.one", registryId=page.param("registry_id"))
    return found


def _path(page: Page) -> str:
    return f"{ROOT}/registries/{page.param('registry_id')}"


ROUTES = (
    PageRoute("/registries/{registry_id}/rotate", show),
    PageRoute("/registries/{registry_id}/rotate", rotate, "POST"),
    PageRoute("/registries/{registry_id}/cancel-rotation", cancel, "POST"),
    PageRoute("/registries/{registry_id}/roll-back", roll_back, "POST"),
)
