"""Add and change a registry: a form whose login is tested before it is stored."""

import asyncio
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from api.console.guard import require_unchanged, write_seen
from api.console.page import ROOT, Page, PageRoute
from api.console.pages.names import choose_server
from api.console.pages.registries.login import (
    ALLOWED,
    KINDS,
    SECRETS,
    TLS_TEXTS,
    is_checked,
    read_login,
    read_settings,
    read_tls,
)
from api.console.pages.registries.reports import ShownTest, read_test
from api.procedure.auth import require_role
from shared.errors import WharfError

KEEP = ("keep", "Keep the stored login")
CHECKS = ("plainHttp", "installCa")
NAMED = ("registryName", "registryUrl", "imagePrefix", "rotateAfterDays")

Registry = dict[str, Any]


@dataclass(frozen=True)
class _Test:
    """The test that a button asks for: its report, or while it runs the test that is shown.

    ``is_wanted`` if the form is to be stored now; ``then`` is the button that a script presses once
    the test has passed.
    """

    is_wanted: bool
    report: dict[str, Any] | None = None
    shown: ShownTest | None = None
    then: str = ""


async def show_new(page: Page) -> Response:
    """Show the empty form."""
    require_role(page.caller, "admin")
    return await _render(page, None)


async def create(page: Page) -> Response:
    """Test what was typed, and store it unless only a test is wanted or the test failed."""
    form = page.form
    try:
        test = await _test_first(page, None)
        if not test.is_wanted:
            return await _render(page, None, test=test)
        settings = {name: value for name, value in read_settings(form).items() if value}
        created = await page.call(
            "registry.create",
            **settings,
            **read_login(form),
            **read_tls(form),
            registryType=form.get("registryType", "cloud"),
            installCa=is_checked(form, "installCa"),
        )
    except WharfError as error:
        return await _render(page, None, fault=error)
    notice = page.with_warnings(f"{created['registryName']} is added.")
    return page.redirect(f"{ROOT}/registries/{created['registryId']}", notice)


async def show_stored(page: Page) -> Response:
    """Show the form of a stored registry."""
    registry = await _find(page)
    require_role(page.caller, "admin")
    return await _render(page, registry)


async def update(page: Page) -> Response:
    """Test what was typed, and change the fields that differ from the stored ones."""
    registry = await _find(page)
    try:
        test = await _test_first(page, registry)
        if not test.is_wanted:
            return await _render(page, registry, test=test)
        version = await page.read_version("registry", registry["registryId"])
        registry = await _find(page)
        require_unchanged(page.form, _seen(registry))
        changes = _find_changes(page, registry)
        if not changes:
            return page.redirect(_path(registry), "Nothing was changed.")
        force = {"force": True} if is_checked(page.form, "force") else {}
        chosen = {"registryId": registry["registryId"]}
        await page.call_if_unchanged(version, "registry.update", **chosen, **changes, **force)
    except WharfError as error:
        return await _render(page, registry, fault=error)
    return page.redirect(_path(registry), page.with_warnings("The registry is changed."))


async def _test_first(page: Page, registry: Registry | None) -> _Test:
    """Run the test that a button asks for; start it only if a script follows it."""
    wanted = page.form.get("do", "save")
    if wanted == "save":
        return _Test(is_wanted=True)
    is_stored_after = wanted == "test-and-save"
    tested = _tested(page, registry)
    if page.is_fragment:
        begun = await page.start("registry.diagnose", **tested)
        shown = read_test(await page.call("job.one", jobId=begun["jobId"]))
        return _Test(is_wanted=False, shown=shown, then="save" if is_stored_after else "")
    report = await page.call("registry.diagnose", **tested)
    has_failed = any(stage["outcome"] == "failed" for stage in report["stages"])
    return _Test(is_wanted=is_stored_after and not has_failed, report=report)


def _tested(page: Page, registry: Registry | None) -> dict[str, Any]:
    """Return the input of a test: what was typed, or the stored registry if no login was."""
    form = page.form
    server = {"serverId": form["server"]} if form.get("server") else {}
    if registry is not None and form.get("kind") == KEEP[0]:
        return {"registryId": registry["registryId"], **server}
    settings = read_settings(form)
    place = {name: settings[name] for name in ("registryUrl", "imagePrefix") if settings[name]}
    return {"registryUrl": "", **place, **read_login(form), **read_tls(form), **server}


def _find_changes(page: Page, registry: Registry) -> dict[str, Any]:
    form = page.form
    given = {
        **read_settings(form),
        **{name: is_checked(form, name) for name in CHECKS},
    }
    changes = {name: value for name, value in given.items() if value != registry[name]}
    login = read_login(form) if form.get("kind") != KEEP[0] else {}
    tls = {name: value for name, value in read_tls(form).items() if name in TLS_TEXTS}
    removed = {name: None for name in TLS_TEXTS if is_checked(form, f"remove:{name}")}
    return changes | login | tls | removed


async def _render(
    page: Page,
    registry: Registry | None,
    *,
    fault: WharfError | None = None,
    test: _Test | None = None,
) -> Response:
    typed = {name: value for name, value in page.form.items() if name not in SECRETS}
    servers, applications = await asyncio.gather(
        page.call("server.all"), page.call("application.all")
    )
    return page.render(
        "registries/form.html",
        fault=fault,
        test=test,
        registry=registry,
        seen=write_seen(_seen(registry)) if registry else "",
        values=typed or (_show(registry) if registry else {}),
        kinds=(KEEP, *KINDS) if registry else KINDS,
        servers=servers,
        server_choices=choose_server(servers),
        applications=applications,
    )


def _show(registry: Registry) -> dict[str, str]:
    """Return the stored fields as the form has them."""
    texts = {name: str(registry[name]) for name in NAMED if registry[name] is not None}
    checks = {name: "true" for name in CHECKS if registry[name]}
    chosen = {f"{name}:{each}": "true" for name in ALLOWED for each in registry[name]}
    return {"username": registry["username"], **texts, **checks, **chosen}


def _seen(registry: Registry) -> dict[str, str]:
    """Return what a change may overwrite: the fields of the form, and the time of the login."""
    return {**_show(registry), "passwordChangedAt": registry["passwordChangedAt"] or ""}


async def _find(page: Page) -> Registry:
    found: Registry = await page.call("registry.one", registryId=page.param("registry_id"))
    return found


def _path(registry: Registry) -> str:
    return f"{ROOT}/registries/{registry['registryId']}"


ROUTES = (
    PageRoute("/registries/new", show_new),
    PageRoute("/registries/new", create, "POST"),
    PageRoute("/registries/{registry_id}/edit", show_stored),
    PageRoute("/registries/{registry_id}/edit", update, "POST"),
)
