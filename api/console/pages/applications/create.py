"""Create an application step by step; each page carries what was typed before."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from api.console.page import ROOT, Page, PageRoute
from api.console.pages.applications import forms
from api.console.pages.names import read_names
from api.errors import InvalidFieldsError
from shared.errors import WharfError

SECRETS = {"customGitToken", "buildSecrets"}
"""Typed in the last step, and not shown again."""


@dataclass(frozen=True)
class Step:
    """One page: its fields, and how it is checked before the next one is shown."""

    name: str
    title: str
    fields: tuple[str, ...]
    check: Callable[[forms.Typed], object]

    def owns(self, field: str) -> bool:
        of_servers = self.name == "run" and field.startswith(forms.SERVER)
        return field in self.fields or of_servers


STEPS = (
    Step("source", "Source", forms.SOURCE, forms.read_source),
    Step("build", "Build", forms.BUILD, lambda typed: forms.read_registries(typed, "git")),
    Step("run", "Where it runs", (*forms.RUN, *forms.STOP), forms.read_run),
    Step(
        "health",
        "Health and variables",
        (*forms.HEALTH, "healthShell", *forms.VARIABLES, *forms.LOGIN),
        forms.read_health,
    ),
)


async def begin(page: Page) -> Response:
    """Show the first step."""
    return await _show(page, 0, {})


async def go_on(page: Page) -> Response:
    """Show the step before or the next one, or create the application after the last one."""
    typed = dict(page.form)
    number = _number(typed.pop("step", ""))
    if typed.pop("go", "next") == "back":
        return await _show(page, max(number - 1, 0), typed)
    try:
        STEPS[number].check(typed)
        if number + 1 < len(STEPS):
            return await _show(page, number + 1, typed)
        created = await _create(page, typed)
    except WharfError as error:
        return await _show(page, _step_of(error, number), typed, error)
    path = f"{ROOT}/applications/{created['applicationId']}"
    return page.redirect(path, page.with_warnings(f"{created['name']} was created."))


async def _create(page: Page, typed: dict[str, str]) -> Any:
    """Create it with all its settings, or not at all."""
    source = typed.get("sourceType", "")
    created = await page.call(
        "application.create",
        **forms.read_source(typed),
        **_set(forms.read_registries(typed, source)),
        **_set(forms.read_run(typed)),
        **forms.read_health(typed),
    )
    chosen = {"applicationId": created["applicationId"]}
    rest = {
        **forms.read_way(typed, source),
        **forms.read_variables(typed, source),
        **forms.read_login(typed, source),
    }
    try:
        if rest:
            await page.call("application.update", **chosen, **rest)
    except WharfError:
        await page.call("application.remove", **chosen)
        raise
    return created


async def _show(
    page: Page, number: int, typed: dict[str, str], fault: WharfError | None = None
) -> Response:
    step = STEPS[number]
    shown = {name: text for name, text in typed.items() if name not in SECRETS}
    carried = {name: text for name, text in shown.items() if not step.owns(name)}
    return page.render(
        "applications/create.html",
        fault=fault,
        steps=STEPS,
        step=step,
        number=number,
        typed=shown,
        carried=carried,
        source=typed.get("sourceType", ""),
        names=await read_names(page),
    )


def _set(fields: forms.Fields) -> forms.Fields:
    """Return the fields that differ from what a new application has."""
    return {
        name: value
        for name, value in fields.items()
        if value is not None and value is not False and value != []
    }


def _number(text: str) -> int:
    return next((number for number, step in enumerate(STEPS) if step.name == text), 0)


def _step_of(error: WharfError, number: int) -> int:
    """Return the step of the first field that was refused."""
    if not isinstance(error, InvalidFieldsError):
        return number
    named = [str(issue["path"][0]) for issue in error.issues if issue.get("path")]
    for name in named:
        field = {"healthCheck": "healthCommand", "serverIds": forms.SERVER}.get(name, name)
        for position, step in enumerate(STEPS):
            if step.owns(field):
                return position
    return number


ROUTES = (
    PageRoute("/applications/new", begin),
    PageRoute("/applications/new", go_on, "POST"),
)
