"""Change an application: one form for each part of its settings."""

from collections.abc import Callable
from typing import Any

from starlette.responses import Response

from api.console.guard import require_unchanged, write_seen
from api.console.page import ROOT, Page, PageRoute
from api.console.pages.applications import forms
from api.console.pages.names import read_names
from shared.errors import InvalidInputError, NotFoundError, WharfError

Reader = Callable[[forms.Typed, str], forms.Fields]


def _read_source(typed: forms.Typed, source: str) -> forms.Fields:
    fields = forms.read_source({**typed, "sourceType": source or typed.get("sourceType", "")})
    if source:
        fields.pop("sourceType", None)
    if source == "git":
        fields["customGitBranch"] = typed.get("customGitBranch", "").strip() or None
        fields |= forms.read_login(typed, source)
    if typed.get("removeToken") == "true":
        fields["customGitToken"] = None
    return fields


def _read_build(typed: forms.Typed, source: str) -> forms.Fields:
    fields = {**forms.read_registries(typed, source), **forms.read_way(typed, source)}
    if source != "docker":
        fields["latestWins"] = typed.get("latestWins") == "true"
        fields.setdefault("dockerBuildStage", None)
    return fields


def _read_variables(typed: forms.Typed, source: str) -> forms.Fields:
    fields = forms.read_variables(typed, source)
    removed = {name: None for name in forms.VARIABLES if typed.get(f"remove:{name}") == "true"}
    return {**fields, **removed}


PARTS: dict[str, Reader] = {
    "source": _read_source,
    "build": _read_build,
    "run": lambda typed, _: forms.read_run(typed),
    "health": lambda typed, _: forms.read_health(typed),
    "variables": _read_variables,
}


async def show(
    page: Page, fault: WharfError | None = None, part: str = "", key: Any = None
) -> Response:
    """Show all forms; the one that was refused keeps what was typed."""
    chosen = {"applicationId": page.param("application_id")}
    application = await page.call("application.one", **chosen)
    stored = forms.fill(application)
    typed = {name: text for name, text in page.form.items() if name != "customGitToken"}
    return page.render(
        "applications/settings.html",
        fault=fault,
        part=part,
        key=key,
        application=application,
        source=application["sourceType"] or "",
        stored=stored,
        seen=write_seen(stored),
        values={each: typed if fault and each == part else stored for each in PARTS},
        names=await read_names(page),
    )


async def change(page: Page) -> Response:
    """Change one part."""
    chosen = {"applicationId": page.param("application_id")}
    part = page.form.get("part", "")
    if part not in PARTS:
        raise NotFoundError("there is no such part")
    version = await page.read_version("application", chosen["applicationId"])
    application = await page.call("application.one", **chosen)
    try:
        require_unchanged(page.form, forms.fill(application))
        fields = PARTS[part](page.form, application["sourceType"] or "")
        if not fields:
            raise InvalidInputError("nothing was typed", remedy="Type what is to change.")
        await page.call_if_unchanged(version, "application.update", **chosen, **fields)
    except WharfError as error:
        return await show(page, error, part)
    path = f"{ROOT}/applications/{chosen['applicationId']}/settings"
    notice = page.with_warnings("Saved. The next build and the next deployment use it.")
    return page.redirect(path, notice)


async def generate_key(page: Page) -> Response:
    """Make a deploy key, and show its public part."""
    chosen = {"applicationId": page.param("application_id")}
    try:
        key = await page.call("application.generateDeployKey", **chosen)
    except WharfError as error:
        return await show(page, error, "source")
    return await show(page, key=key)


ROUTES = (
    PageRoute("/applications/{application_id}/settings", show),
    PageRoute("/applications/{application_id}/settings", change, "POST"),
    PageRoute("/applications/{application_id}/deploy-key", generate_key, "POST"),
)
